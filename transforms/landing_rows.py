"""Types landed rows and finds what is wrong with each: what costs the row, and what costs only an optional cell.

Knows no dataset by name: the rules come from ``warehouse/contracts/landing.py``. How a text becomes a value is in
``transforms/landing_values.py``; rules that need other rows (duplicates, unknown products) in
``transforms/cleaning.py``.
"""

from datetime import datetime
from functools import reduce

import pyarrow as pa
from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from transforms.landing_values import type_message, typed_value
from warehouse.contracts.landing import Dataset
from warehouse.contracts.table import Column

EARLIEST = "2000-01-01 00:00:00"
INVALID_CELL = "invalid_cell"


def type_rows(
    raw: DataFrame, dataset: Dataset, business_tz: str, read_at: datetime, null_words: tuple[str, ...] = ()
) -> DataFrame:
    """Types every column and names the problem of every row that has one.

    Shape: one row a landed row in, one out. In: ``warehouse.landing.raw_schema``. Out: ``file_id``, ``row_number``,
    the dataset's columns typed, ``month`` (of the event time in the business time zone; null if it cannot be told),
    ``problem`` (struct reason, column, value, message; null for a good row: the first in the order of the checks),
    ``cell_problem`` (the same of optional cells that a good row goes on without; null if there is none),
    ``problem_rows`` and ``row_json``.

    An optional value that cannot be used becomes null; in ``dataset.false_if_bad`` false; the event time of a row
    becomes ``read_at``, since a row that held always would come before those that it changes.

    Args:
        raw: rows of text.
        dataset: whose rules apply.
        business_tz: IANA zone whose months count.
        read_at: when the files were read, UTC; times after that day are out of range.
        null_words: texts that stand for no value within lists, such as ``NULL``.
    """
    latest = read_at.strftime("%Y-%m-%d 23:59:59")
    frame = _typed(raw, dataset, null_words)
    checks = {c.name: _bad_value(c, latest) for c in dataset.columns}
    costly = [c for c in dataset.columns if not c.nullable or c.name in dataset.decisive]
    cells = [c for c in dataset.columns if c not in costly]
    problems = [F.col("reader_problem")]
    problems += [_missing(c) for c in dataset.columns if not c.nullable]
    problems += [F.when(bad, _problem(reason, c.name, text)) for c in costly for bad, reason, text in checks[c.name]]
    problems += [
        F.when(F.expr(rule.broken_when), _problem(rule.reason, rule.column, f"{rule.column}: {rule.mend}"))
        for rule in dataset.rules
    ]
    problem = F.coalesce(*problems)
    bad_cells = {c.name: _any([bad for bad, _, _ in checks[c.name]]) for c in cells if checks[c.name]}
    messages = {c.name: F.coalesce(*[F.when(bad, text) for bad, _, text in checks[c.name]]) for c in cells}
    values = {c.name: F.col(c.name) for c in dataset.columns}
    for name, is_bad in bad_cells.items():
        values[name] = F.when(is_bad, _substitute(dataset, name, read_at)).otherwise(values[name])
    month = F.date_format(F.from_utc_timestamp(values[dataset.event_time], business_tz), "yyyy-MM")
    cell_problem = F.when(problem.isNull() & _any(list(bad_cells.values())), _cell_problem(bad_cells, messages))
    is_shown = (problem.isNotNull() | cell_problem.isNotNull()) & (F.col("row_number") > 0)
    return frame.select(
        "file_id",
        "row_number",
        *[value.alias(name) for name, value in values.items()],
        month.alias("month"),
        problem.alias("problem"),
        cell_problem.alias("cell_problem"),
        "problem_rows",
        F.when(is_shown, F.to_json("text")).alias("row_json"),
    )


def _typed(raw: DataFrame, dataset: Dataset, null_words: tuple[str, ...]) -> DataFrame:
    others = ("file_id", "row_number", "problem_rows", "nested_columns")
    reader_problem = F.when(F.col("problem_reason").isNotNull(), _problem_of_reader()).alias("reader_problem")
    typed = {c.name: typed_value(F.col(c.name), c, null_words) for c in dataset.columns}
    return raw.select(
        *others,
        reader_problem,
        *[F.when(~_is_nested(name), value).alias(name) for name, value in typed.items()],
        F.struct(*dataset.column_names).alias("text"),
    )


def _is_nested(name: str) -> SparkColumn:
    nested = F.col("nested_columns")
    return nested.isNotNull() & F.array_contains(nested, name)


def _substitute(dataset: Dataset, name: str, read_at: datetime) -> SparkColumn:
    if name == dataset.event_time:
        return F.lit(read_at.strftime("%Y-%m-%d %H:%M:%S")).cast("timestamp")
    return F.lit(False) if name in dataset.false_if_bad else F.lit(None)


def _any(conditions: list[SparkColumn]) -> SparkColumn:
    return reduce(lambda a, b: a | b, conditions, F.lit(False))


def _cell_problem(bad_cells: dict[str, SparkColumn], messages: dict[str, SparkColumn]) -> SparkColumn:
    """One entry for all bad cells of a row, as quarantine has one a row."""

    def joined(separator: str, parts: dict[str, SparkColumn]) -> SparkColumn:
        return F.concat_ws(separator, *[F.when(bad_cells[name], part) for name, part in parts.items()])

    names = {name: F.lit(name) for name in bad_cells}
    texts = {name: F.substring(F.col(f"text.{name}"), 1, 200) for name in bad_cells}
    return F.struct(
        F.lit(INVALID_CELL).alias("reason"),
        joined(", ", names).alias("column"),
        joined(" | ", texts).alias("value"),
        joined("; ", {name: messages[name] for name in bad_cells}).alias("message"),
    )


def _problem(reason: str, column: str, message: str | SparkColumn) -> SparkColumn:
    return F.struct(
        F.lit(reason).alias("reason"),
        F.lit(column).alias("column"),
        F.substring(F.col(f"text.{column}"), 1, 200).alias("value"),
        (F.lit(message) if isinstance(message, str) else message).alias("message"),
    )


def _problem_of_reader() -> SparkColumn:
    return F.struct(
        F.col("problem_reason").alias("reason"),
        F.col("problem_column").alias("column"),
        F.col("problem_value").alias("value"),
        F.col("problem_message").alias("message"),
    )


def _missing(column: Column) -> SparkColumn:
    message = f"{column.name} is empty: every row needs it ({column.text})"
    return F.when(F.col(f"text.{column.name}").isNull(), _problem("missing_value", column.name, message))


def _bad_value(column: Column, latest: str) -> list[tuple[SparkColumn, str, SparkColumn]]:
    """Condition, reason code and message of everything that can be wrong with a column's value; first come first."""
    name, value, text = column.name, F.col(column.name), F.col(f"text.{column.name}")
    nested = F.lit(f"{name} is an object or a list: write one value" + ("s in a flat list" if _is_list(column) else ""))
    message = F.when(_is_nested(name), nested).otherwise(type_message(text, column))
    bad: list[tuple[SparkColumn, str, SparkColumn]] = [(text.isNotNull() & value.isNull(), "invalid_type", message)]
    bounds = []
    if column.minimum is not None:
        bounds.append(value < column.minimum)
    if column.maximum is not None:
        bounds.append(value > column.maximum)
    if bounds:
        low = "any" if column.minimum is None else f"{column.minimum:g}"
        high = "any" if column.maximum is None else f"{column.maximum:g}"
        bad.append((_any(bounds), "out_of_range", F.lit(f"{name} must lie from {low} to {high}")))
    if column.allowed is not None:
        message = f"{name} must be one of {', '.join(column.allowed)}"
        bad.append((~value.isin(list(column.allowed)), "invalid_value", F.lit(message)))
    if pa.types.is_timestamp(column.type):
        message = f"{name} must lie from {EARLIEST[:10]} to the day of reading, {latest[:10]}"
        outside = (value < F.lit(EARLIEST).cast("timestamp")) | (value > F.lit(latest).cast("timestamp"))
        bad.append((outside, "timestamp_out_of_range", F.lit(message)))
    return bad


def _is_list(column: Column) -> bool:
    return pa.types.is_list(column.type)
