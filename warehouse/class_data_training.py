"""The work during which a JVM loads the classes that go into the class-data archive; run by ``class_data.py``.

It does once what the jobs do all day, on a few rows: read files, create Delta tables with constraints, replace a
month, MERGE, join, window, aggregate, and pass Arrow batches through Python. A class that it misses is loaded the
slow way later, nothing more.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from warehouse.class_data import QUIET
from warehouse.settings import load_settings
from warehouse.spark import start_session

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_DAY_S = 86_400


def main(base: str, top: str, scratch: str) -> int:
    """Runs the workload in a JVM that writes the archive ``top`` upon ``base`` when it ends; returns its status."""
    options = [f"-XX:SharedArchiveFile={base}", f"-XX:ArchiveClassesAtExit={top}", *QUIET]
    # Folders, whatever the home's stores: the archive holds Spark's and Delta's classes, not S3A's.
    settings = load_settings(lake_uri=scratch, landing_uri=scratch, vectors_uri=scratch)
    spark = start_session(settings, "class-data", class_data=options)
    lines = _lines(spark)
    _read_files(spark, lines, Path(scratch))
    _write_delta(spark, lines, f"{scratch}/lines")
    _query(spark, f"{scratch}/lines")
    gateway = spark.sparkContext._gateway
    spark.stop()
    # The archive is written while the JVM ends, and the JVM ends when this pipe is closed.
    gateway.shutdown()
    gateway.proc.stdin.close()
    return gateway.proc.wait()


def _lines(spark: "SparkSession") -> "DataFrame":
    from pyspark.sql import functions as F

    number = F.col("id")
    return spark.range(3_000).select(
        (number % 40).cast("string").alias("customer_id"),
        F.concat(F.lit("p"), number % 70).alias("product_id"),
        (number % 5).cast("int").alias("quantity"),
        (number % 900).cast("decimal(18,2)").alias("amount_usd"),
        F.timestamp_seconds(number * 2_000 + 20 * _DAY_S).alias("ordered_at"),
    )


def _read_files(spark: "SparkSession", lines: "DataFrame", folder: Path) -> None:
    for kind in ("csv", "json", "parquet"):
        path = str(folder / kind)
        lines.limit(50).write.format(kind).options(header=True).save(path)
        spark.read.format(kind).schema(lines.schema).options(header=True).load(path).count()


def _write_delta(spark: "SparkSession", lines: "DataFrame", path: str) -> None:
    from delta.tables import DeltaTable
    from pyspark.sql import Observation
    from pyspark.sql import functions as F

    local = F.from_utc_timestamp("ordered_at", "America/New_York")
    monthly = lines.withColumns({"month": F.date_format(local, "yyyy-MM"), "ordered_date": F.to_date(local)})
    table = DeltaTable.createIfNotExists(spark).location(path).addColumns(monthly.schema).partitionedBy("month")
    table.property("delta.constraints.quantity_valid", "quantity >= 0").execute()
    for _ in range(2):
        observation = Observation()
        month = monthly.where("month = '1970-02'").observe(observation, F.count(F.lit(1)).alias("rows"))
        month.write.format("delta").mode("overwrite").option("replaceWhere", "month IN ('1970-02')").save(path)
        monthly.where("month = '1970-03'").write.format("delta").mode("append").save(path)
        observation.get  # noqa: B018 - waits for the figure, as a write of the lake does
    keys = ("customer_id", "product_id", "ordered_at", "month")
    merge = DeltaTable.forPath(spark, path).alias("old")
    merge = merge.merge(monthly.limit(500).alias("new"), " AND ".join(f"old.{key} = new.{key}" for key in keys))
    merge.whenMatchedUpdateAll().whenNotMatchedInsertAll().execute()
    DeltaTable.forPath(spark, path).delete("customer_id = '1'")


def _query(spark: "SparkSession", path: str) -> None:
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    lines = spark.read.format("delta").load(path)
    pairs = lines.groupBy("month", "customer_id", "product_id").agg(
        F.sum("quantity").alias("units"),
        F.sum("amount_usd").alias("spend_usd"),
        F.countDistinct("ordered_date").alias("orders"),
        F.min("ordered_date").alias("first_date"),
        F.percentile_approx("quantity", 0.5).alias("median_units"),
        F.sort_array(F.collect_list(F.struct("ordered_at", "quantity"))).alias("purchases"),
    )
    order = Window.partitionBy("customer_id").orderBy(F.desc("units"), "product_id")
    ranked = pairs.withColumns({"rank": F.row_number().over(order), "before": F.lag("first_date").over(order)})
    other = ranked.select("month", "customer_id", F.col("product_id").alias("product_b"), "units", "rank")
    for how in ("inner", "left", "full", "left_anti"):
        joined = ranked.where("rank < 9").hint("merge").join(other.drop("units"), ["customer_id", "month"], how)
        joined.groupBy("product_id").count().orderBy(F.desc("count")).limit(20).collect()
    ranked.join(F.broadcast(other.where("rank = 1").select("customer_id", "product_b")), "customer_id").toArrow()
    ranked.select("customer_id", F.explode("purchases").alias("one"), F.to_json(F.struct("units"))).dropDuplicates()
    ranked.unionByName(ranked).cache().count()
    flat = ranked.select("customer_id", "product_id", "units", "spend_usd")
    flat.mapInArrow(lambda batches: batches, flat.schema).count()
    flat.groupBy("customer_id").applyInArrow(lambda group: group, flat.schema).count()
    spark.createDataFrame(flat.limit(20).toPandas()).count()
    spark.createDataFrame([("a", 1)], "name string, value int").collect()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
