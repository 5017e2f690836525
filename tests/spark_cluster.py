"""A real Spark cluster for tests: a standalone master and workers of one core each, on loopback.

The workers start in a folder of their own without this repository on their path, so that what tasks import must have
been shipped. Not here: what is run on it.
"""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.s3_server import free_port
from warehouse.jars import spark_home
from warehouse.java import find_java_home


@dataclass(frozen=True)
class Cluster:
    """A running cluster."""

    master: str
    workers: int

    def settings(self) -> dict[str, str]:
        """Settings by name: the whole cluster, with few partitions, since a test's tables are small."""
        conf = {
            "spark.cores.max": str(self.workers),
            "spark.executor.memory": "1g",
            "spark.sql.shuffle.partitions": "4",
            "spark.databricks.delta.snapshotPartitions": "1",
            "spark.ui.enabled": "false",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
        }
        return {"spark_master": self.master, "spark_conf": ",".join(f"{name}={value}" for name, value in conf.items())}


@contextmanager
def running(folder: Path, cache: Path, environment: Mapping[str, str], workers: int = 2) -> Iterator[Cluster]:
    """A cluster until the ``with`` ends.

    Args:
        folder: the processes' own.
        cache: the home's cache, in which the Java is found.
        environment: variables of the workers and so of their executors, credentials above all.
        workers: how many, each with one core.
    """
    folder.mkdir(parents=True, exist_ok=True)
    variables = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "SPARK_CONF_DIR"}}
    variables |= {"JAVA_HOME": str(find_java_home(cache)), "SPARK_HOME": str(spark_home())}
    variables |= {"SPARK_LOCAL_IP": "127.0.0.1", **environment}
    port, ui = free_port(), free_port()
    address = f"spark://127.0.0.1:{port}"
    with ExitStack() as processes:

        def start(name: str, kind: str, *arguments: str) -> None:
            command = [str(spark_home() / "bin" / "spark-class"), f"org.apache.spark.deploy.{kind}", *arguments]
            log = processes.enter_context((folder / f"{name}.log").open("wb"))
            process = subprocess.Popen(command, cwd=folder, env=variables, stdout=log, stderr=log)
            processes.callback(_end, process)

        where = ("--host", "127.0.0.1")
        start("master", "master.Master", *where, "--port", str(port), "--webui-port", str(ui))
        for number in range(workers):
            own = ("--cores", "1", "--memory", "2g", "--work-dir", str(folder / f"worker-{number}"))
            start(f"worker-{number}", "worker.Worker", *where, "--webui-port", str(free_port()), *own, address)
        _wait_for_workers(ui, workers)
        yield Cluster(address, workers)


def _wait_for_workers(ui: int, workers: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"http://127.0.0.1:{ui}/json/", timeout=5).json()["aliveworkers"] == workers:
                return
        except (httpx.TransportError, ValueError):
            pass
        time.sleep(0.5)
    raise AssertionError(f"the cluster had no {workers} workers within two minutes")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
