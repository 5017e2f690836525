"""The Spark session: one place for every engine setting, tuned apart for a laptop and for a cluster.

The local settings are measured ones: UI off, few partitions, C1 compiler, serial collector and a class-data archive
make small tables about four times faster on two cores (``benchmarks/``).
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from warehouse.jars import class_data_archive, delta_jars
from warehouse.java import find_java_home
from warehouse.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_DELTA = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}

_EVERYWHERE = {
    **_DELTA,
    # Timestamps are UTC in every table; months and dates are cut in the business time zone by the transforms.
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.ansi.enabled": "true",
    "spark.ui.showConsoleProgress": "false",
}

_LOCAL = {
    "spark.ui.enabled": "false",
    "spark.sql.shuffle.partitions": "4",
    "spark.default.parallelism": "4",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "2",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.log.level": "ERROR",
    # Tables of this size fit one file a month and shuffle partition; adaptive coalescing keeps them few.
    "spark.sql.adaptive.coalescePartitions.parallelismFirst": "false",
    "spark.sql.autoBroadcastJoinThreshold": "32m",
}

_CLUSTER = {
    "spark.serializer": "org.apache.spark.serializer.KryoSerializer",
    "spark.sql.shuffle.partitions": "400",
    "spark.databricks.delta.optimizeWrite.enabled": "true",
}


def session_config(settings: Settings) -> dict[str, str]:
    """Every Spark property that the settings lead to; starts nothing but may fetch Delta's jars."""
    if not settings.spark_master.startswith("local"):
        return {**_EVERYWHERE, **_CLUSTER}
    jars = delta_jars(settings.cache, find_java_home(settings.cache), settings.ivy_settings)
    return {
        **_EVERYWHERE,
        **_LOCAL,
        "spark.driver.memory": settings.spark_driver_memory,
        "spark.driver.extraClassPath": os.pathsep.join(map(str, jars)),
        "spark.driver.extraJavaOptions": _local_jvm_options(settings.cache),
        "spark.local.dir": str(settings.cache / "spark"),
        "spark.sql.warehouse.dir": str(settings.cache / "spark-warehouse"),
    }


def start_session(settings: Settings, app_name: str = "replenish") -> "SparkSession":
    """The process's Spark session, started if there is none.

    Raises:
        EnvironmentProblem: Java or a jar is missing.
    """
    from pyspark.sql import SparkSession

    running = SparkSession.getActiveSession()
    if running is not None:
        return running
    if settings.spark_master.startswith("local"):
        os.environ["JAVA_HOME"] = str(find_java_home(settings.cache))
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        _point_workers_here()
        Path(settings.cache / "spark").mkdir(parents=True, exist_ok=True)
    builder = SparkSession.builder.appName(app_name)
    if settings.spark_master != "submit":
        builder = builder.master(settings.spark_master)
    for name, value in session_config(settings).items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def _point_workers_here() -> None:
    """Python workers run this interpreter and find this repository, wherever the process was started from."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    repository = str(Path(__file__).resolve().parents[1])
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != repository]
    os.environ["PYTHONPATH"] = os.pathsep.join([repository, *paths])


def _local_jvm_options(cache: Path) -> str:
    options = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", f"-Duser.home={cache}"]
    archive = class_data_archive(cache)
    if archive.exists():
        options += [f"-XX:SharedArchiveFile={archive}", "-Xshare:auto", "-Xlog:cds=off", "-Xlog:cds+dynamic=off"]
    return " ".join(options)
