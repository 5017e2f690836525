"""Jobs on EMR Serverless: what is asked of it, what the job tells Dagster, and what becomes of failures.

The service is a stand-in that really runs what it is asked to (``emr_stack.py``), messages go through a bucket. What
only AWS can prove (its Spark, its image, its permissions) is not tested here: see docs/deploy-aws.md.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

import boto3
import dagster as dg
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError
from pyspark.sql import DataFrame

from assets import bronze, emr, gold
from assets.compute import command_of, perform
from assets.factory import asset_key
from assets.resources import Platform
from jobs import catalogue, copurchase, ingest
from jobs.report import JobReport
from tests.emr_stack import REPOSITORY, EmrServerless, emr_serverless
from tests.sagemaker_stack import CREDENTIALS, s3_server
from warehouse.contracts.bronze import LANDING_FILES, PRODUCTS_TABLE, QUARANTINE
from warehouse.contracts.gold import PURCHASE_FREQUENCY
from warehouse.contracts.silver import ORDER_LINES
from warehouse.contracts.table import spark_schema
from warehouse.errors import SettingsError
from warehouse.lake import Lake
from warehouse.settings import Settings, load_settings

SALT = "a-salt-of-thirty-two-characters!!"
OVERRIDES = {
    "compute": "emr-serverless:00application",
    "emr_role_arn": "arn:aws:iam::123456789012:role/replenish-jobs",
    "emr_staging_uri": "s3://staging/emr",
    "emr_secrets": "REPLENISH_PSEUDONYM_SALT=replenish/salt",
    "landing_uri": "s3://lake/landing",
    "lake_uri": "s3://lake/tables",
    "vectors_uri": "s3://lake/vectors",
    "serving": "dynamodb:lists",
    "business_tz": "America/New_York",
}


@pytest.fixture
def remote(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path / "home", **OVERRIDES)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture
def service(s3: str, spark_settings: Settings, tmp_path: Path, monkeypatch) -> Iterator[EmrServerless]:
    """EMR Serverless, and the bucket for messages; this process and the jobs find both by AWS's own variables."""
    environment = {**CREDENTIALS, "AWS_ENDPOINT_URL_S3": s3}
    given = {
        **environment,
        # A folder stands for the bucket of the lake, and a Spark of this machine for the cluster's.
        "REPLENISH_HOME": str(spark_settings.home),
        "REPLENISH_LAKE_URI": str(tmp_path / "lake"),
        "REPLENISH_SPARK_MASTER": "local[1]",
    }
    monkeypatch.setattr(emr, "POLL_S", 0.2)
    with emr_serverless(given, {"replenish/salt": SALT}) as service:
        for name, value in {**environment, "AWS_ENDPOINT_URL_EMR_SERVERLESS": service.url}.items():
            monkeypatch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="staging")
        yield service


def _materialize(asset: dg.AssetsDefinition, month: str | None = None, **overrides: str) -> dg.ExecuteInProcessResult:
    resources = {"platform": Platform(overrides={**OVERRIDES, **overrides})}
    return dg.materialize([asset], resources=resources, partition_key=month, raise_on_error=False)


class TestRequest:
    def test_the_program_is_the_one_that_a_person_starts(self, remote):
        request = emr.job_request(remote, command_of(copurchase.run_counts, "--month", "2017-05", "--to", "2017-08"))
        submit = request["jobDriver"]["sparkSubmit"]
        assert submit["entryPoint"] == "local:///opt/replenish/jobs/copurchase.py"
        assert submit["entryPointArguments"] == ["--month", "2017-05", "--to", "2017-08", "--part", "counts"]
        assert request["applicationId"] == "00application"
        assert request["executionRoleArn"] == "arn:aws:iam::123456789012:role/replenish-jobs"

    def test_settings_go_along_but_neither_secrets_nor_what_is_this_machines(self, tmp_path, remote):
        secret = {"pseudonym_salt": SALT, "llm_api_key": SALT, "api_keys": SALT, "dagster_postgres_password": SALT}
        settings = load_settings(home=tmp_path, **OVERRIDES, **secret, env="local", pantry_guard="true", list_size="12")
        properties = emr.spark_properties(settings, "list_requests")
        assert SALT not in str(emr.job_request(settings, ["list_requests", "--month", "2017-05"]))
        driver = "spark.emr-serverless.driverEnv.REPLENISH_"
        told = {name.removeprefix(driver): value for name, value in properties.items() if name.startswith(driver)}
        assert told == {
            "ENV": "aws",
            "HOME": "/tmp/replenish",
            "SPARK_MASTER": "submit",
            "LANDING_URI": "s3://lake/landing",
            "LAKE_URI": "s3://lake/tables",
            "VECTORS_URI": "s3://lake/vectors",
            "SERVING": "dynamodb:lists",
            "BUSINESS_TZ": "America/New_York",
            "PANTRY_GUARD": "true",
            "LIST_SIZE": "12",
            "PSEUDONYM_SALT": "EMR.secret@replenish/salt",
        }

    def test_each_step_can_have_a_role_of_its_own(self, tmp_path):
        arn = "arn:aws:iam::123456789012:role/replenish-{step}"
        settings = load_settings(home=tmp_path, **{**OVERRIDES, "emr_role_arn": arn})
        commands = (["ingest", "--dataset", "orders"], ["candidates", "--month", "2017-05"], ["publish"])
        roles = [emr.job_request(settings, command)["executionRoleArn"].rpartition("-")[2] for command in commands]
        assert roles == ["ingest", "transform", "publish"]

    def test_a_secret_goes_to_the_step_that_reads_it_alone(self, remote):
        told = {
            program: "EMR.secret@replenish/salt" in emr.spark_properties(remote, program).values()
            for program in ("ingest", "list_requests", "publish")
        }
        assert told == {"ingest": False, "list_requests": True, "publish": False}

    def test_drivers_and_executors_are_told_the_region(self, remote, monkeypatch):
        monkeypatch.setenv("AWS_REGION", "eu-central-1")
        properties = emr.spark_properties(remote, "candidates")
        places = ("spark.emr-serverless.driverEnv", "spark.executorEnv")
        told = {properties[f"{place}.{name}"] for place in places for name in ("AWS_REGION", "AWS_DEFAULT_REGION")}
        assert told == {"eu-central-1"}

    def test_spark_properties_of_the_settings_are_there_before_the_driver_starts(self, tmp_path):
        conf = "spark.emr-serverless.driver.disk=100g,spark.executor.memory=14g"
        settings = load_settings(home=tmp_path, **OVERRIDES, spark_conf=conf)
        properties = emr.spark_properties(settings, "publish")
        assert properties["spark.emr-serverless.driver.disk"] == "100g"
        assert properties["spark.executor.memory"] == "14g"

    def test_what_the_settings_say_of_the_decision_is_read_back_the_same(self, tmp_path, remote, monkeypatch):
        for name, value in emr.spark_properties(remote, "candidates").items():
            monkeypatch.setenv(name.rpartition(".")[2], value)
        there = load_settings()
        assert there.business_tz == remote.business_tz
        assert there.lake == remote.lake
        assert there.spark_master == "submit"

    @pytest.mark.parametrize(
        ("name", "value"),
        [("emr_role_arn", ""), ("emr_staging_uri", ""), ("lake_uri", "/a/folder"), ("serving", "lmdb:/a/folder")],
    )
    def test_a_setting_that_jobs_there_cannot_use_is_named(self, tmp_path, name, value):
        given = {key: text for key, text in OVERRIDES.items() if key != name} | ({name: value} if value else {})
        with pytest.raises(SettingsError, match=f"REPLENISH_{name.upper()} is "):
            emr.job_request(load_settings(home=tmp_path, **given), ["candidates"])

    def test_a_secret_for_a_variable_that_is_none_is_refused(self, tmp_path):
        with pytest.raises(SettingsError, match=r"REPLENISH_EMR_SECRETS .* one of REPLENISH_API_KEYS"):
            load_settings(home=tmp_path, emr_secrets="REPLENISH_LAKE_URI=some/secret")

    @pytest.mark.process
    @pytest.mark.parametrize(
        ("job", "arguments", "command"),
        [
            (ingest.run, ["--dataset", "orders"], ["ingest", "--dataset", "orders"]),
            (catalogue.run_products, [], ["catalogue", "--part", "products"]),
            (copurchase.run_window, ["--month", "2017-05"], ["copurchase", "--month", "2017-05", "--part", "window"]),
        ],
    )
    def test_a_program_takes_the_arguments_that_its_asset_gives_it(self, job, arguments, command):
        assert command_of(job, *arguments) == command
        program = [sys.executable, str(REPOSITORY / "jobs" / f"{command[0]}.py"), *command[1:], "--help"]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        run = subprocess.run(program, cwd="/", env=environment, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr


class _LocalPlatform(Platform):
    """A platform whose lake needs no Spark."""

    def lake(self) -> str:
        return "the lake"


def test_without_the_setting_the_job_is_called_in_the_runs_own_process():
    seen = []

    def work(lake: object, settings: Settings) -> JobReport:
        seen.append((lake, settings.list_size))
        return JobReport("gold/x", {"2017-05": 3})

    with dg.build_asset_context() as context:
        report = perform(context, _LocalPlatform(overrides={"list_size": "7"}), work, ["no_such_program"])
    assert seen == [("the lake", 7)]
    assert report.row_count == 3


@pytest.mark.process
class TestJob:
    @pytest.mark.slow
    def test_a_month_is_computed_there_and_its_report_is_the_assets_metadata(self, service, spark, tmp_path):
        lake = Lake(spark, str(tmp_path / "lake"))
        lake.replace_months(ORDER_LINES, _order_lines(lake), ["2017-05"])
        result = _materialize(gold.HISTORY[0], "2017-05")
        assert result.success
        metadata = result.asset_materializations_for_node(gold.HISTORY[0].op.name)[0].metadata
        assert metadata["dagster/partition_row_count"].value == 2
        assert metadata["high_frequency_pairs"].value == 1
        assert metadata["emr_job"].value == "job0"
        assert lake.count_by_month(PURCHASE_FREQUENCY, ["2017-05"]) == {"2017-05": 2}

    @pytest.mark.slow
    def test_what_has_landed_is_ingested_there_dataset_by_dataset(self, service, spark, tmp_path):
        file = tmp_path / "landing" / "products" / "p.csv"
        file.parent.mkdir(parents=True)
        file.write_text("product_id,name\np1,Milk\n,nameless\n")
        service.given = {**service.given, "REPLENISH_LANDING_URI": str(tmp_path / "landing")}
        resources = {"platform": Platform(overrides=OVERRIDES)}
        keys = [asset_key(table) for table in (PRODUCTS_TABLE, LANDING_FILES, QUARANTINE)]
        wanted = dg.AssetSelection.assets(*keys)
        assert dg.materialize([bronze.ingest_landing], resources=resources, selection=wanted).success
        assert [job.request["name"] for job in service.jobs.values()] == ["ingest --dataset products"]
        lake = Lake(spark, str(tmp_path / "lake"))
        assert lake.read(PRODUCTS_TABLE).count() == 1
        assert lake.read(QUARANTINE).count() == 1

    def test_a_failed_jobs_own_words_are_the_steps_failure(self, service):
        service.given = {**service.given, "REPLENISH_LIST_SIZE": "0"}
        result = _materialize(gold.HISTORY[0], "2017-05")
        error = result.failure_data_for_node(gold.HISTORY[0].op.name).error
        assert "REPLENISH_LIST_SIZE is '0'" in error.message
        assert service.jobs["job0"].state == "FAILED"

    def test_a_cancelled_step_cancels_its_job(self, service, monkeypatch):
        def interrupted(*_: object) -> None:
            raise DagsterExecutionInterruptedError

        monkeypatch.setattr(emr._Client, "_wait_for_completion", interrupted)
        assert not _materialize(gold.HISTORY[0], "2017-05").success
        assert service.jobs["job0"].state == "CANCELLED"


@pytest.mark.process
class TestMessages:
    def test_a_process_of_this_machine_tells_through_a_file(self):
        told = _told_by(
            """
            from jobs.pipes import telling_dagster
            from jobs.report import JobReport
            import datetime, logging
            with telling_dagster() as tell:
                logging.getLogger("warehouse.llm").info("2 shards are there")
                logging.getLogger("botocore").error("not ours")
                tell(JobReport("gold/x", {"2017-05": 3}, {"until": datetime.date(2017, 5, 31)}))
            """
        )
        assert told.messages == [
            {"report": {"table": "gold/x", "rows": {"2017-05": 3}, "details": {"until": "2017-05-31"}}}
        ]
        assert told.logged == ["2 shards are there"]

    @pytest.mark.parametrize(("error", "is_transient"), [("MissingMonth", False), ("StoreUnavailable", True)])
    def test_an_error_is_told_with_whether_a_retry_may_help(self, error, is_transient):
        told = _told_by(
            f"""
            from jobs.cli import job_process
            from warehouse.errors import {error}
            with job_process():
                raise {error}("do this")
            """
        )
        assert told.messages == [{"error": "do this", "is_transient": is_transient}]
        assert (told.status, told.stderr) == (1, "error: do this\n")

    def test_a_job_started_by_hand_tells_nobody_and_loads_nothing_of_dagsters(self):
        code = """
import sys
from jobs.cli import job_process
from jobs.report import JobReport
with job_process() as tell:
    tell(JobReport("gold/x", {"2017-05": 3}))
print([name for name in sys.modules if name.startswith("dagster")])
"""
        run = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
        assert run.stdout == "gold/x: 3 rows (2017-05: 3)\n[]\n"

    def test_what_dagster_made_for_the_jobs_side_imports_nothing_of_dagster(self):
        code = "import sys, dagster_pipes; print([name for name in sys.modules if name.startswith('dagster')])"
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert run.stdout == "['dagster_pipes']\n"


class _Told(NamedTuple):
    status: int
    stderr: str
    messages: list[object]
    logged: list[str]


def _told_by(code: str) -> _Told:
    """What a process that a Dagster step launches tells it, through a file."""
    seen: list[_Told] = []

    @dg.op
    def launch(context: dg.OpExecutionContext) -> None:
        with dg.open_pipes_session(
            context, context_injector=dg.PipesEnvContextInjector(), message_reader=dg.PipesTempFileMessageReader()
        ) as session:
            environment = {**os.environ, **session.get_bootstrap_env_vars()}
            command = [sys.executable, "-c", dedent(code)]
            run = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
        seen.append(_Told(run.returncode, run.stderr, list(session.get_custom_messages()), []))

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.GraphDefinition("told", node_defs=[launch]).to_job().execute_in_process(instance=instance)
        lines = [entry.user_message for entry in instance.all_logs(result.run_id) if not entry.is_dagster_event]
    own = [line for line in lines if not line.startswith("[pipes]")]
    return seen[0]._replace(logged=own)


def _order_lines(lake: Lake) -> DataFrame:
    """Two customers' lines of May 2017: one pair bought in two orders, another in one."""
    schema = spark_schema(ORDER_LINES)
    blank = {"string": "x", "int": 1, "bigint": 1, "date": date(2017, 5, 1)}
    blank["timestamp"] = datetime(2017, 5, 1, tzinfo=UTC)
    bought = [("1", "c1", "p1", 3), ("2", "c1", "p1", 20), ("3", "c2", "p2", 9)]
    rows = []
    for order, customer, product, day in bought:
        known = {"month": "2017-05", "order_id": order, "customer_id": customer, "product_id": product, "quantity": 2}
        known |= {"ordered_date": date(2017, 5, day), "order_kind": "one_off"}
        rows.append([known.get(f.name, blank.get(f.dataType.simpleString(), Decimal("2.00"))) for f in schema.fields])
    return lake.spark.createDataFrame(rows, schema)
