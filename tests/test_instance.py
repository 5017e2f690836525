"""Dagster's instance: where runs, events, schedules and what runs print are kept, and that no secret is written."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import boto3
import dagster as dg
import pytest
import yaml

from orchestration.instance import prepare
from tests.postgres_server import Postgres, postgres
from tests.sagemaker_stack import CREDENTIALS, s3_server
from warehouse.errors import SettingsError
from warehouse.settings import load_settings

REPOSITORY = Path(__file__).parents[1]
PASSWORD = "REPLENISH_DAGSTER_POSTGRES_PASSWORD"


class TestConfiguration:
    def test_without_a_setting_everything_is_in_the_home(self, settings):
        config = yaml.safe_load((prepare(settings) / "dagster.yaml").read_text())
        assert not {"storage", "compute_logs"} & set(config)

    def test_the_database_is_named_and_its_password_only_referred_to(self, tmp_path, monkeypatch):
        monkeypatch.setenv(PASSWORD, "not-to-be-written")
        settings = load_settings(home=tmp_path, dagster_postgres_host="db.example", dagster_postgres_port="6432")
        text = (prepare(settings) / "dagster.yaml").read_text()
        assert "not-to-be-written" not in text
        database = yaml.safe_load(text)["storage"]["postgres"]["postgres_db"]
        assert database["hostname"] == "db.example"
        assert database["port"] == 6432
        assert database["password"] == {"env": PASSWORD}

    def test_a_password_that_dagster_would_not_find_is_named(self, tmp_path, monkeypatch):
        monkeypatch.delenv(PASSWORD, raising=False)
        (tmp_path / "settings.env").write_text(f"{PASSWORD}=in-the-file\n")
        settings = load_settings(home=tmp_path, dagster_postgres_host="db.example")
        with pytest.raises(SettingsError, match=f"{PASSWORD} is not in the environment") as raised:
            prepare(settings)
        assert "in-the-file" not in str(raised.value)

    def test_an_instance_that_keeps_runs_elsewhere_is_not_passed_over(self, tmp_path, monkeypatch):
        monkeypatch.setenv(PASSWORD, "secret")
        prepare(load_settings(home=tmp_path))
        settings = load_settings(home=tmp_path, dagster_postgres_host="db.example")
        with pytest.raises(SettingsError, match="another storage than the settings lead to"):
            prepare(settings)
        (tmp_path / "dagster" / "dagster.yaml").unlink()
        prepare(settings)
        assert prepare(settings) == tmp_path / "dagster"

    def test_the_command_says_an_error_in_one_line(self, tmp_path):
        environment = {**os.environ, "REPLENISH_HOME": str(tmp_path), "REPLENISH_DAGSTER_POSTGRES_HOST": "db.example"}
        environment.pop(PASSWORD, None)
        command = [sys.executable, "-m", "orchestration.instance"]
        run = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
        assert run.returncode == 1
        assert run.stderr.startswith(f"error: {PASSWORD} is not in the environment")
        assert run.stderr.count("\n") == 1


def test_what_runs_print_goes_to_the_bucket(tmp_path, monkeypatch):
    with s3_server() as url:
        for name, value in CREDENTIALS.items():
            monkeypatch.setenv(name, value)
        client = boto3.client("s3", endpoint_url=url)
        client.create_bucket(Bucket="staging")
        settings = load_settings(home=tmp_path, s3_endpoint=url, dagster_logs_uri="s3://staging/dagster")
        monkeypatch.setenv("DAGSTER_HOME", str(prepare(settings)))

        @dg.op
        def speak() -> None:
            print("a line of this run")

        with dg.DagsterInstance.get() as instance:
            job = dg.GraphDefinition("speaking", node_defs=[speak]).to_job()
            assert job.execute_in_process(instance=instance).success
        keys = [item["Key"] for item in client.list_objects_v2(Bucket="staging", Prefix="dagster/")["Contents"]]
        printed = [client.get_object(Bucket="staging", Key=key)["Body"].read() for key in keys if key.endswith(".out")]
    assert printed == [b"a line of this run\n"]


@pytest.mark.slow
@pytest.mark.postgres
class TestPostgres:
    @pytest.fixture(scope="class")
    def server(self) -> Iterator[Postgres]:
        with postgres() as server:
            yield server

    @pytest.fixture
    def environment(self, server: Postgres, tmp_path: Path) -> dict[str, str]:
        return {
            **os.environ,
            "REPLENISH_HOME": str(tmp_path),
            "REPLENISH_DAGSTER_POSTGRES_HOST": "127.0.0.1",
            "REPLENISH_DAGSTER_POSTGRES_PORT": str(server.port),
            PASSWORD: server.password,
        }

    def test_two_processes_run_at_once_and_a_third_reads_them_back(self, environment, monkeypatch):
        meeting = Path(environment["REPLENISH_HOME"])
        pairs = (("a", "b"), ("b", "a"))
        both = [_start(environment, _RUN, name, str(meeting / name), str(meeting / other)) for name, other in pairs]
        outputs = [process.communicate(timeout=300) for process in both]
        assert [process.returncode for process in both] == [0, 0], outputs
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("DAGSTER_HOME", str(prepare(load_settings())))
        with dg.DagsterInstance.get() as instance:
            kinds = [type(storage).__name__ for storage in _storages(instance)]
            runs = instance.get_runs()
            months = {name: instance.get_materialized_partitions(dg.AssetKey(["gold", name])) for name in "ab"}
            successes = [len(instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_SUCCESS)) for run in runs]
        assert kinds == ["PostgresRunStorage", "PostgresEventLogStorage", "PostgresScheduleStorage"]
        assert [run.status for run in runs] == [dg.DagsterRunStatus.SUCCESS] * 12
        assert months == {name: {f"2017-{number:02}" for number in range(1, 7)} for name in "ab"}
        assert successes == [1] * 12

    def test_a_schedule_that_was_turned_on_is_on_for_the_next_process(self, environment):
        environment["DAGSTER_HOME"] = subprocess.run(
            [sys.executable, "-m", "orchestration.instance"],
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for action, seen in (("start monthly_on_the_2nd", "Started schedule"), ("list", "[RUNNING]")):
            command = [sys.executable, "-m", "dagster", "schedule", *action.split(), "-w", "workspace.yaml"]
            run = subprocess.run(
                command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False, timeout=300
            )
            assert seen in run.stdout, run.stdout + run.stderr


_RUN = """
    import sys, time
    from pathlib import Path
    import dagster as dg
    from orchestration.run import home_instance

    MONTHS = [f"2017-{number:02}" for number in range(1, 7)]

    @dg.asset(key=["gold", sys.argv[1]], partitions_def=dg.StaticPartitionsDefinition(MONTHS))
    def table(context):
        for number in range(20):
            context.log.info(f"line {number}")
        return dg.MaterializeResult(metadata={"rows": 3})

    with home_instance() as instance:
        mine, other = map(Path, sys.argv[2:])
        mine.touch()
        while not other.exists():
            time.sleep(0.01)
        for month in MONTHS:
            assert dg.materialize([table], instance=instance, partition_key=month).success
"""


def _start(environment: dict[str, str], code: str, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", dedent(code), *arguments]
    return subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def _storages(instance: dg.DagsterInstance) -> tuple[object, ...]:
    return instance.run_storage, instance.event_log_storage, instance.schedule_storage
