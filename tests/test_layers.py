"""The layers of the repository hold: import-linter's contracts of pyproject.toml, and nothing happens at import."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from importlinter import api

REPOSITORY = Path(__file__).parents[1]


def test_contracts_are_kept():
    # In a process of its own: import-linter silences every logger that exists when it starts.
    code = "import sys; from importlinter import cli; sys.exit(cli.lint_imports('pyproject.toml', no_cache=True))"
    run = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_layer_is_under_contract():
    options = api.read_configuration(str(REPOSITORY / "pyproject.toml"))
    layers = next(one["layers"] for one in options["contracts_options"] if one["type"] == "layers")
    packages = {path.parent.name for path in REPOSITORY.glob("*/__init__.py")}
    assert packages - {"tests", "benchmarks"} == set(layers)


@pytest.mark.process
@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("warehouse.serving.api", ("pyspark", "delta", "dagster", "torch")),
        ("warehouse.doctor", ("pyspark", "dagster", "torch", "lancedb")),
        ("warehouse.spark", ("pyspark", "dagster", "torch")),
        ("orchestration.definitions", ("torch", "sentence_transformers", "great_expectations")),
    ],
)
def test_an_import_loads_nothing_heavy(module: str, forbidden: tuple[str, ...]):
    code = f"import sys, {module}; print([name for name in {forbidden!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.process
def test_an_import_starts_no_program_and_opens_no_connection(tmp_path: Path):
    # The definitions import every layer below them. Java would be started through a subprocess. Some library asks
    # the system's `file` what platform this is.
    code = """
import sys
seen = []
def watch(event, arguments):
    if event == "socket.connect" or (event == "subprocess.Popen" and arguments[0] != "file"):
        seen.append((event, str(arguments)[:200]))
sys.addaudithook(watch)
import orchestration.definitions
print(seen)
"""
    environment = {**os.environ, "REPLENISH_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
    assert not (tmp_path / "home").exists()
