"""One run of the sagemaker client: which jobs start, are adopted, waited for and stopped, and what they answered.

Not here: where things stand in S3 (``sagemaker_staging.py``), and what a refusal of AWS means
(``sagemaker_errors.py``).
"""

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from warehouse.errors import LlmUnavailable, ReplenishError
from warehouse.llm.contract import Deliver, PendingShard, custom_id_of, parse_response
from warehouse.llm.sagemaker_errors import NOT_FOUND, TAKEN, UNREACHABLE, error_code, refusal
from warehouse.llm.sagemaker_staging import Group, Job, Ledger, Leftover, Staging, digest_of, job_request

if TYPE_CHECKING:
    from warehouse.llm.sagemaker_client import TransformParams

logger = logging.getLogger(__name__)


@dataclass
class _Running:
    """A job that runs, and the ids that this run wants of it.

    ``unseen`` are shards of an adopted job that were not among the pending ones so far.
    """

    job: Job
    awaited: dict[str, set[str]]
    unseen: set[str] = field(default_factory=set)
    is_ours: bool = True

    @property
    def is_undecided(self) -> bool:
        return not self.awaited and bool(self.unseen)


class Run:
    """One call of :meth:`~warehouse.llm.sagemaker_client.SageMakerClient.answer`.

    ``unanswered`` are the shards of which a request has no answer at all so far; ``started`` and ``adopted`` count this
    run's jobs and those found from a run that was killed.
    """

    # Groups staged ahead while it is open whether the jobs of a killed run are wanted; their ids stay in memory.
    _READ_AHEAD = 50

    def __init__(
        self,
        params: "TransformParams",
        sagemaker: Any,
        staging: Staging,
        pending: Iterable[PendingShard],
        deliver: Deliver,
        sleep: Callable[[float], None],
        clock: Callable[[], float],
    ) -> None:
        self.unanswered: set[str] = set()
        self.started = self.adopted = 0
        self._params, self._sagemaker, self._staging = params, sagemaker, staging
        self._pending, self._deliver = iter(pending), deliver
        self._sleep, self._clock = sleep, clock
        self._deadline = clock() + params.deadline_s
        self._ledger = Ledger(staging)
        self._is_exhausted = False
        self._ready: deque[Group] = deque()
        self._again: list[Leftover] = []
        self._running: dict[str, _Running] = {}
        self._tries: Counter[str] = Counter()
        self._fruitless = 0

    def work(self) -> None:
        """Asks for every pending request; whatever ends it early also stops the jobs that run.

        Raises:
            LlmUnavailable: jobs give no output, or the deadline passed; a later run takes up what was answered.
            ClientError, BotoCoreError: as boto3 raised it, for :func:`~warehouse.llm.sagemaker_errors.named_errors`.
        """
        try:
            self._resume()
            while True:
                self._gather()
                self._start()
                self._stop_abandoned()
                if not (self._ready or self._again or any(run.awaited for run in self._running.values())):
                    return
                ended = self._wait_for_ended()
                # The place is taken again first: fetching a job's outputs takes its time.
                self._start()
                for run in ended:
                    self._collect(run)
        except BaseException as error:
            stopped = self._stop_all()
            if stopped and isinstance(error, ReplenishError):
                error.args = (f"{error} Stopped: {', '.join(stopped)}; a later run fetches what they had answered.",)
            raise

    # What runs already

    def _resume(self) -> None:
        for job in [job for job in self._ledger.jobs.values() if not job.has_ended]:
            state = self._state(job.name)
            if state is None:
                # Written down, and then killed before SageMaker heard of it.
                self._ledger.remove(job)
                continue
            job.state = state
            if not job.has_ended:
                self._running[job.name] = _Running(job, {}, set(job.shards), is_ours=False)
                self.adopted += 1
                logger.info("Transform job %s of an earlier run is still %s", job.name, state)

    def _reuse(self, shard: PendingShard) -> list[str]:
        """Delivers and awaits what earlier jobs have of the shard; returns the lines that none of them covers."""
        wanted = {custom_id_of(line): line for line in shard.lines}
        jobs = self._ledger.holding(shard.name)
        for digest in dict.fromkeys(job.digest for job in jobs if job.has_ended):
            if wanted:
                lines = self._staging.read_output(digest, shard.name) or []
                # An answer that failed is asked for again, as in any other run.
                found = _answers(lines, wanted.keys(), finished_only=True)
                self._hand_over(shard.name, found)
                wanted = {custom_id: line for custom_id, line in wanted.items() if custom_id not in found}
        for run in [self._running[job.name] for job in jobs if job.name in self._running]:
            run.unseen.discard(shard.name)
            if wanted and wanted.keys() <= self._staging.asked(run.job.digest, shard.name):
                run.awaited[shard.name] = set(wanted)
                wanted = {}
        return list(wanted.values())

    def _hand_over(self, shard: str, found: dict[str, str]) -> None:
        if found:
            self._deliver(shard, list(found.values()))

    # What is to be asked

    def _gather(self) -> None:
        free = self._params.jobs_at_once - len(self._running)
        is_open = any(run.is_undecided for run in self._running.values())
        ahead = self._READ_AHEAD if is_open else max(free, 1)
        while len(self._ready) < ahead and (shards := self._next_shards(has_place=free > len(self._ready))):
            digest = digest_of(self._params.staging_uri.rstrip("/"), shards)
            for shard in shards:
                self._staging.write_input(digest, shard)
            ids = {shard.name: {custom_id_of(line) for line in shard.lines} for shard in shards}
            self._ready.append(Group(digest, ids))

    def _next_shards(self, *, has_place: bool) -> list[PendingShard]:
        """Shards of the next job: new ones, or those that came without output once they fill a job or are all.

        While jobs bear no fruit new shards come first, so that it is soon known whether the model answers at all.
        """
        most = self._params.shards_a_job
        if len(self._again) < most or self._fruitless:
            if fresh := self._next_fresh(most):
                return fresh
            if not has_place:
                return []
        taken, self._again = self._again[:most], self._again[most:]
        return [self._staging.read_again(leftover) for leftover in taken]

    def _next_fresh(self, most: int) -> list[PendingShard]:
        fresh: list[PendingShard] = []
        for shard in () if self._is_exhausted else self._pending:
            if lines := self._reuse(shard):
                fresh.append(PendingShard(shard.name, lines))
            if len(fresh) == most:
                return fresh
        self._is_exhausted = True
        return fresh

    # Jobs

    def _start(self) -> None:
        while self._ready and len(self._running) < self._params.jobs_at_once and self._clock() < self._deadline:
            group = self._ready[0]
            job = self._ledger.plan(self._staging.month, group)
            is_ours = self._create(job)
            if is_ours is None:
                self._ledger.remove(job)
                return
            self._ready.popleft()
            self._running[job.name] = _Running(job, group.ids, is_ours=is_ours)
            self.started += is_ours
            self.adopted += not is_ours
            if is_ours:
                self._tries.update(list(group.ids))
            requests = sum(map(len, group.ids.values()))
            logger.info("Transform job %s: %d shards, %d requests", job.name, len(group.ids), requests)

    def _create(self, job: Job) -> bool | None:
        """Creates the job. ``False``: it exists already; ``None``: no instance is free while our own jobs run."""
        try:
            self._sagemaker.create_transform_job(**job_request(self._params, job, self._staging))
        except ClientError as error:
            code = error_code(error)
            # The name holds the digest of the requests, so that a job of this name asks just them. It is there if
            # the ledger was lost, or if an answer to this call was lost and botocore called again.
            if code in TAKEN and self._state(job.name) is not None:
                return False
            if code == "ResourceLimitExceeded" and self._running:
                return None
            raise
        return True

    def _state(self, name: str) -> str | None:
        try:
            described = self._sagemaker.describe_transform_job(TransformJobName=name)
        except ClientError as error:
            if error_code(error) in NOT_FOUND:
                return None
            raise
        if described["TransformJobStatus"] == "Failed":
            # Only the kind: the rest may quote what the container said.
            kind = str(described.get("FailureReason", "")).split(":")[0][:60]
            logger.warning("Transform job %s failed (%s); its logs are in CloudWatch under its name", name, kind)
        return str(described["TransformJobStatus"])

    def _wait_for_ended(self) -> list[_Running]:
        wait, heard = self._params.first_poll_s, self._clock()
        while True:
            heard = self._look(heard)
            ended = [run for run in self._running.values() if run.job.has_ended]
            left = self._deadline - self._clock()
            if left <= 0:
                raise LlmUnavailable(f"The transform jobs were not done within {self._params.deadline_s:g} s.")
            if ended:
                for run in ended:
                    del self._running[run.job.name]
                return ended
            self._sleep(min(wait, left))
            wait = min(wait * 1.5, self._params.last_poll_s)

    def _look(self, heard: float) -> float:
        """Takes over how the jobs stand; returns when AWS last answered. To stop jobs for its silence would be dear."""
        try:
            for run in self._running.values():
                run.job.state = self._state(run.job.name) or "Missing"
        except (ClientError, *UNREACHABLE) as error:
            is_passing = not isinstance(error, ClientError) or isinstance(refusal(error, self._params), LlmUnavailable)
            if not is_passing or self._clock() - heard >= self._params.silence_s:
                raise
            logger.warning("AWS does not say how the transform jobs stand (%s)", type(error).__name__)
            return heard
        return self._clock()

    def _collect(self, run: _Running) -> None:
        outputs = 0
        self._staging.forget_outputs()
        for shard, ids in run.awaited.items():
            lines = self._staging.read_output(run.job.digest, shard)
            if lines is None:
                self._set_aside(Leftover(shard, ids, run.job.digest))
                continue
            outputs += 1
            found = _answers(lines, ids)
            self._hand_over(shard, found)
            if len(found) < len(ids):
                # SageMaker answered every line of the file; what holds no answer will hold none the next time.
                self.unanswered.add(shard)
        self._ledger.write()
        logger.info("Transform job %s %s: %d of %d outputs", run.job.name, run.job.state, outputs, len(run.awaited))
        self._check_fruit(run, outputs)

    def _set_aside(self, leftover: Leftover) -> None:
        if self._tries[leftover.shard] < self._params.attempts:
            self._again.append(leftover)
        else:
            self.unanswered.add(leftover.shard)

    def _check_fruit(self, run: _Running, outputs: int) -> None:
        """A model that never comes up would otherwise cost as many failing jobs as the month has groups."""
        if outputs:
            self._fruitless = 0
        elif run.is_ours and all(self._tries[shard] == 1 for shard in run.awaited):
            self._fruitless += 1
        if self._fruitless >= self._params.fruitless_jobs:
            raise LlmUnavailable(
                f"{self._fruitless} transform jobs one after another gave no output, the last being {run.job.name}: "
                "see its logs in CloudWatch."
            )

    def _stop_abandoned(self) -> None:
        for run in self._running.values():
            if not run.awaited and (self._is_exhausted or not run.unseen) and run.job.state != "Stopping":
                logger.info("Transform job %s is stopped: what it was asked is not pending any more", run.job.name)
                self._stop(run.job)
                self._ledger.write()

    def _stop_all(self) -> list[str]:
        stopped = []
        for run in self._running.values():
            try:
                if not run.job.has_ended:
                    self._stop(run.job)
                    stopped.append(run.job.name)
            except (ClientError, BotoCoreError) as error:
                kind = type(error).__name__
                logger.warning("Transform job %s could not be stopped (%s) and runs on", run.job.name, kind)
        if stopped:
            logger.warning("Stopped transform jobs: %s", ", ".join(stopped))
        return stopped

    def _stop(self, job: Job) -> None:
        try:
            self._sagemaker.stop_transform_job(TransformJobName=job.name)
            job.state = "Stopping"
        except ClientError as error:
            if error_code(error) not in NOT_FOUND:  # it has ended by itself
                raise


def _answers(lines: list[str], wanted: Iterable[str], *, finished_only: bool = False) -> dict[str, str]:
    """Response lines by id: of wanted ids only, and the first of each."""
    ids, found = frozenset(wanted), {}
    for line in lines:
        answer = parse_response(line)
        if answer and answer.custom_id in ids and (answer.is_finished or not finished_only):
            found.setdefault(answer.custom_id, line)
    return found
