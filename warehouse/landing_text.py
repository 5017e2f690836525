"""Reads CSV and NDJSON files as rows of text, each with its number in the file.

A row that cannot be split comes out as one that names its problem; a file that cannot be read raises. Encodings are
told by their byte-order mark, delimiters by the header: nothing is guessed from the data.
"""

import codecs
import csv
import gzip
import io
import json
import re
from collections.abc import Iterator
from typing import IO, Any

import pyarrow.fs as pafs

from warehouse.contracts.landing import Dataset
from warehouse.landing_file import AGAIN, FileProblem, LandedFile, match_columns, plain_name

Row = dict[str, Any]

DELIMITERS = (",", ";", "\t", "|")
csv.field_size_limit(16 * 1024 * 1024)
# UTF-32 first: its mark begins with that of UTF-16.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_OTHER_FORMATS = (
    (b"\x1f\x8b", "gzip: name it .gz"),
    (b"PAR1", "Parquet: name it .parquet"),
    (b"PK\x03\x04", "a zip archive or an Excel file: save it as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel file: save it as CSV"),
    (b"%PDF", "a PDF: save it as CSV"),
)
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)


def open_text(landing: pafs.FileSystem, file: LandedFile) -> IO[str]:
    """Opens the file as text: unpacked, in the encoding of its byte-order mark, else UTF-8.

    Bytes that are no UTF-8 come out as lone surrogates, so that their row can be named.

    Raises:
        FileProblem: the file is empty, of another format than its name says, or UTF-16 without a byte-order mark.
    """
    stream: Any = landing.open_input_stream(file.path, compression=None)
    if file.path.lower().endswith(".gz"):
        stream = gzip.GzipFile(fileobj=stream)
    stream = io.BufferedReader(stream, 1 << 16)
    head = stream.peek(4096)
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if head.startswith(mark)), None)
    if not head.strip():
        raise FileProblem("malformed_file", f"{file.path} is empty ({file.size_bytes} bytes): {AGAIN}, whole")
    for magic, text in _OTHER_FORMATS:
        if head.startswith(magic):
            raise FileProblem("malformed_file", f"{file.path} is {text}, and {AGAIN}")
    if encoding is None and head.count(b"\0") > len(head) // 8:
        cause = "NUL bytes: it was half written, or is UTF-16 without a byte-order mark"
        raise FileProblem("malformed_file", f"{file.path} is full of {cause}. Save it as UTF-8 and {AGAIN}")
    errors = "strict" if encoding else "surrogateescape"
    return io.TextIOWrapper(stream, encoding=encoding or "utf-8-sig", errors=errors, newline="")


def csv_rows(stream: IO[str], file: LandedFile, dataset: Dataset) -> Iterator[Row]:
    """Rows of a CSV file; the header's names tell whether comma, semicolon, tab or bar separates values.

    A row that takes up several lines without being one stands for as many rows: an open quote swallowed them.

    Raises:
        FileProblem: the header lacks or doubles a column, or cannot be split.
    """
    names, delimiter = _header(stream, file, dataset)
    reader = csv.reader(stream, delimiter=delimiter, strict=True, skipinitialspace=True)
    places = match_columns(names, file, dataset, lambda: _count_lines(stream))
    header = [plain_name(name) for name in names]
    number = 0
    while True:
        line = reader.line_num
        try:
            values = next(reader)
            problem = _misfit(values, header) or _swallowed(values, places, delimiter)
        except StopIteration:
            return
        except csv.Error as error:
            values, problem = [], f"the row cannot be split into columns ({error})"
        if not values and not problem:
            continue
        number += 1
        lines = reader.line_num - line
        if problem:
            yield _malformed(number, _advice(problem, number, lines), delimiter.join(values), lines)
            number += lines - 1
        else:
            yield {"row_number": number} | {name: values[place] for place, name in places.items()}


def _misfit(values: list[str], header: list[str]) -> str | None:
    if values and len(values) != len(header):
        return f"the row has {len(values)} values where the header has {len(header)}"
    if values and plain_name(values[0]) == header[0] and [plain_name(value) for value in values] == header:
        return "the row repeats the header, as where files were joined; leave it out"
    return None


def _swallowed(values: list[str], places: dict[int, str], delimiter: str) -> str | None:
    """Whether a value over several lines holds other rows: an id with a line break, or a line split like a row.

    With two columns a line of text with one comma would look like a row, so those are judged by their ids alone.
    """
    for place, value in enumerate(values):
        lines = value.splitlines() if "\n" in value or "\r" in value else []
        if len(lines) > 1 and places.get(place, "").endswith("_id"):
            return f"the value of {places[place]} goes over several lines"
        if len(values) > 2 and any(line.count(delimiter) == len(values) - 1 for line in lines[1:]):
            return "a value holds other rows"
    return None


def _advice(problem: str, number: int, lines: int) -> str:
    if lines > 1:
        return (
            f"{problem}: a quote that opens in row {number} is not closed there and cost {lines} rows, "
            f'{number} to {number + lines - 1}; close it, or double it ("") where it is part of the text'
        )
    return problem if problem.endswith("out") else f"{problem}: check its delimiters and quotes"


def _header(stream: IO[str], file: LandedFile, dataset: Dataset) -> tuple[list[str], str]:
    line = _next_line(stream, file)
    told = _SEPARATOR_LINE.fullmatch(line)
    if told:
        line = _next_line(stream, file)
    known = set(dataset.column_names)
    best: tuple[int, list[str], str] | None = None
    for delimiter in [told[1]] if told else DELIMITERS:
        try:
            names = next(csv.reader([line], delimiter=delimiter, strict=True, skipinitialspace=True))
        except csv.Error:
            continue
        found = sum(plain_name(name) in known for name in names)
        if best is None or found > best[0]:
            best = (found, names, delimiter)
    if best is None:
        text = f"{file.path}: the header's quotes cannot be read: write {','.join(dataset.required_columns)},… and"
        raise FileProblem("malformed_file", f"{text} {AGAIN}", None, _count_lines(stream))
    return best[1], best[2]


def _next_line(stream: IO[str], file: LandedFile) -> str:
    for line in stream:
        if line.strip():
            return line
    raise FileProblem("malformed_file", f"{file.path} has no header and no rows: {AGAIN}, whole")


def _count_lines(stream: IO[str]) -> int:
    return sum(1 for line in stream if line.strip())


def ndjson_rows(stream: IO[str], dataset: Dataset) -> Iterator[Row]:
    """Rows of an NDJSON file; names count without their case, and a name that stands twice spoils the row."""
    plain: dict[str, str] = {}
    known = frozenset(dataset.column_names)
    number = 0
    for line in stream:
        if not line.strip():
            continue
        number += 1
        try:
            record = json.loads(line, parse_float=str, parse_int=str, parse_constant=str, object_pairs_hook=_record)
            if not isinstance(record, dict):
                raise _NotARow("the line is not a JSON object: one object a line, without an array around them")
            row = _json_row(record, plain, known, dataset)
            if "\\u" in line:
                _require_text(row)
        except json.JSONDecodeError as error:
            yield _malformed(number, f"the line is not JSON ({error.msg}, column {error.colno})", line)
        except RecursionError:
            yield _malformed(number, "the line nests too deeply: write one flat object", line)
        except _NotARow as error:
            yield _malformed(number, str(error), line)
        else:
            yield row | {"row_number": number}


class _NotARow(Exception):
    """A line of JSON that is no row."""


def _record(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        names = [name for name, _ in pairs]
        raise _NotARow(f"the object names {next(n for n in names if names.count(n) > 1)} twice: leave one")
    return record


def _json_row(record: dict[str, Any], plain: dict[str, str], known: frozenset[str], dataset: Dataset) -> Row:
    row: Row = {}
    nested = []
    for raw, value in record.items():
        name = plain.get(raw)
        if name is None:
            name = plain_name(raw)
            if len(plain) < 1000:
                plain[raw] = name
        if name not in known:
            continue
        if name in row:
            raise _NotARow(f"the object names {name} twice: leave one")
        row[name] = _json_text(value)
        items = value if isinstance(value, list) and name in dataset.list_columns else [value]
        if any(isinstance(item, dict | list) for item in items):
            nested.append(name)
    return row | {"nested_columns": nested} if nested else row


def _json_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _require_text(row: Row) -> None:
    for name, value in row.items():
        if isinstance(value, str) and not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise _NotARow(f"{name} holds half a character (a lone surrogate): write it whole") from None


def _malformed(number: int, message: str, value: str, rows: int = 1) -> Row:
    shown = value[:1000].strip()[:200].encode("utf-8", "replace").decode()
    # A message may quote a name of the file's, and that may hold half a character.
    text = message.encode("utf-8", "replace").decode()
    problem = {"problem_reason": "malformed_row", "problem_message": text, "problem_value": shown}
    return {"row_number": number, "problem_rows": rows, **problem}
