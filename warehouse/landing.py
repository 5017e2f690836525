"""Reads landed files: finds them, and turns each into rows of text with their row numbers.

Every format comes out alike, all values as text, so that one set of typing rules (``transforms/landing_rows.py``)
serves all of them and a bad value can be shown as it stood. A row or file that cannot even be split into columns
comes out as a row with ``problem_reason`` set; nothing is raised for bad data.
"""

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from warehouse.contracts.landing import Dataset
from warehouse.errors import MissingDataset, StoreUnavailable

FORMATS = (".parquet", ".csv", ".csv.gz", ".ndjson", ".ndjson.gz")
_CHUNK_ROWS = 20_000
csv.field_size_limit(16 * 1024 * 1024)


@dataclass(frozen=True)
class LandedFile:
    """A file below the landing folder, as the store lists it."""

    dataset: str
    path: str
    size_bytes: int
    modified_at: datetime

    @property
    def file_id(self) -> str:
        """Short hash of the path: what rows carry."""
        return hashlib.sha256(self.path.encode()).hexdigest()[:16]


def list_files(landing: pafs.FileSystem, dataset: Dataset, searched: str) -> list[LandedFile]:
    """All files of a dataset, sorted by path; names that begin with ``.`` or ``_`` are being written and left alone.

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
        if not info.base_name.startswith((".", "_"))
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
    """
    texts = [*dataset.column_names, "problem_reason", "problem_column", "problem_value", "problem_message"]
    fields = [("file_id", pa.string()), ("row_number", pa.int64()), *[(name, pa.string()) for name in texts]]
    return pa.schema([*fields, ("problem_rows", pa.int32())])


def read_rows(landing: pafs.FileSystem, file: LandedFile, dataset: Dataset) -> Iterator[pa.RecordBatch]:
    """All rows of one file as text, in order, with :func:`raw_schema`.

    A file that breaks off in the middle ends with a row of number 0 and reason ``malformed_file``; its caller must
    drop the file's other rows.
    """
    schema = raw_schema(dataset)
    rows = 0
    try:
        for start, table in _read(landing, file, dataset):
            rows = start + table.num_rows
            yield from _as_raw(schema, file, start, table).to_batches()
    except _FileProblem as problem:
        yield _whole_file(schema, file, problem.reason, problem.column, problem.message, problem.rows)
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError, ValueError) as error:
        text = f"{file.path} cannot be read ({_brief(error)}): land it again whole, under another name"
        yield _whole_file(schema, file, "malformed_file", None, text, rows)


class _FileProblem(Exception):
    def __init__(self, reason: str, column: str | None, message: str, rows: int) -> None:
        super().__init__(message)
        self.reason, self.column, self.message, self.rows = reason, column, message, rows


def _brief(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _whole_file(
    schema: pa.Schema, file: LandedFile, reason: str, column: str | None, message: str, rows: int
) -> pa.RecordBatch:
    entry: dict[str, Any] = dict.fromkeys(schema.names)
    entry |= {"file_id": file.file_id, "row_number": 0, "problem_reason": reason, "problem_column": column}
    entry |= {"problem_message": message, "problem_rows": rows}
    return pa.RecordBatch.from_pylist([entry], schema=schema)


def _as_raw(schema: pa.Schema, file: LandedFile, start: int, table: pa.Table) -> pa.Table:
    count = table.num_rows
    columns = []
    for field in schema:
        if field.name == "file_id":
            columns.append(pa.repeat(pa.scalar(file.file_id), count))
        elif field.name == "row_number":
            columns.append(pa.array(range(start + 1, start + count + 1), pa.int64()))
        elif field.name in table.column_names:
            columns.append(table.column(field.name).combine_chunks())
        elif field.name == "problem_rows":
            columns.append(pa.repeat(pa.scalar(1, pa.int32()), count))
        else:
            columns.append(pa.nulls(count, pa.string()))
    return pa.table(columns, schema=schema)


def _read(landing: pafs.FileSystem, file: LandedFile, dataset: Dataset) -> Iterator[tuple[int, pa.Table]]:
    """Yields ``(rows before, table of text columns)``; a table may hold problem columns too."""
    name = file.path.lower()
    if name.endswith(".parquet"):
        yield from _read_parquet(landing, file, dataset)
    elif name.endswith((".csv", ".csv.gz")):
        with _open_text(landing, file) as stream:
            yield from _chunked(_csv_rows(stream, file, dataset), dataset)
    elif name.endswith((".ndjson", ".ndjson.gz")):
        with _open_text(landing, file) as stream:
            yield from _chunked(_ndjson_rows(stream), dataset)
    else:
        text = f"{file.path} is not one of *{', *'.join(FORMATS)}: land it in one of these formats"
        raise _FileProblem("unsupported_format", None, text, 0)


def _open_text(landing: pafs.FileSystem, file: LandedFile) -> IO[str]:
    stream: Any = landing.open_input_stream(file.path, compression=None)
    if file.path.lower().endswith(".gz"):
        stream = gzip.GzipFile(fileobj=stream)
    return io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")


def _require_columns(present: Iterable[str], file: LandedFile, dataset: Dataset, count_rows: Any) -> None:
    present = set(present)
    missing = [name for name in dataset.required_columns if name not in present]
    if missing:
        text = f"{file.path} lacks the column {', '.join(missing)}: land it again with it, under another name"
        raise _FileProblem("missing_column", missing[0], text, count_rows())


def _read_parquet(landing: pafs.FileSystem, file: LandedFile, dataset: Dataset) -> Iterator[tuple[int, pa.Table]]:
    with landing.open_input_file(file.path) as source:
        parquet = pq.ParquetFile(source)
        names = parquet.schema_arrow.names
        _require_columns(names, file, dataset, lambda: parquet.metadata.num_rows)
        start = 0
        columns = [name for name in dataset.column_names if name in names]
        for batch in parquet.iter_batches(batch_size=_CHUNK_ROWS, columns=columns):
            yield start, pa.table({name: _to_text(batch.column(name)) for name in columns})
            start += batch.num_rows


def _to_text(values: pa.Array) -> pa.Array:
    kind = values.type
    if pa.types.is_dictionary(kind):
        values, kind = values.dictionary_decode(), kind.value_type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pc.binary_join(values.cast(pa.list_(pa.string())), "|")
    if pa.types.is_timestamp(kind) and kind.tz:
        values = values.cast(pa.timestamp(kind.unit, "UTC"))
    return values.cast(pa.string())


Row = dict[str, str | None]


def _csv_rows(stream: IO[str], file: LandedFile, dataset: Dataset) -> Iterator[Row]:
    reader = csv.reader(stream, strict=True)
    header = [name.strip() for name in next(reader, [])]
    _require_columns(header, file, dataset, lambda: sum(1 for _ in reader))
    while True:
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield _malformed(f"the row cannot be split into columns ({error}): check its quotes", "")
            continue
        if len(values) == len(header):
            yield dict(zip(header, values, strict=True))
        elif values:
            text = f"the row has {len(values)} values where the header has {len(header)}: check commas and quotes"
            yield _malformed(text, ",".join(values))


def _ndjson_rows(stream: IO[str]) -> Iterator[Row]:
    for line in stream:
        if not line.strip():
            continue
        try:
            record = json.loads(line, parse_float=str, parse_int=str)
        except json.JSONDecodeError as error:
            yield _malformed(f"the line is not JSON ({error.msg}, column {error.colno})", line)
            continue
        if isinstance(record, dict):
            yield {name: _json_text(value) for name, value in record.items()}
        else:
            yield _malformed("the line is not a JSON object", line)


def _json_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "|".join(value)
    return json.dumps(value)


def _malformed(message: str, value: str) -> Row:
    return {"problem_reason": "malformed_row", "problem_message": message, "problem_value": value.strip()[:200]}


def _chunked(rows: Iterator[Row], dataset: Dataset) -> Iterator[tuple[int, pa.Table]]:
    names = [*dataset.column_names, "problem_reason", "problem_message", "problem_value"]
    start = 0
    chunk: list[Row] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == _CHUNK_ROWS:
            yield start, _table(chunk, names)
            start += len(chunk)
            chunk = []
    if chunk:
        yield start, _table(chunk, names)


def _table(chunk: list[Row], names: list[str]) -> pa.Table:
    return pa.table({name: pa.array([row.get(name) for row in chunk], pa.string()) for name in names})
