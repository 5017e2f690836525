"""The Spark session: one place for every engine setting, tuned apart for a laptop and for a cluster.

The local settings are measured ones: UI off, few partitions, serial collector and a class-data archive spare most of
the time that small tables take.

Not here: what is computed with the session, and the making of the archive (``class_data.py``, ``prepare.py``).
"""

import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from warehouse.class_data import QUIET, class_data_archive
from warehouse.cluster import require_master, ship_code
from warehouse.jars import delta_jars, s3_jars, spark_home
from warehouse.java import find_java_home
from warehouse.log_store import log_store_jar, log_store_options
from warehouse.object_store import jvm_credentials, region, s3a_options, spark_needs_s3, stores_on_s3
from warehouse.object_store_errors import require_kept_commits, require_store
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
    # Readers without a JVM take no others.
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.ansi.enabled": "true",
    "spark.ui.showConsoleProgress": "false",
    # Rows that lie by customer stay there when joined by customer and product.
    "spark.sql.requireAllClusterKeysForCoPartition": "false",
    # Compiled queries kept: with the default of 100, every month of a run would compile all of its queries anew.
    "spark.sql.codegen.cache.maxEntries": "2000",
}

_LOCAL = {
    "spark.ui.enabled": "false",
    # What a UI would show of past queries is neither drawn up at length nor kept: a month's plans fill the heap.
    "spark.sql.ui.explainMode": "simple",
    "spark.sql.ui.retainedExecutions": "5",
    "spark.ui.retainedJobs": "20",
    "spark.ui.retainedStages": "20",
    "spark.ui.retainedTasks": "200",
    # Shuffles stay in the page cache: compressing them costs more than it saves.
    "spark.shuffle.compress": "false",
    # Nor is there a point in packing what a job keeps for its own next step.
    "spark.sql.inMemoryColumnarStorage.compressed": "false",
    "spark.sql.shuffle.partitions": "4",
    "spark.default.parallelism": "4",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "2",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    # Small results become one task and one file. Left at 64 MB, a whole month would be one task, and one core idle.
    "spark.sql.adaptive.coalescePartitions.parallelismFirst": "false",
    "spark.sql.adaptive.advisoryPartitionSizeInBytes": "4m",
    "spark.sql.autoBroadcastJoinThreshold": "32m",
    "spark.python.daemon.module": "warehouse.python_daemon",
}

# Each query is code of its own, run for seconds: methods inlined into it less deeply are compiled much sooner.
_COMPILE_LESS = ("-XX:MaxInlineLevel=9", "-XX:FreqInlineSize=150", "-XX:InlineSmallCode=1200")

_CLUSTER = {
    "spark.serializer": "org.apache.spark.serializer.KryoSerializer",
    "spark.sql.shuffle.partitions": "400",
    "spark.databricks.delta.optimizeWrite.enabled": "true",
}

SUBMIT = "submit"
"""The master of a driver that spark-submit starts: it knows cluster, jars and code."""

_LOG_SETTINGS = Path(__file__).with_name("log4j2.properties")
_REPOSITORY = Path(__file__).resolve().parents[1]
_STARTING = threading.Lock()


def session_config(settings: Settings, class_data: Sequence[str] | None = None) -> dict[str, str]:
    """Every Spark property that the settings lead to; starts nothing but may fetch jars.

    Args:
        settings: the platform's settings.
        class_data: the JVM's options about class-data archives, in place of those for the home's own archive.

    Raises:
        EnvironmentProblem: Java or a jar is missing.
    """
    storage = {**s3a_options(settings), **log_store_options()} if spark_needs_s3(settings) else {}
    if settings.spark_master == SUBMIT:
        # Whoever submits brings jars and file systems; only a server of one's own is not known there.
        known = storage if settings.s3_endpoint or not storage else log_store_options()
        return {**_EVERYWHERE, **_CLUSTER, **known, **_executor_region(settings), **settings.spark_conf}
    java_home = find_java_home(settings.cache)
    jars = delta_jars(settings.cache, java_home, settings.ivy_settings)
    shipped = s3_jars(settings, java_home)
    if storage and (log_store := log_store_jar(settings, java_home)):
        shipped = [*shipped, log_store]
    if class_data is None:
        class_data = class_data_archive(settings.cache, java_home).jvm_options
    config = {
        **_EVERYWHERE,
        **(_LOCAL if settings.is_local else _CLUSTER),
        **storage,
        "spark.driver.memory": settings.spark_driver_memory,
        # Not the AWS jars: the class-data archive is made for this class path, whatever the stores.
        "spark.driver.extraClassPath": os.pathsep.join(map(str, jars)),
        "spark.driver.extraJavaOptions": _jvm_options(settings.cache, class_data),
        "spark.sql.warehouse.dir": str(settings.cache / "spark-warehouse"),
    }
    if settings.is_local:
        config["spark.local.dir"] = str(settings.cache / "spark")
    else:
        config |= _executor_region(settings)
        shipped = [*jars, *shipped]
    if shipped:
        config["spark.jars"] = ",".join(jar.as_uri() for jar in shipped)
    return {**config, **settings.spark_conf}


def _executor_region(settings: Settings) -> dict[str, str]:
    """Tells the executors' Python the driver's region; without one PyArrow takes us-east-1."""
    name = region(settings.s3_endpoint) if stores_on_s3(settings) else None
    return {"spark.executorEnv.AWS_REGION": name} if name else {}


def start_session(
    settings: Settings, app_name: str = "replenish", class_data: Sequence[str] | None = None
) -> "SparkSession":
    """The process's Spark session, started if there is none.

    Args:
        settings: the platform's settings.
        app_name: the name that Spark shows.
        class_data: see :func:`session_config`.

    Raises:
        EnvironmentProblem: Java or a jar is missing, or the cluster's master. A retry does not help.
        AccessRefused, SettingsError, StoreUnavailable: the lake is on S3 and cannot be used.
    """
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    require_store(settings, "REPLENISH_LAKE_URI")
    require_kept_commits(settings)
    with _STARTING:
        # Not getActiveSession: that is the calling thread's, and a second thread would set everything up anew.
        if SparkContext._active_spark_context is not None:
            return SparkSession.builder.getOrCreate()
        if settings.spark_master == SUBMIT:
            return _create(session_config(settings), settings.spark_master, app_name)
        if settings.spark_master.startswith("spark://"):
            require_master(settings.spark_master)
        session = _start_driver(settings, app_name, class_data)
        if not settings.is_local:
            ship_code(session, settings.cache)
        return session


def _start_driver(settings: Settings, app_name: str, class_data: Sequence[str] | None) -> "SparkSession":
    from pyspark.errors import PySparkRuntimeError

    java_home = find_java_home(settings.cache)
    # Before the environment changes: what it is made of depends on the machine's own JAVA_HOME.
    config = session_config(settings, class_data)
    (settings.cache / "spark").mkdir(parents=True, exist_ok=True)
    with _environment(settings, java_home):
        try:
            return _create(config, settings.spark_master, app_name)
        except PySparkRuntimeError:
            if class_data is not None or "SharedArchiveFile" not in config["spark.driver.extraJavaOptions"]:
                raise
    # The JVM died before it answered. A damaged archive does that, and nothing needs the archive.
    archive = class_data_archive(settings.cache, java_home)
    archive.discard("a session did not start with it; 'python -m warehouse.prepare --again' makes a new one")
    return _start_driver(settings, app_name, class_data=())


def _create(config: Mapping[str, str], master: str, app_name: str) -> "SparkSession":
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName(app_name)
    if master != SUBMIT:
        builder = builder.master(master)
    for name, value in config.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


@contextmanager
def _environment(settings: Settings, java_home: Path) -> Iterator[None]:
    """The environment in which a driver's JVM starts: this Java, this Spark, this Python, these credentials.

    The variables are set back afterwards: an inherited ``JAVA_HOME`` would hide the machine's own from a subprocess.
    """
    changes: dict[str, str | None] = {
        "JAVA_HOME": str(java_home),
        # Another Spark on this machine is another version.
        "SPARK_HOME": str(spark_home()),
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "PYTHONPATH": _with_repository(os.environ.get("PYTHONPATH", "")),
    }
    if settings.is_local:
        # Settings of a cluster that this machine may know do not count here, nor does its Python.
        changes |= dict.fromkeys(("SPARK_CONF_DIR", "HADOOP_CONF_DIR", "YARN_CONF_DIR"))
        # Python workers run this interpreter and find this repository, wherever the process was started from.
        changes |= {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}
    else:
        changes |= {"PYSPARK_PYTHON": os.environ.get("PYSPARK_PYTHON") or sys.executable}
    if spark_needs_s3(settings):
        changes |= jvm_credentials()
    before = {name: os.environ.get(name) for name in changes}
    _set_environment(changes)
    try:
        yield
    finally:
        _set_environment(before)


def _set_environment(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _with_repository(paths: str) -> str:
    others = [path for path in paths.split(os.pathsep) if path and path != str(_REPOSITORY)]
    return os.pathsep.join([str(_REPOSITORY), *others])


def _jvm_options(cache: Path, class_data: Sequence[str]) -> str:
    # Both compilers: C1 alone saves a few seconds at the start and takes twice as long for a month of real data.
    options = ["-XX:ReservedCodeCacheSize=256m", "-XX:+UseSerialGC", *_COMPILE_LESS]
    options.append(f"-Duser.home={cache}")
    options += [f"-Dlog4j2.configurationFile={_LOG_SETTINGS.as_uri()}", f"-XX:ErrorFile={cache}/jvm-error-%p.log"]
    # Spark splits the line at blanks outside quotes, and a home may lie in a folder whose name has one.
    return " ".join(f'"{option}"' for option in [*options, *QUIET, *class_data])
