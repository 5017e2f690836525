"""Opens a path or an ``s3://`` URI as a PyArrow file system, and writes a file to it whole."""

import uuid
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
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


def write_whole(filesystem: pafs.FileSystem, path: str, write: Callable[[pa.NativeFile], object]) -> None:
    """Writes a file that no reader sees before it is whole, and of which nothing stays where writing breaks off.

    On a disk it is written under a hidden name and renamed. An object store has no renaming, only a copy; but an object
    appears when all of it is there, so it is made in memory and sent at once.

    Args:
        filesystem: from :func:`open_filesystem`.
        path: below its root; folders are made.
        write: writes the content to the stream that it is given.
    """
    if not _is_local(filesystem):
        content = pa.BufferOutputStream()
        write(content)
        with filesystem.open_output_stream(path, compression=None) as stream:
            stream.write(content.getvalue())
        return
    folder, _, name = path.rpartition("/")
    filesystem.create_dir(folder, recursive=True)
    hidden = f"{folder}/.{name}.{uuid.uuid4().hex}"
    try:
        with filesystem.open_output_stream(hidden, compression=None) as stream:
            write(stream)
        filesystem.move(hidden, path)
    except BaseException:
        if filesystem.get_file_info(hidden).type == pafs.FileType.File:
            filesystem.delete_file(hidden)
        raise


def _is_local(filesystem: pafs.FileSystem) -> bool:
    base = filesystem.base_fs if isinstance(filesystem, pafs.SubTreeFileSystem) else filesystem
    return isinstance(base, pafs.LocalFileSystem)
