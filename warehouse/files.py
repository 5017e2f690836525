"""Opens a path or an ``s3://`` URI as a PyArrow file system; the one place that knows about endpoints."""

from pathlib import Path
from urllib.parse import urlparse

import pyarrow.fs as pafs


def open_filesystem(uri: str, s3_endpoint: str | None = None) -> pafs.FileSystem:
    """The file system whose root is ``uri``; local folders need not exist yet.

    Args:
        uri: a path or ``s3://bucket/prefix``.
        s3_endpoint: address of an S3-compatible server; credentials come from AWS's own chain.
    """
    if uri.startswith("s3://"):
        options: dict[str, object] = {}
        if s3_endpoint:
            address = urlparse(s3_endpoint)
            options = {"endpoint_override": address.netloc, "scheme": address.scheme}
        return pafs.SubTreeFileSystem(uri.removeprefix("s3://"), pafs.S3FileSystem(**options))
    return pafs.SubTreeFileSystem(str(Path(uri).absolute()), pafs.LocalFileSystem())
