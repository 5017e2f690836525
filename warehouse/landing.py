"""Reads landed files: finds them, and turns each into rows of text with their row numbers.

Every format comes out alike, all values as text, so that one set of typing rules (``transforms/landing_rows.py``)
serves all of them and a bad value can be shown as it stood. A row or file that cannot even be split into columns
comes out as a row with ``problem_reason`` set; nothing is raised for bad data.
"""

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs

from warehouse.contracts.landing import BLANKS, Dataset
from warehouse.errors import MissingDataset, StoreUnavailable
from warehouse.landing_file import AGAIN, FORMATS, FileProblem, LandedFile
from warehouse.landing_parquet import parquet_tables
from warehouse.landing_text import Row, csv_rows, ndjson_rows, open_text

__all__ = ["FORMATS", "LandedFile", "checksum", "list_files", "plain_text", "raw_schema", "read_rows"]

_CHUNK_ROWS = 20_000


def list_files(landing: pafs.FileSystem, dataset: Dataset, searched: str) -> list[LandedFile]:
    """All files of a dataset, sorted by path.

    Files and folders whose names begin with ``.`` or ``_`` are being written, or a tool's own: they are left alone.

    Args:
        landing: file system rooted at the landing folder.
        dataset: which one.
        searched: the landing URI, for the error's text.

    Raises:
        MissingDataset: the dataset is required and there is no file.
        StoreUnavailable: the store cannot be listed.
    """
    selector = pafs.FileSelector(dataset.name, recursive=True, allow_not_found=True)
    try:
        infos = [info for info in landing.get_file_info(selector) if info.type == pafs.FileType.File]
    except OSError as error:
        raise StoreUnavailable(f"{searched}/{dataset.name} cannot be listed: {error}") from error
    files = [
        LandedFile(dataset.name, info.path, info.size, info.mtime or datetime.fromtimestamp(0, UTC))
        for info in infos
        if not any(part.startswith((".", "_")) for part in info.path.split("/"))
    ]
    if not files and dataset.required:
        raise MissingDataset(
            f"no {dataset.name} have landed: {searched}/{dataset.name}/ was searched for *{', *'.join(FORMATS)}. "
            f"Put files there with the columns {', '.join(dataset.required_columns)} (docs/data.md)."
        )
    return sorted(files, key=lambda file: file.path)


def checksum(landing: pafs.FileSystem, path: str) -> str:
    """SHA-256 of the file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with landing.open_input_stream(path, compression=None) as stream:
        while block := stream.read(1024 * 1024):
            digest.update(block)
    return digest.hexdigest()


def raw_schema(dataset: Dataset) -> pa.Schema:
    """Schema of the rows that :func:`read_rows` gives.

    ``row_number`` counts from 1; 0 stands for the whole file. ``problem_rows`` is how many rows the entry stands for.
    ``nested_columns`` names the cells that hold an object or a list where a single value belongs.
    """
    texts = [*dataset.column_names, "problem_reason", "problem_column", "problem_value", "problem_message"]
    fields = [("file_id", pa.string()), ("row_number", pa.int64()), *[(name, pa.string()) for name in texts]]
    return pa.schema([*fields, ("problem_rows", pa.int32()), ("nested_columns", pa.list_(pa.string()))])


def read_rows(
    landing: pafs.FileSystem, file: LandedFile, dataset: Dataset, null_words: tuple[str, ...] = ()
) -> Iterator[pa.RecordBatch]:
    """All rows of one file as text, in order, with :func:`raw_schema`; texts as :func:`plain_text` leaves them.

    A file that breaks off in the middle ends with a row of number 0 and reason ``malformed_file``; its caller must
    drop the file's other rows.
    """
    schema = raw_schema(dataset)
    rows = 0
    try:
        for table in _read(landing, file, dataset, schema):
            rows += table.num_rows
            yield from _plain(table, dataset, null_words).to_batches()
    except FileProblem as problem:
        yield _whole_file(schema, file, problem, max(rows, problem.rows))
    except Exception as error:  # Whatever a reader raises belongs to its file: the others go on.
        text = f"{file.path} cannot be read ({_cause(error)}): {AGAIN}, whole"
        yield _whole_file(schema, file, FileProblem("malformed_file", text), rows)


def _plain(table: pa.Table, dataset: Dataset, null_words: tuple[str, ...]) -> pa.Table:
    for name in dataset.column_names:
        column = table.column(name)
        if column.null_count < len(column):
            place = table.schema.get_field_index(name)
            table = table.set_column(place, name, plain_text(column, null_words))
    return table


def plain_text(texts: pa.ChunkedArray, null_words: tuple[str, ...]) -> pa.ChunkedArray:
    """Texts without blanks at their ends; null where nothing is left, or a word (in any case) that stands for it."""
    texts = pc.utf8_trim(texts, BLANKS)
    nothing = pa.array(["", *[word.lower() for word in null_words]])
    return pc.if_else(pc.is_in(pc.utf8_lower(texts), nothing), None, texts)


def _cause(error: Exception) -> str:
    """The true cause, in words where a library's are not plain."""
    if isinstance(error, EOFError):
        return "its gzip data breaks off"
    if isinstance(error, zlib.error):
        return f"its gzip data is damaged: {error}"
    if isinstance(error, gzip.BadGzipFile) and "CRC" not in str(error):
        return f"its name ends in .gz, but its start, or what follows its end, is not gzip: {error}"
    if isinstance(error, UnicodeDecodeError):
        return f"it is not whole {error.encoding} text: {error.reason}"
    text = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return text.encode("utf-8", "replace").decode()


def _whole_file(schema: pa.Schema, file: LandedFile, problem: FileProblem, rows: int) -> pa.RecordBatch:
    entry: dict[str, Any] = dict.fromkeys(schema.names)
    entry |= {"file_id": file.file_id, "row_number": 0, "problem_reason": problem.reason}
    message = problem.message.encode("utf-8", "replace").decode()
    entry |= {"problem_column": problem.column, "problem_message": message, "problem_rows": rows}
    return pa.RecordBatch.from_pylist([entry], schema=schema)


def _read(landing: pafs.FileSystem, file: LandedFile, dataset: Dataset, schema: pa.Schema) -> Iterator[pa.Table]:
    name = file.path.lower()
    if not name.endswith(FORMATS):
        text = f"{file.path} is not one of *{', *'.join(FORMATS)}: land it in one of these formats"
        raise FileProblem("unsupported_format", text)
    if file.size_bytes == 0:
        raise FileProblem("malformed_file", f"{file.path} is empty (0 bytes): {AGAIN}, whole")
    if name.endswith(".parquet"):
        start = 0
        for table in parquet_tables(landing, file, dataset, _CHUNK_ROWS):
            yield _as_raw(schema, file, start, table)
            start += table.num_rows
        return
    with open_text(landing, file) as stream:
        is_csv = name.endswith((".csv", ".csv.gz"))
        rows = csv_rows(stream, file, dataset) if is_csv else ndjson_rows(stream, dataset)
        yield from _chunked(rows, file, schema)


def _as_raw(schema: pa.Schema, file: LandedFile, start: int, table: pa.Table) -> pa.Table:
    count = table.num_rows
    given = {
        "file_id": pa.repeat(pa.scalar(file.file_id), count),
        "row_number": pa.array(range(start + 1, start + count + 1), pa.int64()),
        "problem_rows": pa.repeat(pa.scalar(1, pa.int32()), count),
    }
    given |= {name: table.column(name).combine_chunks() for name in table.column_names}
    return pa.table([given.get(field.name, pa.nulls(count, field.type)) for field in schema], schema=schema)


def _chunked(rows: Iterator[Row], file: LandedFile, schema: pa.Schema) -> Iterator[pa.Table]:
    chunk: list[Row] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == _CHUNK_ROWS:
            yield _text_table(chunk, rows, file, schema)
            chunk = []
    if chunk:
        yield _text_table(chunk, rows, file, schema)


def _text_table(chunk: list[Row], rest: Iterator[Row], file: LandedFile, schema: pa.Schema) -> pa.Table:
    columns = []
    for field in schema:
        default = {"file_id": file.file_id, "problem_rows": 1}.get(field.name)
        values = [row.get(field.name, default) for row in chunk]
        try:
            columns.append(pa.array(values, field.type))
        except UnicodeEncodeError:
            raise _not_utf8(file, field.name, chunk, rest) from None
    return pa.table(columns, schema=schema)


def _not_utf8(file: LandedFile, column: str, chunk: list[Row], rest: Iterator[Row]) -> FileProblem:
    """Names the first row and byte that are not UTF-8; the file's encoding is wrong, so no row of it is kept."""
    row, byte = next(
        (row, ord(char) & 0xFF) for row in chunk for char in row.get(column) or "" if "\ud800" <= char <= "\udfff"
    )
    last = chunk[-1]
    for row_after in rest:
        last = row_after
    guess = bytes([byte]).decode("cp1252", "replace")
    text = f"{file.path} is not UTF-8: row {row['row_number']}, column {column} has the byte 0x{byte:02X}"
    fix = f"({guess} in Windows-1252): save the file as UTF-8 and {AGAIN}"
    rows = last["row_number"] + last.get("problem_rows", 1) - 1
    return FileProblem("malformed_file", f"{text} {fix}", column, rows)
