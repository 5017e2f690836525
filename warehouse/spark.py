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
from warehouse.jars import delta_jars, spark_home
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
    # Compiled queries kept: with the default of 100, every month of a run would compile all of its queries anew.
    "spark.sql.codegen.cache.maxEntries": "2000",
}

_LOCAL = {
    "spark.ui.enabled": "false",
    # Shuffles stay in the page cache: compressing them costs more than it saves.
    "spark.shuffle.compress": "false",
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
}

_CLUSTER = {
    "spark.serializer": "org.apache.spark.serializer.KryoSerializer",
    "spark.sql.shuffle.partitions": "400",
    "spark.databricks.delta.optimizeWrite.enabled": "true",
}

_LOG_SETTINGS = Path(__file__).with_name("log4j2.properties")
_REPOSITORY = Path(__file__).resolve().parents[1]
_STARTING = threading.Lock()


def session_config(settings: Settings, class_data: Sequence[str] | None = None) -> dict[str, str]:
    """Every Spark property that the settings lead to; starts nothing but may fetch Delta's jars.

    Args:
        settings: the platform's settings.
        class_data: the JVM's options about class-data archives, in place of those for the home's own archive.

    Raises:
        EnvironmentProblem: Java or a jar is missing.
    """
    if not settings.spark_master.startswith("local"):
        return {**_EVERYWHERE, **_CLUSTER}
    java_home = find_java_home(settings.cache)
    jars = delta_jars(settings.cache, java_home, settings.ivy_settings)
    if class_data is None:
        class_data = class_data_archive(settings.cache, java_home).jvm_options
    return {
        **_EVERYWHERE,
        **_LOCAL,
        "spark.driver.memory": settings.spark_driver_memory,
        "spark.driver.extraClassPath": os.pathsep.join(map(str, jars)),
        "spark.driver.extraJavaOptions": _local_jvm_options(settings.cache, class_data),
        "spark.local.dir": str(settings.cache / "spark"),
        "spark.sql.warehouse.dir": str(settings.cache / "spark-warehouse"),
    }


def start_session(
    settings: Settings, app_name: str = "replenish", class_data: Sequence[str] | None = None
) -> "SparkSession":
    """The process's Spark session, started if there is none.

    Args:
        settings: the platform's settings.
        app_name: the name that Spark shows.
        class_data: see :func:`session_config`.

    Raises:
        EnvironmentProblem: Java or a jar is missing. A retry does not help.
    """
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    with _STARTING:
        # Not getActiveSession: that is the calling thread's, and a second thread would set everything up anew.
        if SparkContext._active_spark_context is not None:
            return SparkSession.builder.getOrCreate()
        if not settings.spark_master.startswith("local"):
            return _create(session_config(settings), settings.spark_master, app_name)
        return _start_locally(settings, app_name, class_data)


def _start_locally(settings: Settings, app_name: str, class_data: Sequence[str] | None) -> "SparkSession":
    from pyspark.errors import PySparkRuntimeError

    java_home = find_java_home(settings.cache)
    # Before the environment changes: what it is made of depends on the machine's own JAVA_HOME.
    config = session_config(settings, class_data)
    (settings.cache / "spark").mkdir(parents=True, exist_ok=True)
    with _environment(java_home):
        try:
            return _create(config, settings.spark_master, app_name)
        except PySparkRuntimeError:
            if class_data is not None or "SharedArchiveFile" not in config["spark.driver.extraJavaOptions"]:
                raise
    # The JVM died before it answered. A damaged archive does that, and nothing needs the archive.
    archive = class_data_archive(settings.cache, java_home)
    archive.discard("a session did not start with it; 'python -m warehouse.prepare --again' makes a new one")
    return _start_locally(settings, app_name, class_data=())


def _create(config: Mapping[str, str], master: str, app_name: str) -> "SparkSession":
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName(app_name)
    if master != "submit":
        builder = builder.master(master)
    for name, value in config.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


@contextmanager
def _environment(java_home: Path) -> Iterator[None]:
    """The environment in which a local JVM starts: this Java, this Spark, this Python, and no one else's settings.

    The variables are set back afterwards: an inherited ``JAVA_HOME`` would hide the machine's own from a subprocess.
    """
    changes: dict[str, str | None] = {
        "JAVA_HOME": str(java_home),
        # Another Spark on this machine is another version, and its conf folder holds settings for another cluster.
        "SPARK_HOME": str(spark_home()),
        **dict.fromkeys(("SPARK_CONF_DIR", "HADOOP_CONF_DIR", "YARN_CONF_DIR")),
        "SPARK_LOCAL_IP": "127.0.0.1",
        # Python workers run this interpreter and find this repository, wherever the process was started from.
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "PYTHONPATH": _with_repository(os.environ.get("PYTHONPATH", "")),
    }
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


def _local_jvm_options(cache: Path, class_data: Sequence[str]) -> str:
    # Both compilers: C1 alone saves a few seconds at the start and takes twice as long for a month of real data.
    options = ["-XX:ReservedCodeCacheSize=256m", "-XX:+UseSerialGC"]
    options.append(f"-Duser.home={cache}")
    options += [f"-Dlog4j2.configurationFile={_LOG_SETTINGS.as_uri()}", f"-XX:ErrorFile={cache}/jvm-error-%p.log"]
    # Spark splits the line at blanks outside quotes, and a home may lie in a folder whose name has one.
    return " ".join(f'"{option}"' for option in [*options, *QUIET, *class_data])
