"""Asks a model on SageMaker Batch Transform: shards go to S3, transform jobs answer them, answers are joined by id.

A run that was killed is taken up by the next one from the ledger alone: jobs that still run are waited for, outputs
that lie there are fetched, and only what neither covers is asked. One run of a month at a time: a second one would
find the first one's jobs by their names, but the two overwrite each other's ledger.

Nothing is deleted here. The staging prefix holds prompts and answers and needs a lifecycle rule that expires them;
14 days are enough to resume and to investigate. SageMaker itself keeps the record of a job for ever, so names are
never used twice.

Here: the client and what its jobs are made of. Not here: the run itself (``sagemaker_run.py``), where things stand in
S3 (``sagemaker_staging.py``), the container that answers, and what an answer is worth.
"""

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from warehouse.errors import SettingsError
from warehouse.llm.contract import Deliver, PendingShard
from warehouse.llm.sagemaker_errors import named_errors
from warehouse.llm.sagemaker_run import Run
from warehouse.llm.sagemaker_staging import Staging
from warehouse.object_store import region

# SageMaker's own limits of a job; of the rest, what makes sense.
_RANGES = {
    "instance_count": (1, 1_000),
    "jobs_at_once": (1, 1_000),
    "shards_a_job": (1, 1_000),
    "concurrent_transforms": (1, 100),
    "max_payload_mb": (1, 100),
    "timeout_s": (1, 3_600),
    "invocation_retries": (0, 3),
    "attempts": (1, 100),
    "fruitless_jobs": (1, 1_000),
}


@dataclass(frozen=True)
class TransformParams:
    """What the transform jobs are made of.

    Attributes:
        model_name: SageMaker model whose container answers.
        staging_uri: ``s3://bucket/prefix`` in the model's region.
        instance_type, instance_count: of each job. One shard goes to one instance.
        jobs_at_once: most jobs that run at the same time.
        shards_a_job: most shards of a job.
        concurrent_transforms: requests that one instance works on at the same time.
        max_payload_mb: most MB of one request or answer.
        timeout_s, invocation_retries: of one request to the container, in seconds; SageMaker's own retries.
        attempts: most jobs that one run starts for a shard.
        deadline_s: seconds after which a run stops its jobs and gives up.
        first_poll_s, last_poll_s: seconds between two looks at the jobs, growing from the first to the last.
        silence_s: seconds for which AWS may not answer while jobs run, before the run gives up.
        fruitless_jobs: this many jobs of new shards one after another without any output end the run.

    Raises:
        SettingsError: SageMaker would refuse a value.
    """

    model_name: str
    staging_uri: str
    instance_type: str = "ml.g5.2xlarge"
    instance_count: int = 1
    jobs_at_once: int = 2
    shards_a_job: int = 20
    concurrent_transforms: int = 8
    max_payload_mb: int = 1
    timeout_s: int = 600
    invocation_retries: int = 3
    attempts: int = 3
    deadline_s: float = 6 * 3600
    first_poll_s: float = 5
    last_poll_s: float = 60
    silence_s: float = 600
    fruitless_jobs: int = 5

    def __post_init__(self) -> None:
        if not re.fullmatch(r"s3://[^/]+(/.*)?", self.staging_uri):
            raise SettingsError(f"REPLENISH_LLM_STAGING_URI is {self.staging_uri!r}; it takes: s3://bucket/prefix")
        if self.concurrent_transforms * self.max_payload_mb > 100:
            raise SettingsError(
                f"concurrent_transforms {self.concurrent_transforms} times max_payload_mb {self.max_payload_mb} is "
                "more than the 100 MB that SageMaker allows"
            )
        for name, (least, most) in _RANGES.items():
            if not least <= getattr(self, name) <= most:
                raise SettingsError(
                    f"{name} of the transform jobs is {getattr(self, name)}; it takes: {least} to {most}"
                )


class SageMakerClient:
    """A :class:`~warehouse.llm.contract.BatchClient` that asks by transform jobs.

    After :meth:`answer`, ``unanswered_shards`` names the shards of which a request has no answer at all, and
    ``jobs_started`` and ``jobs_adopted`` count this run's jobs and those found from a run that was killed.
    """

    name = "sagemaker"

    def __init__(
        self,
        params: TransformParams,
        *,
        sagemaker: Any = None,
        s3: Any = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is connected to yet. The boto3 clients come from the cloud's own chain unless they are given."""
        self.model = params.model_name
        self.unanswered_shards: list[str] = []
        self.jobs_started = 0
        self.jobs_adopted = 0
        self._params, self._sleep, self._clock = params, sleep, clock
        self._sagemaker, self._s3 = sagemaker, s3

    def answer(self, month: str, pending: Iterable[PendingShard], deliver: Deliver) -> None:
        """Asks for every pending request; a shard's answers are delivered when the job that holds it has ended.

        Whatever ends the call early (the deadline, an error, an interrupt) also stops the jobs that run.

        Raises:
            LlmUnavailable: AWS did not answer, has no instances, jobs give no output, or the deadline passed.
            SettingsError: model, bucket, permissions or credentials are wrong.
        """
        with named_errors(self._params):
            sagemaker = self._sagemaker or _open_client("sagemaker")
            staging = Staging(self._s3 or _open_client("s3"), self._params.staging_uri, month)
            run = Run(self._params, sagemaker, staging, pending, deliver, self._sleep, self._clock)
            try:
                run.work()
            finally:
                self.unanswered_shards = sorted(run.unanswered)
                self.jobs_started, self.jobs_adopted = run.started, run.adopted


def _open_client(service: str) -> Any:
    import boto3
    from botocore.config import Config

    # Throttling, 5xx and broken connections are botocore's to retry; eight attempts last a few seconds.
    retries = {"mode": "standard", "total_max_attempts": 8}
    patience = Config(retries=retries, connect_timeout=10, read_timeout=60)
    return boto3.client(service, region_name=region(None), config=patience)
