"""Where the sagemaker client's shards, answers and jobs stand in S3, and what a job is told of it.

Below the staging URI stand, for each month::

    <month>/jobs.json                    the ledger: every job, written before the job is created and after it ended
    <month>/<digest>/input/<shard>       the request lines of one group of shards, which one job reads
    <month>/<digest>/output/<shard>.out  what SageMaker wrote: only of files all of whose records succeeded

Here: these objects, and the jobs, groups and leftovers that they are about. Not here: when a job starts, and what is
made of its answers (``sagemaker_run.py``).
"""

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from warehouse.llm.contract import PendingShard, custom_id_of, from_jsonl, to_jsonl
from warehouse.llm.sagemaker_errors import UNREACHABLE
from warehouse.object_store import split_uri

if TYPE_CHECKING:
    from warehouse.llm.sagemaker_client import TransformParams

logger = logging.getLogger(__name__)

_FINAL = frozenset({"Completed", "Failed", "Stopped", "Missing"})


@dataclass
class Job:
    """A job as the ledger holds it; ``state`` is ``Planned`` until SageMaker was asked for it."""

    name: str
    digest: str
    shards: list[str]
    attempt: int
    state: str = "Planned"

    @property
    def has_ended(self) -> bool:
        """Whether the job runs no more, for whatever reason."""
        return self.state in _FINAL


@dataclass
class Group:
    """Shards whose requests are staged: the ids that are to be answered, by shard."""

    digest: str
    ids: dict[str, set[str]]


@dataclass(frozen=True)
class Leftover:
    """Requests of a shard that came without output, and the group under which they are staged."""

    shard: str
    ids: set[str]
    digest: str


class Staging:
    """The objects of one month below the staging URI."""

    def __init__(self, s3: Any, uri: str, month: str) -> None:
        self.month = month
        self._s3 = s3
        self._bucket, prefix = split_uri(uri)
        self._root = f"{prefix}/{month}".lstrip("/")
        self._listed: tuple[str, dict[str, str]] = ("", {})

    def input_uri(self, digest: str) -> str:
        """Prefix of the group's request files."""
        return f"s3://{self._bucket}/{self._root}/{digest}/input/"

    def output_uri(self, digest: str) -> str:
        """Where SageMaker writes what answers the group's request files."""
        return f"s3://{self._bucket}/{self._root}/{digest}/output"

    def read_ledger(self) -> str | None:
        """The ledger's text; ``None`` before a month's first job."""
        try:
            return self._read(f"{self._root}/jobs.json").decode("utf-8")
        except self._s3.exceptions.NoSuchKey:
            return None

    def write_ledger(self, text: str) -> None:
        """Puts the ledger's text in the place of the one before."""
        self._s3.put_object(Bucket=self._bucket, Key=f"{self._root}/jobs.json", Body=text.encode("utf-8"))

    def write_input(self, digest: str, shard: PendingShard) -> None:
        """Stages the shard's request lines for the group."""
        key = self._input_key(digest, shard.name)
        self._s3.put_object(Bucket=self._bucket, Key=key, Body=to_jsonl(shard.lines))

    def asked(self, digest: str, shard: str) -> set[str]:
        """Ids of the requests that the group holds of the shard."""
        return {custom_id_of(line) for line in self._read_lines(self._input_key(digest, shard))}

    def read_again(self, leftover: Leftover) -> PendingShard:
        """The leftover's request lines, as they were staged."""
        lines = self._read_lines(self._input_key(leftover.digest, leftover.shard))
        return PendingShard(leftover.shard, [line for line in lines if custom_id_of(line) in leftover.ids])

    def read_output(self, digest: str, shard: str) -> list[str] | None:
        """Lines that SageMaker wrote for the shard; ``None`` if it wrote none. Asked of jobs that have ended."""
        if self._listed[0] != digest:
            self._listed = (digest, self._list_outputs(digest))
        key = self._listed[1].get(shard)
        return None if key is None else self._read_lines(key)

    def forget_outputs(self) -> None:
        """Outputs are listed anew the next time: a job has ended since."""
        self._listed = ("", {})

    def _list_outputs(self, digest: str) -> dict[str, str]:
        """Keys of the outputs by shard. A listing needs no right to be told that an object is missing."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=f"{self._root}/{digest}/output/"
        )
        keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
        # Below the output prefix SageMaker may repeat a part of the input's path; shard names have no slash.
        return {key.rpartition("/")[2].removesuffix(".out"): key for key in keys if key.endswith(".out")}

    def _input_key(self, digest: str, shard: str) -> str:
        return f"{self._root}/{digest}/input/{shard}"

    def _read_lines(self, key: str) -> list[str]:
        return from_jsonl(self._read(key))

    def _read(self, key: str) -> bytes:
        for _try in range(2):
            try:
                return self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read()
            except UNREACHABLE as error:
                # botocore's own retries end where the body begins.
                logger.info("Reading an object was broken off (%s)", type(error).__name__)
        return self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read()


class Ledger:
    """Every job of the month, of this run and of those before, as ``jobs.json`` holds them."""

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        text = staging.read_ledger()
        entries = json.loads(text)["jobs"] if text else []
        self.jobs = {entry["name"]: Job(**entry) for entry in entries}
        self._before: dict[str, list[Job]] = {}
        for job in self.jobs.values():
            for shard in job.shards:
                self._before.setdefault(shard, []).append(job)

    def holding(self, shard: str) -> list[Job]:
        """Jobs of earlier runs that were asked for something of the shard."""
        return [job for job in self._before.get(shard, ()) if job.name in self.jobs]

    def plan(self, month: str, group: Group) -> Job:
        """Writes the group's next job down; attempts count over all runs, since names are never used twice."""
        attempt = 1 + max((job.attempt for job in self.jobs.values() if job.digest == group.digest), default=0)
        job = Job(f"replenish-{month}-{group.digest}-{attempt}", group.digest, list(group.ids), attempt)
        self.jobs[job.name] = job
        self.write()
        return job

    def remove(self, job: Job) -> None:
        """Takes the job out, here and in what is written next."""
        self.jobs.pop(job.name, None)

    def write(self) -> None:
        """Puts all jobs into ``jobs.json``."""
        self._staging.write_ledger(json.dumps({"jobs": [asdict(job) for job in self.jobs.values()]}))


def digest_of(staging_uri: str, shards: list[PendingShard]) -> str:
    """Stands for what a group asks: 16 hexadecimal digits over the shards' names and the ids of their requests."""
    asked = [[shard.name, sorted(map(custom_id_of, shard.lines))] for shard in shards]
    return hashlib.sha256(json.dumps([staging_uri, sorted(asked)]).encode()).hexdigest()[:16]


def job_request(params: "TransformParams", job: Job, staging: Staging) -> dict[str, Any]:
    """What CreateTransformJob takes. No JoinSource: answers carry their ``custom_id``."""
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": staging.input_uri(job.digest)}}
    return {
        "TransformJobName": job.name,
        "ModelName": params.model_name,
        "BatchStrategy": "SingleRecord",
        "MaxConcurrentTransforms": params.concurrent_transforms,
        "MaxPayloadInMB": params.max_payload_mb,
        "ModelClientConfig": {
            "InvocationsTimeoutInSeconds": params.timeout_s,
            "InvocationsMaxRetries": params.invocation_retries,
        },
        "TransformInput": {"DataSource": source, "ContentType": "application/json", "SplitType": "Line"},
        "TransformOutput": {
            "S3OutputPath": staging.output_uri(job.digest),
            "Accept": "application/json",
            "AssembleWith": "Line",
        },
        "TransformResources": {"InstanceType": params.instance_type, "InstanceCount": params.instance_count},
    }
