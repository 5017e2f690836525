"""Opens a path or an ``s3://`` URI as a PyArrow file system."""

from pathlib import Path

import pyarrow.fs as pafs

from warehouse.object_store import SCHEME, arrow_options, is_s3


def open_filesystem(uri: str, s3_endpoint: str | None = None) -> pafs.FileSystem:
    """The file system whose root is ``uri``; local folders need not exist yet.

    Args:
        uri: a path or ``s3://bucket/prefix``.
        s3_endpoint: address of an S3-compatible server; credentials come from AWS's own chain.
    """
    if is_s3(uri):
        return pafs.SubTreeFileSystem(uri.removeprefix(SCHEME), pafs.S3FileSystem(**arrow_options(s3_endpoint)))
    return pafs.SubTreeFileSystem(str(Path(uri).absolute()), pafs.LocalFileSystem())
