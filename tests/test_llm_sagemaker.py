"""The SageMaker client against a local AWS whose transform jobs are really carried out (``sagemaker_stack.py``)."""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.llm_client import made_up_requests, shards_of
from tests.sagemaker_stack import Stack, open_client, open_stack, s3_server
from warehouse.errors import LlmUnavailable, SettingsError
from warehouse.files import open_filesystem
from warehouse.llm.contract import PendingShard, custom_id_of, error_line, request_line
from warehouse.llm.sagemaker_client import SageMakerClient, TransformParams
from warehouse.llm.shards import answer_month, read_lines, requests_folder, responses_folder, write_lines
from warehouse.llm.stand_in_answers import misbehaviour_of
from warehouse.llm.stand_in_process import running

pytestmark = pytest.mark.process

MONTH = "2017-05"
_numbers = itertools.count()


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture
def stack(s3_url: str) -> Iterator[Stack]:
    with open_stack(s3_url, f"bucket-{next(_numbers)}") as opened:
        yield opened


def shard(number: int, requests: int = 4, content: str = "a") -> PendingShard:
    ids = [f"{number}-{request}-{content}" for request in range(requests)]
    return PendingShard(f"shard-{number:05d}.jsonl", [request_line(i, {"model": "little-model"}) for i in ids])


def shards(count: int) -> list[PendingShard]:
    return [shard(number) for number in range(count)]


def ids_of(*pending: PendingShard) -> list[str]:
    return [custom_id_of(line) for shard in pending for line in shard.lines]


class Delivered:
    """Keeps what was delivered: ids by shard, in order."""

    def __init__(self) -> None:
        self.ids: dict[str, list[str]] = {}

    def __call__(self, shard: str, lines: list[str]) -> None:
        self.ids.setdefault(shard, []).extend(map(custom_id_of, lines))

    @property
    def all(self) -> list[str]:
        return sorted(custom_id for ids in self.ids.values() for custom_id in ids)


def params(stack: Stack, **changes: object) -> TransformParams:
    quick = {"shards_a_job": 3, "invocation_retries": 1, "first_poll_s": 0.02, "last_poll_s": 0.1}
    return TransformParams(**({"model_name": "little-model", "staging_uri": stack.staging_uri} | quick | changes))


def client(stack: Stack, sleep: Callable[[float], None] = time.sleep, **changes: object) -> SageMakerClient:
    return SageMakerClient(
        params(stack, **changes), sagemaker=stack.client("sagemaker"), s3=stack.client("s3"), sleep=sleep
    )


def ask(stack: Stack, pending: list[PendingShard], **changes: object) -> tuple[SageMakerClient, Delivered]:
    asking, delivered = client(stack, **changes), Delivered()
    asking.answer(MONTH, iter(pending), delivered)
    return asking, delivered


def wait_until(is_so: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def leave_running(stack: Stack, pending: list[PendingShard], jobs: int, **changes: object) -> None:
    """Starts a run and leaves it as a kill would: its jobs run, and nobody looks after them."""

    def park(_seconds: float) -> None:
        threading.Event().wait()

    stack.container.is_open.clear()
    asking = client(stack, park, **changes)
    threading.Thread(target=asking.answer, args=(MONTH, iter(pending), Delivered()), daemon=True).start()
    wait_until(lambda: len(stack.control.jobs) == jobs)


def assert_stopped(stack: Stack) -> None:
    """Every job was told to stop; one that had not begun a record has ended already."""
    assert stack.control.jobs
    assert set(stack.control.states()) <= {"Stopping", "Stopped"}


def input_files(stack: Stack) -> list[list[str]]:
    """Names of the shards that each job read, in the order of the jobs."""
    wait_until(lambda: all(job.files for job in stack.control.jobs.values()))
    return [[key.rpartition("/")[2] for key in job.files] for job in stack.control.jobs.values()]


def ledger(stack: Stack) -> list[dict]:
    body = stack.s3.get_object(Bucket=stack.bucket, Key=f"staging/{MONTH}/jobs.json")["Body"].read()
    return json.loads(body)["jobs"]


def test_every_request_is_answered_once_in_groups_of_shards(stack: Stack):
    pending = shards(7)
    asking, delivered = ask(stack, pending)
    assert delivered.all == sorted(ids_of(*pending))
    assert set(delivered.ids) == {shard.name for shard in pending}
    assert stack.container.asked == dict.fromkeys(ids_of(*pending), 1)
    assert [len(files) for files in input_files(stack)] == [3, 3, 1]
    assert (asking.jobs_started, asking.jobs_adopted, asking.unanswered_shards) == (3, 0, [])
    assert [(job["state"], job["attempt"], len(job["shards"])) for job in ledger(stack)] == [
        ("Completed", 1, 3),
        ("Completed", 1, 3),
        ("Completed", 1, 1),
    ]


def test_the_job_is_what_the_container_contract_needs(stack: Stack):
    ask(stack, shards(1), timeout_s=900, concurrent_transforms=4, instance_type="ml.g6.xlarge", instance_count=2)
    (job,) = stack.control.jobs.values()
    assert job.request["BatchStrategy"] == "SingleRecord"
    assert job.request["MaxConcurrentTransforms"] == 4
    assert job.request["ModelClientConfig"] == {"InvocationsTimeoutInSeconds": 900, "InvocationsMaxRetries": 1}
    given, made = job.request["TransformInput"], job.request["TransformOutput"]
    assert (given["SplitType"], made["AssembleWith"]) == ("Line", "Line")
    assert given["ContentType"] == made["Accept"] == "application/json"
    assert "DataProcessing" not in job.request
    assert job.request["TransformResources"] == {"InstanceType": "ml.g6.xlarge", "InstanceCount": 2}


def test_only_shards_without_output_are_asked_again(stack: Stack):
    pending = shards(6)
    # Once by the job and once by SageMaker's retry: the first job of these two shards fails.
    stack.container.failures = {"1-2-a": 2, "4-0-a": 2}
    asking, delivered = ask(stack, pending, jobs_at_once=1)
    assert delivered.all == sorted(ids_of(*pending))
    assert input_files(stack)[2:] == [[pending[1].name, pending[4].name]], "they share a job"
    assert stack.control.states() == ["Failed", "Failed", "Completed"]
    assert {ids for ids, count in stack.container.asked.items() if count > 1} <= set(ids_of(pending[1], pending[4]))
    assert asking.unanswered_shards == []


def test_attempts_are_bounded_and_what_stays_unanswered_is_named(stack: Stack):
    pending = shards(2)
    stack.container.failures = {"1-3-a": -1}
    asking, delivered = ask(stack, pending, attempts=3)
    assert delivered.all == sorted(ids_of(pending[0]))
    assert asking.unanswered_shards == [pending[1].name]
    assert input_files(stack) == [[shard.name for shard in pending], [pending[1].name], [pending[1].name]]
    assert len({job["name"] for job in ledger(stack)}) == 3

    # A later run tries anew, under names that SageMaker has not seen.
    stack.container.failures = {}
    asking, delivered = ask(stack, [pending[1]])
    assert delivered.all == sorted(ids_of(pending[1]))
    assert (asking.jobs_started, asking.jobs_adopted) == (1, 0)


def test_jobs_at_once(stack: Stack):
    stack.container.slow_s = 0.05
    ask(stack, shards(9), shards_a_job=1, jobs_at_once=2)
    assert len(stack.control.jobs) == 9
    assert stack.control.most_running == 2


def test_months_are_read_as_they_are_asked(stack: Stack):
    read: list[str] = []

    def lazily() -> Iterator[PendingShard]:
        for each in shards(9):
            read.append(each.name)
            yield each

    stack.container.is_open.clear()
    asking, delivered = client(stack, shards_a_job=1, jobs_at_once=2), Delivered()
    thread = threading.Thread(target=asking.answer, args=(MONTH, lazily(), delivered))
    thread.start()
    wait_until(lambda: len(stack.control.jobs) == 2)
    assert len(read) == 2, "no more is read than there is room for"
    stack.container.is_open.set()
    thread.join(20)
    assert len(delivered.all) == 36


def test_answers_of_others_and_second_answers_are_left_out(stack: Stack):
    honest = stack.container.answer

    def confused(request: dict) -> str:
        if request["custom_id"] == "0-1-a":
            return honest({**request, "custom_id": "0-0-a"})
        if request["custom_id"] == "0-2-a":
            return honest({**request, "custom_id": "9-9-z"})
        return "not a response" if request["custom_id"] == "0-3-a" else honest(request)

    stack.container.answer = confused
    asking, delivered = ask(stack, shards(1))
    assert delivered.all == ["0-0-a"]
    assert asking.unanswered_shards == [shard(0).name]


def test_characters_that_only_look_like_line_ends(stack: Stack):
    honest = stack.container.answer
    stack.container.answer = lambda request: honest(request).replace("answer to", "tea\u2028and\u0085milk")
    body = {"model": "little-model", "messages": [{"role": "user", "content": "tea\u2028and\u0085milk"}]}
    asking, delivered = ask(stack, [PendingShard("shard-00000.jsonl", [request_line("x", body)])])
    assert delivered.all == ["x"]
    assert asking.unanswered_shards == []


RUN = """
import sys
from warehouse.files import open_filesystem
from warehouse.llm.sagemaker_client import SageMakerClient, TransformParams
from warehouse.llm.shards import answer_month
lake, staging, *shards = sys.argv[1:]
polls = {"first_poll_s": 0.05, "last_poll_s": 0.1}
params = TransformParams("little-model", staging, shards_a_job=2, jobs_at_once=2, concurrent_transforms=2, **polls)
answer_month(open_filesystem(lake), "2017-05", shards, SageMakerClient(params))
"""


def test_killed_and_resumed_asks_nobody_twice_and_loses_none(stack: Stack, tmp_path: Path):
    pending = [shard(number, requests=8) for number in range(10)]
    names = [shard.name for shard in pending]
    lake = open_filesystem(str(tmp_path))
    for each in pending:
        write_lines(lake, f"{requests_folder(MONTH)}/{each.name}", each.lines)
    stack.container.slow_s = 0.1
    asked = stack.container.asked
    # Each time a new process takes the month up, and is killed when so many requests have reached the container: in
    # the midst of the first two jobs, of the next two, and of the fifth.
    for requests in (5, 36, 66):
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(tmp_path), stack.staging_uri, *names],
            env=os.environ | stack.environment | {"PYTHONPATH": "."},
        )
        wait_until(lambda most=requests: asked.total() >= most)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert "InProgress" in stack.control.states(), "the control plane goes on"

    asking = client(stack, shards_a_job=2)
    counts = answer_month(lake, MONTH, names, asking)
    assert counts["reused"] + counts["asked"] == 80
    assert counts["reused"] > 0
    assert asking.jobs_adopted > 0
    assert asked == dict.fromkeys(ids_of(*pending), 1)
    assert len(stack.control.jobs) == 5
    for each in pending:
        answered = [custom_id_of(line) for line in read_lines(lake, f"{responses_folder(MONTH)}/{each.name}")]
        assert sorted(answered) == ids_of(each)


def test_a_running_job_is_adopted_for_what_is_still_pending(stack: Stack):
    pending = shards(3)
    leave_running(stack, pending, jobs=1)
    # Two requests of one shard were answered otherwise since; one shard's requests have changed.
    fewer = replace(pending[0], lines=pending[0].lines[2:])
    changed = replace(pending[1], lines=pending[1].lines[:2] + shard(1, content="b").lines[2:])
    threading.Timer(0.3, stack.container.is_open.set).start()
    asking, delivered = ask(stack, [fewer, changed, pending[2]])
    assert delivered.all == sorted(ids_of(fewer, changed, pending[2]))
    assert (asking.jobs_started, asking.jobs_adopted, asking.unanswered_shards) == (1, 1, [])
    assert input_files(stack)[1] == [changed.name]
    twice = {custom_id for custom_id, count in stack.container.asked.items() if count > 1}
    assert twice <= set(ids_of(changed))


def test_what_an_adopted_job_leaves_is_asked_for_pending_requests_only(stack: Stack):
    stack.container.failures = {"0-3-a": 4}  # the parked run's job retries three times
    leave_running(stack, shards(1), jobs=1, invocation_retries=3)
    threading.Timer(0.3, stack.container.is_open.set).start()
    fewer = replace(shard(0), lines=shard(0).lines[2:])
    asking, delivered = ask(stack, [fewer])
    assert delivered.all == ["0-2-a", "0-3-a"]
    assert stack.control.states() == ["Failed", "Completed"]
    assert stack.container.asked == {"0-0-a": 1, "0-1-a": 1, "0-2-a": 2, "0-3-a": 5}
    assert (asking.jobs_started, asking.jobs_adopted, asking.unanswered_shards) == (1, 1, [])


def test_a_job_whose_requests_are_not_pending_any_more_is_stopped(stack: Stack):
    leave_running(stack, shards(3), jobs=1, jobs_at_once=1)
    threading.Timer(0.5, stack.container.is_open.set).start()
    others = [shard(number, content="b") for number in range(3)]
    _asking, delivered = ask(stack, others, jobs_at_once=1)
    assert delivered.all == sorted(ids_of(*others))
    assert stack.control.calls["StopTransformJob"] == 1
    assert stack.control.states() == ["Stopped", "Completed"]
    assert [job["state"] for job in ledger(stack)] == ["Stopped", "Completed"]
    assert stack.control.most_running == 1


def test_nothing_pending_stops_what_a_killed_run_left(stack: Stack):
    leave_running(stack, shards(2), jobs=1)
    ask(stack, [])
    assert_stopped(stack)
    stack.container.is_open.set()
    wait_until(lambda: stack.control.states() == ["Stopped"])


def test_stale_jobs_hold_no_place_for_long(stack: Stack):
    """All places are taken by jobs of shards that come last: the month is read ahead until that is known."""
    leave_running(stack, [shard(number, content="old") for number in (7, 8)], jobs=2, shards_a_job=1)
    threading.Timer(1, stack.container.is_open.set).start()
    _asking, delivered = ask(stack, shards(9), shards_a_job=1)
    assert delivered.all == sorted(ids_of(*shards(9)))
    assert stack.control.states()[:2] == ["Stopped", "Stopped"]
    assert stack.control.most_running == 2


def test_outputs_that_lie_there_are_fetched_even_without_the_ledger(stack: Stack):
    pending = shards(3)
    ask(stack, pending)
    stack.s3.delete_object(Bucket=stack.bucket, Key=f"staging/{MONTH}/jobs.json")
    asking, delivered = ask(stack, pending)
    assert delivered.all == sorted(ids_of(*pending))
    assert (asking.jobs_started, asking.jobs_adopted) == (0, 1)
    assert set(stack.container.asked.values()) == {1}


def test_answers_of_a_job_that_ended_unseen_are_delivered(stack: Stack):
    pending = shards(3)
    leave_running(stack, pending, jobs=1)
    stack.container.is_open.set()
    wait_until(lambda: stack.control.states() == ["Completed"])
    asking, delivered = ask(stack, pending)
    assert delivered.all == sorted(ids_of(*pending))
    assert (asking.jobs_started, asking.jobs_adopted) == (0, 0)


def test_an_error_line_is_delivered_once_and_asked_again_by_the_next_run(stack: Stack):
    honest = stack.container.answer
    stack.container.answer = lambda request: (
        error_line("0-1-a", 400, "too_long", "") if request["custom_id"] == "0-1-a" else honest(request)
    )
    _asking, delivered = ask(stack, shards(1))
    assert delivered.all == sorted(ids_of(shard(0)))
    stack.container.answer = honest
    only = PendingShard(shard(0).name, [line for line in shard(0).lines if custom_id_of(line) == "0-1-a"])
    _asking, delivered = ask(stack, [only])
    assert delivered.all == ["0-1-a"]
    assert stack.container.asked["0-1-a"] == 2


def test_a_deadline_stops_the_jobs(stack: Stack):
    stack.container.is_open.clear()
    now = [0.0]
    asking = SageMakerClient(
        params(stack, deadline_s=600, first_poll_s=5, last_poll_s=60, shards_a_job=1),
        sagemaker=stack.client("sagemaker"),
        s3=stack.client("s3"),
        sleep=lambda seconds: now.__setitem__(0, now[0] + seconds),
        clock=lambda: now[0],
    )
    with pytest.raises(LlmUnavailable, match=r"not done within 600 s\. Stopped: replenish-2017-05-\w{16}-1, replenish"):
        asking.answer(MONTH, shards(3), Delivered())
    assert_stopped(stack)
    assert now[0] == 600
    assert stack.control.calls["DescribeTransformJob"] <= 2 * 20, "polls back off"

    # The next run waits for the stopped jobs to be gone, and asks what they had not answered.
    stack.container.is_open.set()
    _asking, delivered = ask(stack, shards(3))
    assert delivered.all == sorted(ids_of(*shards(3)))


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interrupt_or_an_error_stops_the_jobs(stack: Stack, error: type[BaseException], caplog):
    def interrupted(_seconds: float) -> None:
        raise error

    stack.container.is_open.clear()
    with pytest.raises(error):
        client(stack, interrupted).answer(MONTH, shards(2), Delivered())
    assert_stopped(stack)
    assert "Stopped transform jobs: replenish-2017-05-" in caplog.text


def test_jobs_outlive_a_silence_of_aws(stack: Stack):
    stack.container.is_open.clear()
    asking, delivered = client(stack), Delivered()
    thread = threading.Thread(target=asking.answer, args=(MONTH, shards(2), delivered))
    thread.start()
    wait_until(lambda: len(stack.control.jobs) == 1)
    stack.control.refusals = {"DescribeTransformJob": ("ThrottlingException", "Rate exceeded")}
    before = stack.control.calls["DescribeTransformJob"]
    wait_until(lambda: stack.control.calls["DescribeTransformJob"] > before + 4)
    stack.container.is_open.set()
    stack.control.refusals = {}
    thread.join(20)
    assert delivered.all == sorted(ids_of(*shards(2)))
    assert stack.control.calls["StopTransformJob"] == 0


def test_a_long_silence_of_aws_ends_the_run(stack: Stack):
    stack.container.is_open.clear()
    stack.control.refusals = {"DescribeTransformJob": ("InternalFailure", "")}
    with pytest.raises(LlmUnavailable, match="did not do DescribeTransformJob"):
        ask(stack, shards(2), silence_s=0.3)
    assert_stopped(stack)


def test_a_model_that_never_answers_is_not_asked_for_the_whole_month(stack: Stack):
    stack.container.failures = {custom_id: -1 for custom_id in ids_of(*shards(20))}
    with pytest.raises(LlmUnavailable, match="3 transform jobs one after another gave no output"):
        ask(stack, shards(20), shards_a_job=2, fruitless_jobs=3, jobs_at_once=1)
    assert len(stack.control.jobs) <= 4, "the fourth was on its way when the third ended"


def test_no_customer_data_is_logged(stack: Stack, caplog):
    caplog.set_level("DEBUG", "warehouse")
    stack.container.failures = {"1-2-a": 2}
    ask(stack, shards(2))
    assert "1 of 2 outputs" in caplog.text
    said = " ".join(record.getMessage() for record in caplog.records if record.name.startswith("warehouse"))
    assert not any(custom_id in said for custom_id in ids_of(*shards(2)))


def test_a_quota_that_is_used_up_is_waited_for_only_while_own_jobs_run(stack: Stack):
    refused = ("ResourceLimitExceeded", "The account-level service limit 'ml.g5.2xlarge for transform job usage'")
    stack.control.refusals = {"CreateTransformJob": refused}
    with pytest.raises(LlmUnavailable, match=r"starts no 1 × ml\.g5\.2xlarge"):
        ask(stack, shards(2))
    asking, delivered = client(stack, shards_a_job=1), Delivered()
    real = asking._sagemaker.create_transform_job

    def one_at_a_time(**request: object) -> dict:
        limited = "InProgress" in stack.control.states()
        stack.control.refusals = {"CreateTransformJob": refused} if limited else {}
        return real(**request)

    asking._sagemaker = SimpleNamespace(
        create_transform_job=one_at_a_time,
        describe_transform_job=asking._sagemaker.describe_transform_job,
        stop_transform_job=asking._sagemaker.stop_transform_job,
    )
    asking.answer(MONTH, shards(3), delivered)
    assert len(delivered.all) == 12
    assert stack.control.most_running == 1
    assert len(ledger(stack)) == 3


def expect_refusal(stack: Stack, kind: type[Exception], text: str, **changes: object) -> str:
    before = time.monotonic()
    with pytest.raises(kind, match=text) as refused:
        ask(stack, shards(2), **changes)
    assert time.monotonic() - before < 5
    assert not any(custom_id in str(refused.value) for custom_id in ids_of(*shards(2)))
    return str(refused.value)


def test_a_missing_bucket(stack: Stack):
    expect_refusal(stack, SettingsError, "REPLENISH_LLM_STAGING_URI is 's3://no-such", staging_uri="s3://no-such/x")
    assert not stack.control.jobs


def test_an_unknown_model(stack: Stack):
    expect_refusal(stack, SettingsError, "REPLENISH_LLM is 'sagemaker:nobody'.* no model", model_name="nobody")


def test_a_name_that_boto3_refuses(stack: Stack):
    expect_refusal(stack, SettingsError, "REPLENISH_LLM is 'sagemaker:'", model_name="")


@pytest.mark.parametrize("operation", ["CreateTransformJob", "DescribeTransformJob"])
def test_access_denied_by_sagemaker(stack: Stack, operation: str):
    stack.control.refusals = {operation: ("AccessDeniedException", "User: arn:aws:sts::1:x is not authorized")}
    said = expect_refusal(stack, SettingsError, f"{operation} on s3://.* was denied; the role in use needs")
    assert "s3:GetObject, PutObject and ListBucket" in said


def test_access_denied_by_s3(stack: Stack):
    def deny(**_call: object) -> tuple:
        parsed = {"Error": {"Code": "AccessDenied", "Message": "Access Denied"}, "ResponseMetadata": {}}
        return SimpleNamespace(status_code=403), parsed

    s3 = stack.client("s3")
    s3.meta.events.register("before-call.s3.GetObject", deny)
    asking = SageMakerClient(params(stack), sagemaker=stack.client("sagemaker"), s3=s3)
    with pytest.raises(SettingsError, match=r"GetObject on s3://.* was denied"):
        asking.answer(MONTH, shards(1), Delivered())


def test_credentials_that_are_not_accepted(stack: Stack):
    stack.control.refusals = {"CreateTransformJob": ("ExpiredTokenException", "The security token is expired")}
    expect_refusal(stack, SettingsError, r"does not accept the credentials in use \(ExpiredTokenException\)")


def test_no_credentials_and_no_region(stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    # It keeps the credentials that it found first, in whatever test that was.
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    asking = SageMakerClient(params(stack))
    with pytest.raises(SettingsError, match="no AWS region is set"):
        asking.answer(MONTH, shards(1), Delivered())
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with pytest.raises(SettingsError, match=r"REPLENISH_LLM is 'sagemaker:little-model'.*credentials"):
        asking.answer(MONTH, shards(1), Delivered())


def test_an_endpoint_that_nobody_listens_at(stack: Stack):
    nowhere = open_client("sagemaker", "http://127.0.0.1:9", attempts=2)
    asking = SageMakerClient(params(stack), sagemaker=nowhere, s3=stack.client("s3"))
    with pytest.raises(LlmUnavailable, match="AWS cannot be reached"):
        asking.answer(MONTH, shards(1), Delivered())


def test_a_service_that_fails(stack: Stack):
    stack.control.refusals = {"CreateTransformJob": ("ThrottlingException", "Rate exceeded")}
    expect_refusal(stack, LlmUnavailable, r"did not do CreateTransformJob \(ThrottlingException\)")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"concurrent_transforms": 20, "max_payload_mb": 6}, "more than the 100 MB"),
        ({"timeout_s": 3601}, "timeout_s of the transform jobs is 3601; it takes: 1 to 3600"),
        ({"invocation_retries": 4}, "0 to 3"),
        ({"jobs_at_once": 0}, "jobs_at_once"),
        ({"staging_uri": "bucket/prefix"}, "REPLENISH_LLM_STAGING_URI is 'bucket/prefix'; it takes: s3://"),
    ],
)
def test_settings_that_sagemaker_would_refuse(changes: dict, text: str):
    with pytest.raises(SettingsError, match=text):
        TransformParams(**({"model_name": "m", "staging_uri": "s3://b/p"} | changes))


def test_the_stand_in_answers_a_month_and_a_shard_with_a_failing_record_falls_back(stack: Stack):
    lines = made_up_requests(60)
    failing = {custom_id_of(line) for line in lines if misbehaviour_of(custom_id_of(line), {"shard_failure": 0.05})}
    pending = shards_of(lines, 20)
    spoiled = [each.name for each in pending if failing & set(ids_of(each))]
    assert 0 < len(spoiled) < len(pending)
    with running(misbehave={"shard_failure": 0.05}) as address:
        stack.control.container_port = int(address.rpartition(":")[2])
        asking, delivered = ask(stack, pending, attempts=2)
    assert asking.unanswered_shards == spoiled
    assert delivered.all == sorted(i for each in pending if each.name not in spoiled for i in ids_of(each))
