"""Types landed rows and finds what is wrong with each: one problem a row, the first in the order of the checks.

What is wrong with an optional cell costs the cell alone, and is noted.

Knows no dataset by name: the rules come from ``warehouse/contracts/landing.py``. Rules that need other rows
(duplicates, unknown products) are in ``transforms/cleaning.py``.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import reduce

import pyarrow as pa
from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_type

from warehouse.contracts.landing import Dataset
from warehouse.contracts.table import Column

EARLIEST = "2000-01-01 00:00:00"


def type_rows(raw: DataFrame, dataset: Dataset, business_tz: str, read_at: datetime) -> DataFrame:
    """Types every column and names the problem of every row that has one.

    Shape: one row a landed row in, one out. In: ``warehouse.landing.raw_schema``. Out: ``file_id``, ``row_number``,
    the dataset's columns typed, ``month`` (of the event time in the business time zone; null if it cannot be told),
    ``problem`` (struct reason, column, value, message; null for a good row), ``problem_rows``, ``note`` (the same
    struct for a good row that is kept without a cell) and ``row_json`` (null for a good row without a note).

    Args:
        raw: rows of text.
        dataset: whose rules apply.
        business_tz: IANA zone whose months count.
        read_at: when the files were read, UTC; times after that day are out of range.
    """
    latest = read_at.strftime("%Y-%m-%d 23:59:59")
    text = {c.name: F.nullif(F.trim(F.col(c.name)), F.lit("")) for c in dataset.columns}
    typed = {c.name: _typed(text[c.name], c) for c in dataset.columns}
    frame = raw.select(
        "file_id",
        "row_number",
        "problem_rows",
        F.when(F.col("problem_reason").isNotNull(), _problem_of_reader()).alias("reader_problem"),
        *[typed[c.name].alias(c.name) for c in dataset.columns],
        F.struct(*[text[c.name].alias(c.name) for c in dataset.columns]).alias("text"),
    )
    problems = [F.col("reader_problem")]
    problems += [_missing(c) for c in dataset.columns if not c.nullable]
    cells = {c.name: _bad_value(c, latest) for c in dataset.columns}
    spared = [c for c in dataset.columns if c.nullable and c.name not in dataset.vital and cells[c.name]]
    problems += [problem for c in dataset.columns if c not in spared for problem in cells[c.name]]
    problems += [
        F.when(F.expr(rule.broken_when), _problem(rule.reason, rule.column, f"{rule.column}: {rule.mend}"))
        for rule in dataset.rules
    ]
    frame = frame.withColumns({_bad(c): F.coalesce(*cells[c.name]) for c in spared})
    problem = F.coalesce(*problems)
    is_bad_row = problem.isNotNull() & (F.col("row_number") > 0)
    note = F.when(problem.isNull(), _note(spared)) if spared else F.lit(None).cast(_PROBLEM)
    values = {c.name: F.col(c.name) for c in dataset.columns}
    values |= {
        c.name: F.when(F.col(_bad(c)).isNull(), F.col(c.name)).otherwise(_instead(c, dataset, read_at)) for c in spared
    }
    month = F.date_format(F.from_utc_timestamp(F.col(dataset.event_time), business_tz), "yyyy-MM")
    return frame.select(
        "file_id",
        "row_number",
        *[value.alias(name) for name, value in values.items()],
        month.alias("month"),
        problem.alias("problem"),
        "problem_rows",
        note.alias("note"),
        F.when(is_bad_row | note.isNotNull(), F.to_json("text")).alias("row_json"),
    )


_PROBLEM = "struct<reason: string, column: string, value: string, message: string>"


def _bad(column: Column) -> str:
    return f"bad_{column.name}"


def _note(spared: Sequence[Column]) -> SparkColumn:
    """One problem for all cells of a row that cannot be used: the first's column and value, everybody's message."""
    found = F.array_compact(F.array(*[F.col(_bad(c)) for c in spared]))
    message = F.array_join(F.transform(found, lambda each: each["message"]), "; ")
    first = found.getItem(0)
    noted = F.struct(
        F.lit("unusable_cell").alias("reason"),
        first["column"].alias("column"),
        first["value"].alias("value"),
        message.alias("message"),
    )
    return F.when(F.size(found) > 0, noted)


def _instead(column: Column, dataset: Dataset, read_at: datetime) -> SparkColumn:
    """What stands in a cell that cannot be used."""
    if column.name in dataset.fail_closed:
        return F.lit(False)
    if column.name == dataset.event_time and dataset.fail_closed:
        # Without a date the row would hold from the beginning, before what was known already: a "no" would be lost.
        return F.lit(read_at)
    return F.lit(None)


def _typed(text: SparkColumn, column: Column) -> SparkColumn:
    target = from_arrow_type(column.type)
    if pa.types.is_list(column.type):
        return F.split(text, r"\|")
    if pa.types.is_integer(column.type):
        # Whole numbers often arrive as 2.0 (a column that once held nulls in pandas): accept them, refuse 2.5.
        number = text.try_cast("decimal(38,9)")
        return F.when(number == F.floor(number), number.try_cast(target))
    return text.try_cast(target)


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


def _bad_value(column: Column, latest: str) -> list[SparkColumn]:
    name, value = column.name, F.col(column.name)
    wanted = f"{name} must be a {from_arrow_type(column.type).simpleString()}"
    bad = [F.when(F.col(f"text.{name}").isNotNull() & value.isNull(), _problem("invalid_type", name, wanted))]
    bounds = []
    if column.minimum is not None:
        bounds.append(value < column.minimum)
    if column.maximum is not None:
        bounds.append(value > column.maximum)
    if bounds:
        low = "any" if column.minimum is None else f"{column.minimum:g}"
        high = "any" if column.maximum is None else f"{column.maximum:g}"
        outside = reduce(lambda a, b: a | b, bounds)
        bad.append(F.when(outside, _problem("out_of_range", name, f"{name} must lie from {low} to {high}")))
    if column.allowed is not None:
        message = f"{name} must be one of {', '.join(column.allowed)}"
        bad.append(F.when(~value.isin(list(column.allowed)), _problem("invalid_value", name, message)))
    if pa.types.is_timestamp(column.type):
        message = f"{name} must lie from {EARLIEST[:10]} to the day of reading, {latest[:10]}"
        outside = (value < F.lit(EARLIEST).cast("timestamp")) | (value > F.lit(latest).cast("timestamp"))
        bad.append(F.when(outside, _problem("timestamp_out_of_range", name, message)))
    return bad
