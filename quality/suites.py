"""Great Expectations suites rendered from the table contracts.

What a suite expects is the contract's, word for word; this module only translates. Not here: running a suite
(``quality/validation.py``), figures about a whole month (``quality/measures.py``).
"""

import os
import sys
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from warehouse.contracts.table import Column, Table

if TYPE_CHECKING:
    from types import ModuleType

    from great_expectations import ExpectationSuite
    from great_expectations.expectations.expectation import Expectation

# Tables that have rows whenever they are right; the others may be empty (nobody clicked, nothing was refused).
NEVER_EMPTY = frozenset(
    {
        "bronze/orders",
        "bronze/products",
        "bronze/customers",
        "bronze/landing_files",
        "silver/order_lines",
        "silver/products",
        "silver/customers",
        "gold/purchase_frequency",
        "gold/replenishment_state",
        "serving/subscribe_save_lists",
    }
)


@dataclass(frozen=True)
class Reference:
    """A foreign key: every value of ``column`` stands in ``parent``'s ``parent_column`` (by default the same name).

    ``parent_name`` is for readers. A null refers to nothing and passes.
    """

    column: str
    parent: DataFrame
    parent_name: str
    parent_column: str | None = None

    @property
    def flag(self) -> str:
        """The column that :func:`mark_known` adds."""
        return f"{self.column}_is_known"


@cache
def great_expectations() -> "ModuleType":
    """The package, imported once, with its usage statistics off."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx

    return gx


def suite_for(
    table: Table, references: Sequence[Reference] = (), *, may_be_empty: bool | None = None
) -> "ExpectationSuite":
    """The table's suite: columns, rows, nulls, ranges, allowed values, key and references; all of them block.

    ``meta`` of an expectation says ``rule``, ``column``, ``contract`` (the table), ``text`` and ``blocking``.

    Args:
        table: contract.
        references: foreign keys; with them, the suite judges the frame that :func:`mark_known` returns.
        may_be_empty: whether no rows at all are right; by default what :data:`NEVER_EMPTY` says.
    """
    gx = great_expectations()
    expectations = [_columns(table, references)]
    if table.name in NEVER_EMPTY if may_be_empty is None else not may_be_empty:
        expectations.append(_has_rows(table))
    for column in table.columns:
        expectations += _column_rules(table, column)
    expectations.append(_unique_key(table))
    expectations += [_is_known(table, reference) for reference in references]
    return gx.ExpectationSuite(name=table.name, expectations=expectations)


def mark_known(frame: DataFrame, references: Sequence[Reference]) -> DataFrame:
    """The frame with one more column a reference: true where the parent has the value, null for an orphan."""
    for reference in references:
        child = F.col(reference.column)
        parent = reference.parent.select(F.col(reference.parent_column or reference.column).alias(reference.column))
        known = parent.distinct().withColumn(reference.flag, F.lit(True))
        frame = frame.join(known, reference.column, "left")
        frame = frame.withColumn(reference.flag, F.when(child.isNull(), True).otherwise(F.col(reference.flag)))
    return frame


def rows_expectation(table: Table, expectation: "Expectation") -> "Expectation":
    """An expectation of :func:`suite_for`, in the form that can name the rows which break it, for a suite of its own.

    Only the key's differs: what judges it is an aggregate, what finds its rows is a window over the whole table.
    """
    from great_expectations import expectations as gxe

    meta = expectation.meta
    if meta["rule"] != "unique_key":
        return copy(expectation)
    if len(table.key) == 1:
        return gxe.ExpectColumnValuesToBeUnique(column=table.key[0], meta=meta)
    return gxe.ExpectCompoundColumnsToBeUnique(column_list=list(table.key), ignore_row_if="never", meta=meta)


def _described(table: Table, rule: str, column: str | None, text: str) -> dict[str, Any]:
    meta = {"rule": rule, "column": column, "contract": table.name, "text": text, "blocking": True}
    return {"meta": meta, "severity": "critical"}


def _columns(table: Table, references: Sequence[Reference]) -> "Expectation":
    from great_expectations.expectations import ExpectTableColumnsToMatchSet

    names = [*table.column_names, *[reference.flag for reference in references]]
    described = _described(table, "columns", None, "the columns are those of the contract")
    return ExpectTableColumnsToMatchSet(column_set=names, exact_match=True, **described)


def _has_rows(table: Table) -> "Expectation":
    from great_expectations.expectations import ExpectTableRowCountToBeBetween

    return ExpectTableRowCountToBeBetween(min_value=1, **_described(table, "rows", None, "there is at least one row"))


def _column_rules(table: Table, column: Column) -> list["Expectation"]:
    from great_expectations import expectations as gxe

    name, rules = column.name, []
    if not column.nullable:
        described = _described(table, "not_null", name, f"{name} is never null")
        rules.append(gxe.ExpectColumnValuesToNotBeNull(column=name, **described))
    if column.minimum is not None or column.maximum is not None:
        described = _described(table, "range", name, f"{name} is {_range_text(column)}")
        low, high = _bounds(column)
        rules.append(gxe.ExpectColumnValuesToBeBetween(column=name, min_value=low, max_value=high, **described))
    if column.allowed is not None:
        described = _described(table, "allowed", name, f"{name} is one of {', '.join(column.allowed)}")
        rules.append(gxe.ExpectColumnValuesToBeInSet(column=name, value_set=list(column.allowed), **described))
    return rules


def _bounds(column: Column) -> tuple[float | None, float | None]:
    """The contract's bounds; an open end of a floating-point column is the largest number: NaN is above all numbers."""
    if not pa.types.is_floating(column.type):
        return column.minimum, column.maximum
    low = -sys.float_info.max if column.minimum is None else column.minimum
    return low, sys.float_info.max if column.maximum is None else column.maximum


def _range_text(column: Column) -> str:
    if column.maximum is None:
        return f"at least {column.minimum:g}"
    if column.minimum is None:
        return f"at most {column.maximum:g}"
    return f"from {column.minimum:g} to {column.maximum:g}"


def _unique_key(table: Table) -> "Expectation":
    from quality.expectations import ExpectKeyToBeUnique

    described = _described(table, "unique_key", None, f"{' + '.join(table.key)} is unique")
    return ExpectKeyToBeUnique(column_list=list(table.key), **described)


def _is_known(table: Table, reference: Reference) -> "Expectation":
    from great_expectations.expectations import ExpectColumnValuesToNotBeNull

    described = _described(
        table, "reference", reference.column, f"{reference.column} stands in {reference.parent_name}"
    )
    return ExpectColumnValuesToNotBeNull(column=reference.flag, **described)
