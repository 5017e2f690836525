"""The rules of each table contract, as Great Expectations judges them and as Spark counts what breaks them.

What is expected is the contract's, word for word; this module only translates. Not here: running a suite
(``quality/validation.py``), figures about a whole month (``quality/measures.py``).
"""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import Column as Expression
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


@dataclass(frozen=True)
class Rule:
    """One rule of a contract.

    ``broken`` is an aggregate: how many rows break the rule (for ``rows``: 1 where there is none). ``expectation``
    makes the same rule for Great Expectations, in the form that names the rows which break it.
    """

    rule: str
    column: str | None
    text: str
    broken: Expression
    expectation: Callable[[], "Expectation"]

    @property
    def name(self) -> str:
        """What tells the rule from the table's others."""
        return f"{self.rule} {self.column}" if self.column else self.rule


def rules_of(table: Table, references: Sequence[Reference] = (), *, may_be_empty: bool | None = None) -> list[Rule]:
    """The table's rules: rows, nulls, ranges, allowed values, key and references; all of them block.

    Args:
        table: contract.
        references: foreign keys; with them, the rules are those of the frame that :func:`mark_known` returns.
        may_be_empty: whether no rows at all are right; by default what :data:`NEVER_EMPTY` says.
    """
    rules = []
    if table.name in NEVER_EMPTY if may_be_empty is None else not may_be_empty:
        rules.append(_has_rows())
    for column in table.columns:
        rules += _column_rules(column)
    rules.append(_unique_key(table))
    return [*rules, *map(_is_known, references)]


def suite_of(table: Table, rules: Sequence[Rule]) -> "ExpectationSuite":
    """The rules as a suite of Great Expectations; each expectation says in ``meta`` which rule it is."""
    expectations = []
    for rule in rules:
        expectation = rule.expectation()
        meta = {"rule": rule.rule, "column": rule.column, "contract": table.name, "text": rule.text, "blocking": True}
        expectation.meta, expectation.severity = meta, "critical"
        expectations.append(expectation)
    return great_expectations().ExpectationSuite(name=table.name, expectations=expectations)


def mark_known(frame: DataFrame, references: Sequence[Reference]) -> DataFrame:
    """The frame with one more column a reference: true where the parent has the value, null for an orphan."""
    for reference in references:
        child = F.col(reference.column)
        parent = reference.parent.select(F.col(reference.parent_column or reference.column).alias(reference.column))
        known = parent.distinct().withColumn(reference.flag, F.lit(True))
        frame = frame.join(known, reference.column, "left")
        frame = frame.withColumn(reference.flag, F.when(child.isNull(), True).otherwise(F.col(reference.flag)))
    return frame


def _expectations() -> "ModuleType":
    from great_expectations import expectations

    return expectations


def _has_rows() -> Rule:
    return Rule(
        "rows",
        None,
        "there is at least one row",
        (F.count(F.lit(1)) == 0).cast("long"),
        lambda: _expectations().ExpectTableRowCountToBeBetween(min_value=1),
    )


def _column_rules(column: Column) -> list[Rule]:
    name, rules = column.name, []
    value = F.col(name)
    if not column.nullable:
        rules.append(
            Rule(
                "not_null",
                name,
                f"{name} is never null",
                F.count_if(value.isNull()),
                lambda: _expectations().ExpectColumnValuesToNotBeNull(column=name),
            )
        )
    if column.minimum is not None or column.maximum is not None:
        low, high = _bounds(column)
        outside = F.lit(False)
        outside = outside if low is None else outside | (value < low)
        outside = outside if high is None else outside | (value > high)
        rules.append(
            Rule(
                "range",
                name,
                f"{name} is {_range_text(column)}",
                F.count_if(outside),
                lambda: _expectations().ExpectColumnValuesToBeBetween(column=name, min_value=low, max_value=high),
            )
        )
    if (allowed := column.allowed) is not None:
        rules.append(
            Rule(
                "allowed",
                name,
                f"{name} is one of {', '.join(allowed)}",
                F.count_if(~value.isin(list(allowed))),
                lambda: _expectations().ExpectColumnValuesToBeInSet(column=name, value_set=list(allowed)),
            )
        )
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


def _unique_key(table: Table) -> Rule:
    key = list(table.key)

    def expectation() -> "Expectation":
        if len(key) == 1:
            return _expectations().ExpectColumnValuesToBeUnique(column=key[0])
        return _expectations().ExpectCompoundColumnsToBeUnique(column_list=key, ignore_row_if="never")

    # As a struct: nulls then count as values. The window of Great Expectations sorts the whole table.
    surplus = F.count(F.lit(1)) - F.count_distinct(F.struct(*key))
    return Rule("unique_key", None, f"{' + '.join(key)} is unique", surplus, expectation)


def _is_known(reference: Reference) -> Rule:
    return Rule(
        "reference",
        reference.column,
        f"{reference.column} stands in {reference.parent_name}",
        F.count_if(F.col(reference.flag).isNull()),
        lambda: _expectations().ExpectColumnValuesToNotBeNull(column=reference.flag),
    )
