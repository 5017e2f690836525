"""Reads and writes the Delta tables: every table by its contract, every write atomic, months replaced whole.

Not here: what stands in a table (``warehouse/contracts``) and how it is computed (``transforms``).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from warehouse.contracts.table import Table, arrow_schema, check_constraints, spark_schema
from warehouse.errors import ContractError, MissingMonth
from warehouse.object_store import is_s3, object_store_options
from warehouse.settings import Settings
from warehouse.table_log import Condition, TableLog, open_log

Rows = DataFrame | pa.Table
"""What is written: a frame of Spark's, or what the driver holds."""

Figures = Mapping[str, Column]
"""Aggregates by name."""

_ROWS = "rows_written"


@dataclass(frozen=True)
class Lake:
    """The Delta lake at one URI, seen through one Spark session.

    ``storage_options`` are those of delta-rs, which reads the tables' logs.
    """

    spark: SparkSession
    uri: str
    storage_options: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    _checked: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    def table_uri(self, table: Table) -> str:
        """Path or URI of the table: the lake's, then ``layer/table``."""
        return f"{self.uri}/{table.name}"

    def log(self, table: Table) -> TableLog | None:
        """The table's log as it is now; None before the table is created.

        Raises:
            ContractError: the table was made with other columns than the contract's.
        """
        found = open_log(table, self.table_uri(table), self.storage_options)
        if found and table.name not in self._checked:
            found.require_contract()
            self._checked.add(table.name)
        return found

    def exists(self, table: Table) -> bool:
        """Whether the table has been created."""
        return table.name in self._checked or self.log(table) is not None

    def create(self, table: Table) -> None:
        """Creates the table by its contract, NOT NULL and CHECK constraints included, if it is not there."""
        if self.exists(table):
            return
        from delta.tables import DeltaTable

        builder = DeltaTable.createIfNotExists(self.spark).location(self.table_uri(table)).comment(table.text)
        builder = builder.addColumns(spark_schema(table))
        if table.partition_by:
            builder = builder.partitionedBy(*table.partition_by)
        # Statistics on what tables are read by; on every column they are a notable part of a write.
        indexed = [name for name in dict.fromkeys(table.key) if name not in table.partition_by]
        builder = builder.property("delta.dataSkippingStatsColumns", ",".join(indexed))
        for name, predicate in check_constraints(table).items():
            builder = builder.property(f"delta.constraints.{name}", predicate)
        builder.execute()
        self._checked.add(table.name)

    def read(self, table: Table, months: Sequence[str] | None = None) -> DataFrame:
        """The table, or its partitions of ``months``, as it is now; empty where it has not been written."""
        log = self.log(table)
        if log and not log.is_plain:
            frame = self.spark.read.format("delta").load(self.table_uri(table))
            return frame if months is None else frame.where(F.col("month").isin(list(months)))
        uris = log.files(months).uris if log else ()
        if not uris:
            return self.spark.createDataFrame([], spark_schema(table))
        plain = self.spark.read.schema(spark_schema(table)).option("basePath", self.table_uri(table))
        return plain.parquet(*uris).select(*table.column_names)

    def require_months(self, table: Table, months: Sequence[str]) -> DataFrame:
        """The table's partitions of ``months``.

        Raises:
            MissingMonth: one of them holds no row.
        """
        present = self.count_by_month(table, months)
        missing = [month for month in months if not present.get(month)]
        if missing:
            raise MissingMonth(f"{table.name} holds no row of {', '.join(missing)}: materialize that first")
        return self.read(table, months)

    def count_by_month(self, table: Table, months: Sequence[str] | None = None) -> dict[str, int]:
        """Rows of each month, or of each of ``months``, that has any, in order."""
        log = self.log(table)
        counts = log.files(months).rows_by_month() if log and log.is_plain else None
        if counts is None and log:
            rows = self.read(table, months).groupBy("month").count().collect()
            counts = dict(sorted((row["month"], row["count"]) for row in rows))
        return counts or {}

    def count(self, table: Table) -> int:
        """Rows of the table."""
        log = self.log(table)
        rows = log.files().rows if log and log.is_plain else None
        if rows is None or rows.null_count:
            return self.read(table).count()
        return sum(rows.to_pylist())

    def collect(
        self,
        table: Table,
        months: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
        where: Sequence[Condition] = (),
    ) -> pa.Table:
        """Rows for the driver, read without Spark: of the table, or of its partitions of ``months``.

        The driver holds them all, so this is for tables and columns that something bounds. Empty, where the table has
        not been written.

        Args:
            table: contract.
            months: partitions; None: all.
            columns: names; None: all.
            where: conditions that all hold, each ``(column, "=" or "in", value)``.
        """
        log = self.log(table)
        schema = arrow_schema(table) if columns is None else _part(arrow_schema(table), columns)
        in_months = [] if months is None else [("month", "in", list(months))]
        return log.rows(schema, [*in_months, *where]) if log else schema.empty_table()

    def replace_months(
        self, table: Table, rows: Rows, months: Sequence[str], figures: Figures | None = None
    ) -> "Written":
        """Replaces the partitions of ``months`` by ``rows`` in one commit.

        A month without rows is emptied.

        Args:
            table: contract.
            rows: a frame, which Spark writes, or what the driver holds anyway, which costs no Spark job.
            months: the partitions; the rows are of no other month.
            figures: aggregates that are computed while a frame is written, by name.

        Raises:
            ContractError: the rows lack a column of the contract or have one too many, or break a rule of it.
        """
        wanted = ", ".join(f"'{month}'" for month in months)
        return self.replace_where(table, rows, f"month IN ({wanted})", figures)

    def replace_where(self, table: Table, rows: Rows, predicate: str, figures: Figures | None = None) -> "Written":
        """Replaces the rows for which ``predicate`` holds by ``rows`` in one commit; see :meth:`replace_months`."""
        self.create(table)
        if isinstance(rows, pa.Table):
            return self._write_arrow(table, rows, mode="overwrite", predicate=predicate)
        return self._write(table, rows, {"replaceWhere": predicate}, figures=figures)

    def replace_all(self, table: Table, rows: DataFrame, note: str = "") -> "Written":
        """Replaces the whole table in one commit, which carries ``note``."""
        self.create(table)
        return self._write(table, rows, {"userMetadata": note} if note else {})

    def last_commit(self, table: Table) -> tuple[int, str | None]:
        """Version of the table and the note of its last commit; ``(-1, None)`` before it is created."""
        log = self.log(table)
        return (log.version, log.note()) if log else (-1, None)

    def append(self, table: Table, rows: pa.Table) -> "Written":
        """Appends what the driver holds in one commit."""
        self.create(table)
        return self._write_arrow(table, rows, mode="append")

    def _write(
        self,
        table: Table,
        frame: DataFrame,
        options: Mapping[str, str],
        figures: Figures | None = None,
    ) -> "Written":
        from pyspark.sql import Observation

        observation = Observation()
        counted = [F.count(F.lit(1)).alias(_ROWS), *[figure.alias(name) for name, figure in (figures or {}).items()]]
        rows = conform(table, frame).observe(observation, *counted)
        rows.write.format("delta").mode("overwrite").options(**options).save(self.table_uri(table))
        told = dict(observation.get)
        return Written(int(told.pop(_ROWS)), told)

    def _write_arrow(
        self, table: Table, rows: pa.Table, mode: Literal["append", "overwrite"], predicate: str | None = None
    ) -> "Written":
        from deltalake import write_deltalake
        from deltalake.exceptions import DeltaError

        _require_columns(table, rows.column_names)
        schema = arrow_schema(table)
        rows = rows.select(schema.names).cast(schema)
        uri, options = self.table_uri(table), dict(self.storage_options)
        try:
            write_deltalake(uri, rows, mode=mode, predicate=predicate, storage_options=options)
        except DeltaError as error:
            # Its text shows rows, which are nobody's business; the first line says which rule.
            raise ContractError(f"{table.name} refuses rows: {str(error).splitlines()[0]}") from None
        return Written(rows.num_rows, {})


@dataclass(frozen=True)
class Written:
    """What one commit wrote: its rows, and the figures that were asked for."""

    rows: int
    figures: Mapping[str, Any]


def open_lake(spark: SparkSession, settings: Settings) -> Lake:
    """The lake of the settings."""
    options = object_store_options(settings.s3_endpoint) if is_s3(settings.lake) else {}
    return Lake(spark, settings.lake, options)


@contextmanager
def persisted(frame: DataFrame) -> Iterator[DataFrame]:
    """The frame, computed once and kept until the ``with`` ends, also where it fails."""
    kept = frame.persist(StorageLevel.MEMORY_AND_DISK)
    try:
        yield kept
    finally:
        kept.unpersist()


def conform(table: Table, frame: DataFrame) -> DataFrame:
    """The frame with exactly the contract's columns, in its order and types.

    Raises:
        ContractError: a column is missing or unknown to the contract.
    """
    _require_columns(table, frame.columns)
    schema = spark_schema(table)
    return frame.select(*[F.col(f.name).cast(f.dataType).alias(f.name) for f in schema.fields])


def _require_columns(table: Table, names: Sequence[str]) -> None:
    missing = [name for name in table.column_names if name not in names]
    unknown = [name for name in names if name not in table.column_names]
    if missing or unknown:
        raise ContractError(f"rows for {table.name} lack {missing} and have {unknown}, which the contract does not")


def _part(schema: pa.Schema, columns: Sequence[str]) -> pa.Schema:
    return pa.schema([schema.field(name) for name in columns])
