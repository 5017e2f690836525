"""The neutral description of a table, from which every engine's schema is rendered.

Types are PyArrow's, because they are exact and every engine here reads them. No Spark import:
:func:`spark_schema` imports it when called. What the tables are stands in the layer modules beside this one.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from pyspark.sql.types import StructType

STRING = pa.string()
INT = pa.int32()
LONG = pa.int64()
DOUBLE = pa.float64()
FLOAT = pa.float32()
BOOL = pa.bool_()
DATE = pa.date32()
TIMESTAMP = pa.timestamp("us", tz="UTC")
USD = pa.decimal128(18, 2)
STRINGS = pa.list_(pa.string())
VECTOR = pa.list_(pa.float32(), 384)


@dataclass(frozen=True)
class Column:
    """One column: its name, type and what may stand in it.

    ``minimum`` and ``maximum`` are inclusive; ``allowed`` lists the only values; ``unit`` is for readers.
    """

    name: str
    type: pa.DataType
    text: str
    nullable: bool = False
    unit: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    allowed: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Table:
    """One table. ``name`` is ``layer/table``: its asset key and its path below the lake."""

    name: str
    text: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    partition_by: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        unknown = [name for name in (*self.key, *self.partition_by) if name not in names]
        if unknown or len(set(names)) != len(names):
            raise ValueError(f"{self.name}: unknown key columns {unknown} or a column named twice")

    @property
    def layer(self) -> str:
        """``bronze``, ``silver``, ``gold`` or ``serving``."""
        return self.name.split("/")[0]

    @property
    def asset_key(self) -> list[str]:
        """``[layer, table]``."""
        return self.name.split("/")

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        """The columns' names in order."""
        return tuple(column.name for column in self.columns)

    @property
    def is_monthly(self) -> bool:
        """Whether the table is replaced month by month."""
        return "month" in self.partition_by

    def column(self, name: str) -> Column:
        """The column of that name; ``KeyError`` if there is none."""
        return next(column for column in self.columns if column.name == name)


def arrow_schema(table: Table) -> pa.Schema:
    """The table's PyArrow schema."""
    return pa.schema([pa.field(c.name, c.type, nullable=c.nullable) for c in table.columns])


def spark_schema(table: Table) -> "StructType":
    """The table's Spark schema."""
    from pyspark.sql.pandas.types import from_arrow_type
    from pyspark.sql.types import StructField, StructType

    return StructType([StructField(c.name, from_arrow_type(c.type), c.nullable) for c in table.columns])


def check_constraints(table: Table) -> dict[str, str]:
    """Constraint name → SQL predicate that Delta enforces on every write (ranges and allowed values).

    Delta refuses a row whose CHECK is NULL, unlike SQL, so nullable columns say that null is allowed. NOT NULL is in
    the schema.
    """
    checks = {}
    for column in table.columns:
        parts = []
        if column.minimum is not None:
            parts.append(f"{column.name} >= {column.minimum:g}")
        if column.maximum is not None:
            parts.append(f"{column.name} <= {column.maximum:g}")
        if column.allowed is not None:
            parts.append(f"{column.name} IN ({', '.join(repr(value) for value in column.allowed)})")
        if parts:
            predicate = " AND ".join(parts)
            checks[f"{column.name}_valid"] = f"{column.name} IS NULL OR {predicate}" if column.nullable else predicate
    return checks
