"""Heavy jobs on a real Spark cluster (standalone, two workers) against a real S3 server: ``make test-cluster``.

A month of 20 households is computed once by a local Spark; then its rows are deleted and computed on the cluster. Not
here: the whole slice through Dagster (``tests/parity.py``).
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import s3_server, spark_cluster
from tests.parity import REPOSITORY, SLICE, as_environment, compare_homes
from tests.s3_server import BUCKET, S3Server
from tests.spark_cluster import Cluster
from warehouse.cluster import code_zip
from warehouse.contracts import gold
from warehouse.jars import spark_home
from warehouse.java import find_java_home
from warehouse.settings import Settings, load_settings

pytestmark = pytest.mark.cluster

MONTH = "2017-01"

TABLES = [
    *(gold.PURCHASE_FREQUENCY, gold.REPLENISHMENT_STATE, gold.COPURCHASE_COUNTS, gold.COPURCHASE),
    *(gold.CANDIDATES, gold.LIST_REQUESTS),
]
"""Computed on the cluster: aggregation, joins over months, pairs, scoring in tasks, and shards that tasks write."""

HEAVY = """
import sys
from jobs import candidates, copurchase, list_requests, purchase_frequency, replenishment_state
from warehouse.contracts import TABLES
from warehouse.lake import open_lake
from warehouse.settings import load_settings
from warehouse.spark import start_session

month, *names = sys.argv[1:]
settings = load_settings()
lake = open_lake(start_session(settings), settings)

def compute():
    for job in (purchase_frequency, replenishment_state, copurchase, candidates, list_requests):
        print(job.run(lake, settings, [month]).line(), flush=True)
"""

ONCE = f"""{HEAVY}
from jobs import catalogue, ingest, order_lines, product_embeddings
from jobs.land_complete_journey import land
from warehouse.contracts.landing import DATASETS

land(settings, [month], households=20)
for dataset in ("orders", "products", "customers"):
    ingest.run(lake, settings, DATASETS[dataset])
catalogue.run_products(lake)
catalogue.run_customers(lake)
order_lines.run(lake, settings, [month])
product_embeddings.run(lake, settings, [month])
compute()
"""

AGAIN = f"""{HEAVY}
for name in names:
    lake.replace_months(TABLES[name], lake.read(TABLES[name]).where("false"), [month])
    assert lake.count_by_month(TABLES[name], [month]) == {{}}
compute()

def where(batches):
    import transforms
    for batch in batches:
        yield batch.from_pydict({{"path": [transforms.__file__]}})

seen = lake.spark.range(8).repartition(8).mapInArrow(where, "path string").distinct().collect()
assert all(row.path.split(".zip")[0].rsplit("/", 1)[1].startswith("replenish-") for row in seen), seen
"""


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server.running(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="module")
def cluster(s3, tmp_path_factory) -> Iterator[Cluster]:
    with spark_cluster.running(tmp_path_factory.mktemp("cluster"), s3_server.CACHE, s3.environment) as running:
        yield running


def start(command: list[str], s3: S3Server, settings: Settings, cwd: Path, **changed: str) -> None:
    """Runs a program with these settings from a folder; its output is told where it fails."""
    own = {"home": str(settings.home), **s3.settings(settings.home.name)}
    env = {**os.environ, **SLICE, **s3.environment, **as_environment(own), "SPARK_LOCAL_IP": "127.0.0.1", **changed}
    env |= {"PYTHONPATH": str(REPOSITORY)} if cwd == REPOSITORY else {"PYTHONPATH": ""}
    run = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=1500, check=False)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-6000:]


@pytest.fixture(scope="module")
def local(s3, tmp_path_factory) -> Settings:
    """One month by a local Spark."""
    home = tmp_path_factory.mktemp("homes") / "local"
    home.mkdir()
    (home / "cache").symlink_to(s3_server.CACHE)
    settings = load_settings(home=home, **s3.settings("local"))
    start([sys.executable, "-c", ONCE, MONTH], s3, settings, REPOSITORY, REPLENISH_SPARK_MASTER="local[2]")
    return settings


@pytest.fixture(scope="module")
def remote(s3, local) -> Settings:
    """The same stores below another prefix, whose tables the cluster computes again."""
    home = local.home.with_name("remote")
    home.mkdir()
    (home / "cache").symlink_to(s3_server.CACHE)
    shutil.copytree(s3.folder / BUCKET / "local", s3.folder / BUCKET / "remote")
    return load_settings(home=home, **s3.settings("remote"))


def test_heavy_jobs_give_the_same_rows_on_the_cluster(s3, cluster, local, remote, monkeypatch):
    command = [sys.executable, "-c", AGAIN, MONTH, *(table.name for table in TABLES)]
    start(command, s3, remote, REPOSITORY, **as_environment(cluster.settings()))
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    results = list(compare_homes(local, remote, TABLES))
    assert [result.line() for result in results if result.difference] == []
    assert all(result.rows for result in results)


def test_a_job_module_runs_by_spark_submit(s3, cluster, local, remote, tmp_path):
    """From a folder without the repository: what is submitted is the module, the code's zip and the jars."""
    (tmp_path / "code.zip").write_bytes(code_zip())
    jars = ",".join(str(jar) for jar in sorted((s3_server.CACHE / "jars").glob("*.jar")))
    command = [str(spark_home() / "bin" / "spark-submit"), "--master", cluster.master, "--jars", jars]
    command += ["--conf", "spark.sql.shuffle.partitions=4", "--conf", "spark.executor.memory=1g"]
    command += ["--py-files", str(tmp_path / "code.zip"), str(REPOSITORY / "jobs" / "purchase_frequency.py")]
    java = {"JAVA_HOME": str(find_java_home(s3_server.CACHE)), "PYSPARK_PYTHON": sys.executable}
    submitted = {"REPLENISH_SPARK_MASTER": "submit", "PYSPARK_DRIVER_PYTHON": sys.executable, **java}
    start([*command, "--month", MONTH], s3, remote, tmp_path, **submitted)
