"""Reads and writes the Delta tables: every table by its contract, every write atomic, months replaced whole.

Not here: what stands in a table (``warehouse/contracts``) and how it is computed (``transforms``).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from warehouse.contracts.table import Table, check_constraints, spark_schema
from warehouse.errors import ContractError, MissingMonth
from warehouse.settings import Settings


@dataclass(frozen=True)
class Lake:
    """The Delta lake at one URI, seen through one Spark session."""

    spark: SparkSession
    uri: str
    _known: set[str] = field(default_factory=set, repr=False, compare=False)

    def table_uri(self, table: Table) -> str:
        """Path or URI of the table: the lake's, then ``layer/table``."""
        return f"{self.uri}/{table.name}"

    def exists(self, table: Table) -> bool:
        """Whether the table has been created."""
        from delta.tables import DeltaTable

        if table.name not in self._known and DeltaTable.isDeltaTable(self.spark, self.table_uri(table)):
            self._known.add(table.name)
        return table.name in self._known

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
        self._known.add(table.name)

    def read(self, table: Table, months: Sequence[str] | None = None) -> DataFrame:
        """The table, or its partitions of ``months``; empty where it has not been written."""
        if not self.exists(table):
            return self.spark.createDataFrame([], spark_schema(table))
        frame = self.spark.read.format("delta").load(self.table_uri(table))
        return frame if months is None else frame.where(F.col("month").isin(list(months)))

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

    def count_by_month(self, table: Table, months: Sequence[str]) -> dict[str, int]:
        """Rows of each of ``months`` that has any, in order."""
        counts = self.read(table, months).groupBy("month").count().collect()
        return dict(sorted((row["month"], row["count"]) for row in counts))

    def replace_months(self, table: Table, frame: DataFrame, months: Sequence[str]) -> int:
        """Replaces the partitions of ``months`` by ``frame`` in one commit.

        A month without rows in ``frame`` is emptied. Returns the rows written.

        Raises:
            ContractError: the frame lacks a column of the contract or has one too many.
        """
        wanted = ", ".join(f"'{month}'" for month in months)
        return self.replace_where(table, frame, f"month IN ({wanted})")

    def replace_where(self, table: Table, frame: DataFrame, predicate: str) -> int:
        """Replaces the rows for which ``predicate`` holds by ``frame`` in one commit; returns the rows written."""
        self.create(table)
        return self._write(table, frame, {"replaceWhere": predicate})

    def replace_all(self, table: Table, frame: DataFrame, note: str = "") -> int:
        """Replaces the whole table in one commit, which carries ``note``; returns the rows written."""
        self.create(table)
        return self._write(table, frame, {"userMetadata": note} if note else {})

    def last_commit(self, table: Table) -> tuple[int, str | None]:
        """Version of the table and the note of its last commit; ``(-1, None)`` before it is created."""
        if not self.exists(table):
            return -1, None
        from delta.tables import DeltaTable

        row = DeltaTable.forPath(self.spark, self.table_uri(table)).history(1).first()
        return row["version"], row["userMetadata"]

    def append(self, table: Table, frame: DataFrame) -> int:
        """Appends rows in one commit; returns the rows written."""
        self.create(table)
        return self._write(table, frame, {}, mode="append")

    def _write(self, table: Table, frame: DataFrame, options: dict[str, str], mode: str = "overwrite") -> int:
        from pyspark.sql import Observation

        observation = Observation()
        rows = conform(table, frame).observe(observation, F.count(F.lit(1)).alias("rows"))
        rows.write.format("delta").mode(mode).options(**options).save(self.table_uri(table))
        return int(observation.get["rows"])


def open_lake(spark: SparkSession, settings: Settings) -> Lake:
    """The lake of the settings."""
    return Lake(spark, settings.lake)


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
    missing = [name for name in table.column_names if name not in frame.columns]
    unknown = [name for name in frame.columns if name not in table.column_names]
    if missing or unknown:
        raise ContractError(f"a frame for {table.name} lacks {missing} and has {unknown}, which the contract does not")
    schema = spark_schema(table)
    return frame.select(*[F.col(f.name).cast(f.dataType).alias(f.name) for f in schema.fields])
