"""The containers' Dagster: a run that the daemon has started is cancelled from the web server.

The commands are those of ``docker-compose.yaml``, on ports of this machine, around a job that waits to be cancelled.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestration.instance import prepare
from tests.test_containers import REPOSITORY, SERVICES, _free_port, _on_port
from warehouse.settings import load_settings

JOB = """
import time
from pathlib import Path

import dagster as dg


@dg.op
def wait():
    Path(__file__).with_name("begun").touch()
    try:
        time.sleep(120)
    finally:
        Path(__file__).with_name("told").touch()


@dg.job
def waiting():
    wait()


defs = dg.Definitions(jobs=[waiting])
"""
LAUNCH = """mutation { launchRun(executionParams: {runConfigData: {}, selector: {
  repositoryLocationName: "replenish", repositoryName: "__repository__", jobName: "waiting"
}}) { ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
CANCEL = "mutation($run: String!) { terminateRun(runId: $run) { __typename } }"
STATUS = "query($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }"


@pytest.fixture
def web(tmp_path: Path) -> Iterator[httpx.Client]:
    """The web server, with a code server and a daemon beside it, each a process of its own."""
    (tmp_path / "waiting_job.py").write_text(JOB)
    ports = {"4000": _free_port(), "3000": _free_port()}
    workspace = (REPOSITORY / "workspace.containers.yaml").read_text().replace("4000", ports["4000"])
    (tmp_path / "workspace.containers.yaml").write_text(workspace)
    home = prepare(load_settings(home=tmp_path / "home"))
    # The commands of this environment, whether it has been activated or not.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    said = {"DAGSTER_HOME": str(home), "CODE_SERVER": "127.0.0.1", "PYTHONPATH": str(tmp_path)}
    environment = {**os.environ, **said, "PATH": path}
    with ExitStack() as stack:
        client = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{ports['3000']}", timeout=30))
        for name in ("code", "webserver", "daemon"):
            command = [
                "waiting_job" if word == "orchestration.definitions" else word for word in SERVICES[name]["command"]
            ]
            for port, free in ports.items():
                command = _on_port(command, port, free)
            process = subprocess.Popen(command, cwd=tmp_path, env=environment)
            stack.callback(_end, process)
            if name == "code":
                health = _on_port(SERVICES[name]["healthcheck"]["test"][1:], "4000", ports["4000"])
                _comes_true(lambda health=health: subprocess.run(health, env=environment, check=False).returncode == 0)
        yield client


@pytest.mark.slow
def test_the_web_server_cancels_what_the_daemon_has_started(web, tmp_path):
    _comes_true(lambda: _answers(web))
    run = _ask(web, LAUNCH)["launchRun"]["run"]["runId"]
    _comes_true((tmp_path / "begun").exists)
    assert _ask(web, CANCEL, run=run)["terminateRun"]["__typename"] == "TerminateRunSuccess"
    _comes_true(lambda: _ask(web, STATUS, run=run)["runOrError"]["status"] == "CANCELED")
    assert (tmp_path / "told").exists()


def _ask(web: httpx.Client, query: str, **variables: str) -> Any:
    return web.post("/graphql", json={"query": query, "variables": variables}).json()["data"]


def _answers(web: httpx.Client) -> bool:
    try:
        return web.get("/server_info").status_code == 200
    except httpx.TransportError:
        return False


def _comes_true(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(timeout=60)
