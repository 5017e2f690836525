"""Runs a job on EMR Serverless through Dagster Pipes: the program that a person starts by hand, told where to report.

The application's image holds the code and its packages in ``IMAGE_ROOT`` (``deploy/aws/emr.Dockerfile``), so a job is a
file of it and its arguments. Settings that say where data is and how to decide go along as Spark properties; secrets
only as names that EMR looks up in Secrets Manager. The job's report, log lines and error come back through a bucket,
while it runs and also where it fails.

Not here: whether a job runs there (``compute.py``), what the job does and how it tells (``jobs``).
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import boto3
import dagster as dg
from dagster._core.pipes.context import PipesMessageHandler
from dagster_aws.pipes import PipesEMRServerlessClient, PipesS3MessageReader
from dagster_pipes import PipesParams

from jobs.report import JobReport
from warehouse.errors import SettingsError
from warehouse.object_store import region, split_uri
from warehouse.settings import SECRETS, Settings

IMAGE_ROOT = "/opt/replenish"
"""Where the image of the EMR application has the repository and, in ``.venv``, its packages."""

POLL_S = 5.0
"""Seconds between two looks at a job, and at its messages."""
TRANSFORM = "transform"
"""The step of most programs."""
STEPS = {"ingest": "ingest", "publish": "publish"}
"""Programs that write where no other does; all others are :data:`TRANSFORM`. A step can have a role of its own."""

_ON_S3 = ("landing_uri", "lake_uri", "vectors_uri")
_LEFT_HERE = SECRETS | {
    # The job has a machine of its own, and Spark of the cluster; it is told `aws`, whatever this process is.
    *("env", "home", "spark_master", "spark_driver_memory", "ivy_settings"),
    *("compute", "emr_role_arn", "emr_staging_uri", "emr_secrets"),
    *("dagster_postgres_host", "dagster_postgres_port", "dagster_postgres_db", "dagster_postgres_user"),
    "dagster_logs_uri",
}


# Asked for by every session; that it may change need not be said in every step's log.
warnings.filterwarnings("ignore", message=".*expected_writer_count.*", category=dg.PreviewWarning)


class _Messages(PipesS3MessageReader):
    """Reads a job's messages below a prefix, and keeps them where the job fails and its client raises."""

    def __init__(self, uri: str, interval_s: float) -> None:
        bucket, self._prefix = split_uri(uri)
        super().__init__(bucket=bucket, client=boto3.client("s3", region_name=region(None)), interval=interval_s)
        self._handler: PipesMessageHandler | None = None

    @contextmanager
    def get_params(self) -> Iterator[PipesParams]:
        with super().get_params() as params:
            yield {**params, "key_prefix": "/".join(filter(None, (self._prefix, params["key_prefix"])))}

    def read_messages(self, handler: PipesMessageHandler) -> AbstractContextManager[PipesParams]:
        self._handler = handler
        return super().read_messages(handler)

    def told(self, key: str) -> list[Any]:
        """What the job told under ``key``."""
        messages = self._handler.get_custom_messages() if self._handler else ()
        return [message for message in messages if key in message]


class _Client(PipesEMRServerlessClient):
    """The client, without its look for messages in CloudWatch after the end and its warning that there are none."""

    def _read_messages(self, *_: object) -> None:
        pass


def run_on_emr(context: dg.AssetExecutionContext, settings: Settings, command: Sequence[str]) -> JobReport:
    """Runs a job to its end and returns what it reports; cancelling the step cancels the job.

    Args:
        context: the step that asks.
        settings: ``compute`` names the application.
        command: the job's module without ``jobs.``, then its arguments.

    Raises:
        SettingsError: a setting that jobs on EMR need is missing, or names a place that they cannot reach.
        Failure: the job failed; the text is its own. It is tried again only if a retry may help.
    """
    request = job_request(settings, command)
    messages = _Messages(settings.emr_staging_uri or "", POLL_S)
    service = boto3.client("emr-serverless", region_name=region(None))
    client = _Client(service, message_reader=messages, poll_interval=POLL_S)
    try:
        done = client.run(context=context, start_job_run_params=request)
    except RuntimeError as error:
        reasons = messages.told("error")
        if not reasons:
            raise
        raise dg.Failure(reasons[-1]["error"], allow_retries=reasons[-1]["is_transient"]) from error
    reports = messages.told("report")
    if not reports:
        raise dg.Failure(f"the job {request['name']} ended without a report; its driver's log says more")
    report = JobReport(**reports[-1]["report"])
    job = {"emr_job": done.metadata["AWS EMR Serverless Job Run ID"]}
    return JobReport(report.table, report.rows, {**report.details, **job})


def job_request(settings: Settings, command: Sequence[str]) -> dict[str, Any]:
    """Arguments of ``StartJobRun`` for a job.

    Raises:
        SettingsError: see :func:`run_on_emr`.
    """
    _check(settings)
    program, *arguments = command
    spark_submit = {"entryPoint": f"local://{IMAGE_ROOT}/jobs/{program}.py", "entryPointArguments": arguments}
    properties = {"classification": "spark-defaults", "properties": spark_properties(settings, program)}
    return {
        "applicationId": settings.compute.removeprefix("emr-serverless:"),
        "executionRoleArn": (settings.emr_role_arn or "").replace("{step}", step_of(program)),
        "name": " ".join(command),
        "jobDriver": {"sparkSubmit": spark_submit},
        "configurationOverrides": {"applicationConfiguration": [properties]},
    }


def step_of(program: str) -> str:
    """The step whose role a program runs as."""
    return STEPS.get(program, TRANSFORM)


def spark_properties(settings: Settings, program: str) -> dict[str, str]:
    """EMR's Spark properties for a job: the environment of its driver and Python workers, and the settings' own.

    Secrets go to the step ``transform`` alone: only its programs read one, and only its role may.
    """
    python = f"{IMAGE_ROOT}/.venv/bin/python"
    everywhere = {"PYSPARK_PYTHON": python, "PYTHONPATH": IMAGE_ROOT}
    if name := region(None):
        # PyArrow asks nobody: unless a variable says so, it takes another region than the buckets'.
        everywhere |= {"AWS_REGION": name, "AWS_DEFAULT_REGION": name}
    driver = {
        "PYSPARK_DRIVER_PYTHON": python,
        "REPLENISH_SPARK_MASTER": "submit",
        "REPLENISH_HOME": "/tmp/replenish",
        # Not local, where a job would make a pseudonym salt of its own.
        "REPLENISH_ENV": "aws",
    }
    chosen = settings.model_dump(mode="json", include=settings.model_fields_set - _LEFT_HERE, exclude_none=True)
    driver |= {f"REPLENISH_{name.upper()}": _text(value) for name, value in chosen.items()}
    if step_of(program) == TRANSFORM:
        pairs = (pair.partition("=") for pair in settings.emr_secrets)
        driver |= {variable: f"EMR.secret@{secret}" for variable, _, secret in pairs}
    return {
        **{f"spark.emr-serverless.driverEnv.{name}": value for name, value in {**everywhere, **driver}.items()},
        **{f"spark.executorEnv.{name}": value for name, value in everywhere.items()},
        # Said here too: what sizes a driver or an executor counts before the driver can say it.
        **settings.spark_conf,
    }


def _text(value: Any) -> str:
    """A setting's value as its variable takes it."""
    if isinstance(value, dict):
        value = [f"{name}={text}" for name, text in value.items()]
    if isinstance(value, list):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check(settings: Settings) -> None:
    missing = [name for name in ("emr_role_arn", "emr_staging_uri") if not getattr(settings, name)]
    missing += [name for name in _ON_S3 if not (getattr(settings, name) or "").startswith("s3://")]
    if not settings.serving_store.startswith("dynamodb:"):
        missing.append("serving")
    if missing:
        name = f"REPLENISH_{missing[0].upper()}"
        takes = {"emr_role_arn": "the role's ARN", "serving": "dynamodb:TABLE"}.get(missing[0], "s3://bucket/prefix")
        raise SettingsError(
            f"{name} is {getattr(settings, missing[0]) or 'not set'}: jobs on EMR reach no folder of this machine. "
            f"It takes: {takes}"
        )
