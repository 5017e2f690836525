"""Reads Parquet files as columns of text, so that one set of typing rules serves every format."""

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from warehouse.contracts.landing import Dataset
from warehouse.landing_file import AGAIN, FileProblem, LandedFile, match_columns

# Doubles hold every whole number of 15 digits; longer ids may have lost some, and are refused when they are typed.
_EXACT_BELOW = 1e15


def parquet_tables(landing: pafs.FileSystem, file: LandedFile, dataset: Dataset, rows: int) -> Iterator[pa.Table]:
    """The file's known columns as text, ``rows`` at a time, in order; ``nested_columns`` names cells that hold objects.

    Raises:
        FileProblem: a column is missing, doubled, or cannot be told as text.
        Exception: whatever pyarrow raises for a damaged file.
    """
    with landing.open_input_file(file.path) as source:
        parquet = pq.ParquetFile(source)
        names = parquet.schema_arrow.names
        places = match_columns(names, file, dataset, lambda: parquet.metadata.num_rows)
        for batch in parquet.iter_batches(batch_size=rows, columns=[names[place] for place in places]):
            columns = {name: batch.column(names[place]) for place, name in places.items()}
            texts = {name: _to_text(values, name, file, dataset) for name, values in columns.items()}
            nested = [name for name, values in columns.items() if _is_nested(values.type, name, dataset)]
            if nested:
                texts["nested_columns"] = _cells(columns, nested)
            yield pa.table(texts)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _is_nested(kind: pa.DataType, name: str, dataset: Dataset) -> bool:
    """Whether the column holds objects or lists where single values (or lists of them) belong."""
    if _is_list(kind) and name in dataset.list_columns:
        kind = kind.value_type
    return pa.types.is_nested(kind)


def _cells(columns: dict[str, pa.Array], nested: list[str]) -> pa.Array:
    valid = [columns[name].is_valid().to_pylist() for name in nested]
    cells = [[name for name, is_valid in zip(nested, row, strict=True) if is_valid] for row in zip(*valid, strict=True)]
    return pa.array(cells, pa.list_(pa.string()))


def _to_text(values: pa.Array, name: str, file: LandedFile, dataset: Dataset) -> pa.Array:
    kind = values.type
    try:
        if pa.types.is_dictionary(kind):
            return _to_text(values.dictionary_decode(), name, file, dataset)
        if pa.types.is_nested(kind):
            return pa.array([_json(value) for value in values.to_pylist()], pa.string())
        if pa.types.is_floating(kind) and name in dataset.text_columns:
            return _float_ids(values.cast(pa.float64()))
        if pa.types.is_timestamp(kind) and kind.tz:
            values = values.cast(pa.timestamp(kind.unit, "UTC"))
        texts = values.cast(pa.string())
        texts.validate(full=True)  # Parquet's readers take text as it stands, be it UTF-8 or not.
        return texts
    except (pa.ArrowException, ValueError) as error:
        text = f"{file.path}: column {name} of type {kind} cannot be read as text ({error}): write it as text, {AGAIN}"
        raise FileProblem("malformed_file", text[:500], name) from error


def _float_ids(values: pa.Array) -> pa.Array:
    """Whole numbers as their digits, ``12345.0`` as ``12345``; others as Arrow writes them."""
    is_whole = pc.and_(pc.less(pc.abs(values), _EXACT_BELOW), pc.equal(pc.floor(values), values))
    whole = pc.if_else(is_whole, values, None).cast(pa.int64()).cast(pa.string())
    return pc.if_else(pc.fill_null(is_whole, False), whole, values.cast(pa.string()))


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, default=str)
