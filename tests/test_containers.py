"""The images and the compose file: linted, loaded as the compose client does, and rehearsed without an engine."""

import fnmatch
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import yaml

from warehouse.settings import SECRETS, Settings

REPOSITORY = Path(__file__).parents[1]
DOCKERFILES = (REPOSITORY / "Dockerfile", REPOSITORY / "deploy" / "aws" / "emr.Dockerfile")
TARGETS = ("orchestration", "api", "llm")
SETTINGS = {f"REPLENISH_{name.upper()}" for name in Settings.model_fields}
# Read by the set-up and by the llm image's own entry point, not by the platform.
OF_THE_SETUP = {"REPLENISH_TORCH", "REPLENISH_GROUP", "REPLENISH_SERVED_MODEL"}
# Come with the DynamoDB store; to be removed once that is merged.
HEAVY = {"pyspark", "torch", "dagster", "lancedb", "great_expectations", "transformers", "lightgbm"}


class Instruction(NamedTuple):
    word: str
    text: str


def stages(dockerfile: Path) -> dict[str, list[Instruction]]:
    """Instructions by stage name, those of the stages that it stands on first."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found: dict[str, list[Instruction]] = {}
    current: list[Instruction] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        instruction = Instruction(*line.split(maxsplit=1))
        if instruction.word == "FROM":
            parent, _, name = instruction.text.partition(" AS ")
            current = found[name] = [*found.get(parent, [])]
        current.append(instruction)
    return found


STAGES = {name: stage for file in DOCKERFILES for name, stage in stages(file).items()}
COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def _last(stage: str, word: str) -> str | None:
    texts = [instruction.text for instruction in STAGES[stage] if instruction.word == word]
    return texts[-1] if texts else None


class TestImages:
    def test_hadolint_finds_nothing(self):
        hadolint = Path(sys.executable).parent / "hadolint"
        run = subprocess.run([hadolint, *DOCKERFILES], capture_output=True, text=True, check=False)
        assert (run.returncode, run.stdout) == (0, "")

    def test_the_targets_are_those_that_the_comments_name(self):
        named = re.findall(r"^#   docker build --target (\w+)", DOCKERFILES[0].read_text(), flags=re.MULTILINE)
        assert set(named) == set(TARGETS)

    @pytest.mark.parametrize("target", TARGETS)
    def test_nobody_is_root_at_the_end_and_health_is_looked_at(self, target):
        assert _last(target, "USER") == "10001"
        assert f"--uid {_last(target, 'USER')}" in " ".join(one.text for one in STAGES[target] if one.word == "RUN")
        assert _last(target, "HEALTHCHECK")

    def test_bases_are_pinned_by_version(self):
        arguments = dict(re.findall(r"^ARG (\w+)=(\S+)", DOCKERFILES[0].read_text(), flags=re.MULTILINE))
        bases = [line.split()[1] for line in DOCKERFILES[0].read_text().splitlines() if line.startswith("FROM ")]
        outside = [re.sub(r"\$\{(\w+)\}", lambda found: arguments[found[1]], base) for base in bases]
        outside = [base for base in outside if base not in STAGES]
        assert len(outside) == 2
        assert [base for base in outside if not _is_pinned(base)] == []

    @pytest.mark.parametrize("stage", STAGES)
    def test_what_is_copied_exists_and_is_sent_to_the_engine(self, stage):
        ignored = (REPOSITORY / ".dockerignore").read_text().split()
        for instruction in STAGES[stage]:
            if instruction.word == "COPY" and "--from" not in instruction.text:
                for source in _sources(instruction):
                    assert (REPOSITORY / source).exists(), source
                    assert not [pattern for pattern in ignored if fnmatch.fnmatch(source, pattern)], source

    def test_every_variable_of_ours_is_a_setting(self):
        named = {name for file in DOCKERFILES for name in re.findall(r"REPLENISH_[A-Z0-9_]+", file.read_text())}
        assert named - SETTINGS - OF_THE_SETUP == set()

    @pytest.mark.parametrize("group", ["api", "llm"])
    def test_small_images_hold_a_group_of_the_project_and_no_spark(self, group):
        assert f"REPLENISH_GROUP={group} .ci/setup" in " ".join(one.text for one in STAGES[group])
        copied = {source for one in STAGES[group] if one.word == "COPY" for source in _sources(one)}
        assert copied == {".ci/setup", "pyproject.toml", "requirements.lock", "warehouse"}


class TestCompose:
    def test_every_image_is_built_here_or_pinned(self):
        for name, service in SERVICES.items():
            assert "build" in service or _is_pinned(service["image"]), name
            if "build" in service:
                assert service["build"]["target"] in TARGETS
                assert service["image"].startswith(f"replenish/{service['build']['target']}:")

    def test_whatever_keeps_running_is_looked_at_and_comes_back(self):
        for name, service in SERVICES.items():
            if service["restart"] == "no":
                continue
            assert service["restart"] == "unless-stopped", name
            own = service.get("healthcheck", {}).get("test")
            assert own or _last(service["build"]["target"], "HEALTHCHECK"), name

    def test_ports_are_open_to_this_machine_only(self):
        ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
        assert len(ports) == 2
        assert [port for port in ports if not port.startswith("127.0.0.1:")] == []

    def test_every_variable_of_ours_is_a_setting(self):
        text = (REPOSITORY / "docker-compose.yaml").read_text()
        assert set(re.findall(r"REPLENISH_[A-Z0-9_]+", text)) - SETTINGS - OF_THE_SETUP == set()

    def test_a_secret_has_no_default_and_must_be_given(self):
        ours = {f"REPLENISH_{name.upper()}" for name in SECRETS}
        secret = [
            (key, value)
            for name, service in SERVICES.items()
            for key, value in service.get("environment", {}).items()
            # The API's is for DynamoDB Local, which asks for a name and none in particular.
            if (key in ours or re.search("PASSWORD|SECRET", key)) and (name, value) != ("api", "local")
        ]
        assert {"POSTGRES_PASSWORD", "REPLENISH_PSEUDONYM_SALT", "AWS_SECRET_ACCESS_KEY"} <= {key for key, _ in secret}
        for key, value in secret:
            # Passed on where this machine sets it, or else refused.
            assert value is None or re.fullmatch(r"\$\{[A-Z0-9_]+:\?[^}]+\}", value), key

    def test_the_file_of_secrets_gets_into_no_image_and_no_commit(self):
        for name in (".gitignore", ".dockerignore"):
            assert ".env" in (REPOSITORY / name).read_text().splitlines()

    def test_what_a_service_waits_for_is_there(self):
        for service in SERVICES.values():
            for other, how in service.get("depends_on", {}).items():
                assert SERVICES[other]["restart"] == ("no" if "completed" in how["condition"] else "unless-stopped")

    def test_web_server_and_daemon_reach_the_one_code_server(self):
        (location,) = yaml.safe_load((REPOSITORY / "workspace.containers.yaml").read_text())["load_from"]
        server = location["grpc_server"]
        for name in ("webserver", "daemon"):
            assert "workspace.containers.yaml" in SERVICES[name]["command"]
            assert SERVICES[name]["environment"][server["host"]["env"]] == "code"
        assert str(server["port"]) in SERVICES["code"]["command"]
        assert SERVICES["code"]["command"][-1] == "orchestration.definitions"

    @pytest.mark.parametrize(
        ("serving", "made"),
        [
            ("dynamodb:lists", ["warehouse.buckets", "warehouse.serving.dynamodb_table"]),
            ("lmdb:/x", ["warehouse.buckets"]),
        ],
    )
    def test_a_table_is_made_only_where_lists_go_to_one(self, tmp_path, serving, made):
        assert _ran(SERVICES["stores"]["command"], tmp_path, REPLENISH_SERVING=serving) == (0, made)

    def test_no_table_is_made_where_the_buckets_could_not_be(self, tmp_path):
        given = {"REPLENISH_SERVING": "dynamodb:lists", "FAILS": "warehouse.buckets"}
        assert _ran(SERVICES["stores"]["command"], tmp_path, **given) == (1, ["warehouse.buckets"])

    def test_the_api_cannot_write_to_the_home(self):
        assert SERVICES["api"]["volumes"] == ["home:/home/replenish/data:ro"]

    def test_volumes_are_declared(self):
        used = {mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])}
        assert used == set(COMPOSE["volumes"])

    def test_programs_exist(self):
        text = (REPOSITORY / "docker-compose.yaml").read_text() + DOCKERFILES[0].read_text()
        modules = set(re.findall(r'-m"?,? "?((?:warehouse|orchestration|jobs)[\w.]*)', text))
        assert {"warehouse.buckets", "warehouse.serving.api", "orchestration.instance"} <= modules
        assert [module for module in modules if find_spec(module) is None] == []

    @pytest.mark.slow
    def test_the_compose_clients_own_loader_takes_it_and_asks_for_secrets(self, compose_config):
        names = ("S3_ACCESS_KEY", "S3_SECRET_KEY", "POSTGRES_PASSWORD", "REPLENISH_PSEUDONYM_SALT")
        secrets = dict.fromkeys(names, "x")
        loaded = compose_config(secrets)
        assert loaded.returncode == 0, loaded.stderr
        services = json.loads(loaded.stdout)["services"]
        assert set(services) == set(SERVICES)
        assert services["daemon"]["environment"]["REPLENISH_LAKE_URI"] == "s3://replenish/lake"
        for name in secrets:
            refused = compose_config({key: value for key, value in secrets.items() if key != name})
            assert refused.returncode == 1
            assert f"required variable {name} is missing a value: set a" in refused.stderr


def _is_pinned(image: str) -> bool:
    return re.search(r":v?\d+\.\d+(\.\d+)?(-[\w.-]+)?$", image) is not None


def _sources(instruction: Instruction) -> list[str]:
    return [word for word in instruction.text.split() if not word.startswith("--")][:-1]


def _ran(command: list[str], folder: Path, **environment: str) -> tuple[int, list[str]]:
    """A service's command with a ``python`` that only notes its module: the status, and the modules in order."""
    python = folder / "python"
    python.write_text('#!/bin/sh\necho "$2"\ntest "$2" != "${FAILS:-}"\n')
    python.chmod(0o755)
    # Compose's way to write a dollar sign.
    words = [word.replace("$$", "$") for word in command]
    environment = {"PATH": f"{folder}:{os.defpath}", **environment}
    run = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    return run.returncode, run.stdout.split()


_LOADER = """package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	options, err := cli.NewProjectOptions(os.Args[1:2], cli.WithOsEnv, cli.WithProfiles([]string{"*"}))
	if err == nil {
		project, failed := options.LoadProject(context.Background())
		if failed == nil {
			failed = json.NewEncoder(os.Stdout).Encode(project)
		}
		err = failed
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
"""


@pytest.fixture(scope="module")
def compose_config(tmp_path_factory):
    """What `docker compose config` does, by the module that it does it with: that client is on few machines."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("no Go, which builds the compose client's loader")
    folder = tmp_path_factory.mktemp("compose")
    (folder / "main.go").write_text(_LOADER)
    steps = ["mod init compose", "get github.com/compose-spec/compose-go/v2/cli@v2.16.2", "build -o config ."]
    for step in steps:
        run = subprocess.run([go, *step.split()], cwd=folder, capture_output=True, text=True, check=False)
        if run.returncode:
            pytest.skip(f"the compose client's loader cannot be built: {run.stderr[-300:]}")

    def load(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        command = [str(folder / "config"), str(REPOSITORY / "docker-compose.yaml")]
        environment = {"PATH": os.environ["PATH"], **environment}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    return load


# Rehearsals ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
class TestRehearsal:
    """The very instructions of a stage, carried out in an empty folder with nothing of this environment around."""

    def test_the_api_image_serves_without_spark_and_torch(self, tmp_path):
        image = _Image("api", tmp_path)
        image.build()
        assert image.packages() & HEAVY == set()
        with image.started() as client:
            assert client.get("/healthz").json() == {"status": "ok"}
            assert client.get("/readyz").status_code == 503
            assert client.get("/v1/customers/1/subscribe-save").headers["content-type"] == "application/problem+json"

    def test_the_llm_images_server_starts_without_spark(self, tmp_path):
        image = _Image("llm", tmp_path)
        image.build()
        assert image.packages() & HEAVY == set()
        code = "import warehouse.llm.container"
        subprocess.run([image.python, "-c", code], cwd=tmp_path, env=image.environment, check=True)

    def test_the_orchestration_images_web_server_and_daemon_come_up(self, tmp_path):
        image = _Image("orchestration", tmp_path)
        ignored = (REPOSITORY / ".dockerignore").read_text().split()
        shutil.copytree(REPOSITORY, tmp_path, ignore=shutil.ignore_patterns(*ignored, ".venv"), dirs_exist_ok=True)
        # What its set-up makes is what this test runs in.
        (tmp_path / ".venv").symlink_to(sys.prefix)
        image.environment |= {"DAGSTER_HOME": f"{tmp_path}/home/dagster", "CODE_SERVER": "127.0.0.1"}
        code, webserver, daemon = (SERVICES[name] for name in ("code", "webserver", "daemon"))
        port = _free_port()
        workspace = tmp_path / "workspace.containers.yaml"
        workspace.write_text(workspace.read_text().replace("4000", port))
        with image.running(_on_port(code["command"], "4000", port)) as server:
            assert image.comes_true(_on_port(code["healthcheck"]["test"][1:], "4000", port), server)
            with image.started(webserver["command"]) as client:
                query = "{ repositoriesOrError { ... on RepositoryConnection { nodes { jobs { name } } } } }"
                answer = client.post("/graphql", json={"query": query}).json()
                jobs = {job["name"] for job in answer["data"]["repositoriesOrError"]["nodes"][0]["jobs"]}
                assert {"ingest", "history", "decisions", "monthly"} <= jobs
                with image.running(daemon["command"]) as process:
                    assert image.comes_true(daemon["healthcheck"]["test"][1:], process)


def _free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def _on_port(command: list[str], port: str, other: str) -> list[str]:
    """The command for this machine alone, with another port."""
    return ["127.0.0.1" if word == "0.0.0.0" else other if word == port else word for word in command]


class _Image:
    def __init__(self, stage: str, folder: Path) -> None:
        self.stage, self.folder = stage, folder
        self.python = str(folder / ".venv" / "bin" / "python")
        # What a machine's mirror or certificate needs, and nothing else of this environment.
        kept = [name for name in os.environ if re.match("UV_|PIP_|SSL_|HTTPS?_PROXY|NO_PROXY", name, re.IGNORECASE)]
        self.environment = {name: os.environ[name] for name in kept} | {
            "PATH": f"{folder}/.venv/bin:{Path(sys.executable).parent}:{os.defpath}",
            "HOME": os.environ["HOME"],
            "PYTHON": sys.executable,
            "PYTHONPATH": str(folder),
            "REPLENISH_HOME": str(folder / "home"),
        }

    def build(self) -> None:
        own = STAGES[self.stage]
        for instruction in own:
            if instruction.word == "COPY":
                self._copy(_sources(instruction), instruction.text.split()[-1])
            elif instruction.word == "RUN" and "useradd" not in instruction.text:
                command = re.sub(r"--mount=\S+", "", instruction.text)
                subprocess.run(["sh", "-ec", command], cwd=self.folder, env=self.environment, check=True)

    def _copy(self, sources: list[str], target: str) -> None:
        for source in sources:
            place = self.folder / target / Path(source).name if target.endswith("/") else self.folder / target
            place.parent.mkdir(parents=True, exist_ok=True)
            if (REPOSITORY / source).is_dir():
                shutil.copytree(REPOSITORY / source, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(REPOSITORY / source, place)

    def packages(self) -> set[str]:
        code = "import importlib.metadata as m; print(*[d.name.replace('-', '_') for d in m.distributions()])"
        run = subprocess.run([self.python, "-c", code], capture_output=True, text=True, check=True)
        return set(run.stdout.split())

    @contextmanager
    def started(self, command: list[str] | None = None) -> Iterator[httpx.Client]:
        """A command, or else the image's own, on a free port, until the ``with`` ends; it is healthy by then."""
        port = _free_port()
        exposed = _last(self.stage, "EXPOSE") or ""
        entry, own = (json.loads(_last(self.stage, word) or "[]") for word in ("ENTRYPOINT", "CMD"))
        command = _on_port(command or own, exposed, port)
        health = json.loads(_last(self.stage, "HEALTHCHECK").partition("CMD ")[2])
        with self.running([*entry, *command]) as process:
            assert self.comes_true([word.replace(f":{exposed}/", f":{port}/") for word in health], process)
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
                yield client

    @contextmanager
    def running(self, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
        process = subprocess.Popen(command, cwd=self.folder, env=self.environment, start_new_session=True)
        try:
            yield process
        finally:
            # As a container is stopped: its first process is asked, then whatever is left is killed.
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=10)

    def comes_true(self, check: list[str], process: subprocess.Popen[bytes]) -> bool:
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline and process.poll() is None:
            run = subprocess.run(check, cwd=self.folder, env=self.environment, capture_output=True, check=False)
            if run.returncode == 0:
                return True
            time.sleep(0.5)
        return False
