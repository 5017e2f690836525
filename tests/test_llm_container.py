"""SageMaker's container contract: the inference container, and the stand-in's own routes for it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from benchmarks.llm_client import made_up_requests
from warehouse.llm.contract import custom_id_of, parse_response
from warehouse.llm.stand_in_answers import MODEL, misbehaviour_of
from warehouse.llm.stand_in_process import await_port, free_port, running

pytestmark = pytest.mark.process

SHARES = {"bad_request": 0.2, "always_error": 0.2, "truncated": 0.2, "broken_body": 0.2}
LINES = made_up_requests(60, candidates=4)


def line_that(kind: str | None) -> str:
    """A request to which the engine misbehaves that way."""
    return next(line for line in LINES if misbehaviour_of(custom_id_of(line), SHARES) == kind)


@contextmanager
def container(engine: str, **environment: str) -> Iterator[httpx.Client]:
    """A container in a process of its own, started as SageMaker does, and a client of it."""
    port = free_port()
    command = ["warehouse.llm.container", "--engine", engine, "--port", str(port), "--host", "127.0.0.1", "serve"]
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=Path(__file__).parents[1],
        env={name: value for name, value in os.environ.items() if name != "REPLENISH_LLM_API_KEY"} | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        await_port(port, process)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield client
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    with running(misbehave=SHARES) as address:
        yield address


@pytest.fixture(scope="module")
def asked(engine: str) -> Iterator[httpx.Client]:
    with container(f"{engine}/v1") as client:
        yield client


@pytest.fixture(scope="module", params=["container", "stand-in"])
def either(request: pytest.FixtureRequest, engine: str, asked: httpx.Client) -> Iterator[httpx.Client]:
    """The container, or the stand-in that speaks the same contract."""
    if request.param == "container":
        yield asked
        return
    with httpx.Client(base_url=engine, timeout=30) as client:
        yield client


def test_a_ping_waits_for_the_engine():
    port = free_port()
    with container(f"http://127.0.0.1:{port}/v1") as client:
        assert client.get("/ping").status_code == 503
        down = client.post("/invocations", content=line_that(None))
        assert (down.status_code, down.text) == (503, "the engine did not answer (no response)")
        with running(port=port):
            assert client.get("/ping").status_code == 200
            assert client.post("/invocations", content=line_that(None)).status_code == 200
        assert client.get("/ping").status_code == 503


def test_a_record_is_answered_with_one_line(either: httpx.Client):
    line = line_that(None)
    response = either.post("/invocations", content=line + "\n", headers={"content-type": "application/json"})
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert "\n" not in response.text
    answer = parse_response(response.text)
    assert (answer.custom_id, answer.finish_reason) == (custom_id_of(line), "stop")
    assert json.loads(response.text)["response"]["body"]["model"] == MODEL
    assert answer.prompt_tokens > 0


def test_several_records_are_answered_in_their_order(either: httpx.Client):
    lines = [line for line in LINES if misbehaviour_of(custom_id_of(line), SHARES) in (None, "truncated")]
    response = either.post("/invocations", content="\n".join(lines))
    assert response.status_code == 200
    answers = [parse_response(line) for line in response.text.split("\n")]
    assert [answer.custom_id for answer in answers] == [custom_id_of(line) for line in lines]
    assert all(answer.is_finished for answer in answers)


@pytest.mark.parametrize(
    ("kind", "status", "code"), [("bad_request", 400, "http_status"), ("broken_body", 200, "not_a_completion")]
)
def test_a_record_that_the_engine_refuses_fails_alone(either: httpx.Client, kind: str, status: int, code: str):
    lines = [line_that(None), line_that(kind)]
    response = either.post("/invocations", content="\n".join(lines))
    assert response.status_code == 200
    good, bad = (json.loads(line) for line in response.text.split("\n"))
    assert (good["custom_id"], good["error"]) == (custom_id_of(lines[0]), None)
    assert (bad["custom_id"], bad["response"]["status_code"]) == (custom_id_of(lines[1]), status)
    assert bad["error"]["code"] == code


@pytest.mark.parametrize(
    ("line", "custom_id"),
    [
        ("not json", ""),
        ("[1]", ""),
        ('{"body": {}}', ""),
        ('{"custom_id": 7, "body": {}}', ""),
        ('{"custom_id": "x1"}', "x1"),
        ('{"custom_id": "x2", "body": "hello"}', "x2"),
    ],
)
def test_a_line_outside_the_contract_fails_alone(either: httpx.Client, line: str, custom_id: str):
    response = either.post("/invocations", content=f"{line}\n{line_that(None)}")
    assert response.status_code == 200
    bad, good = (parse_response(answer) for answer in response.text.split("\n"))
    assert (bad.custom_id, bad.is_finished) == (custom_id, False)
    assert good.is_finished


def test_an_engine_that_fails_is_asked_again_by_sagemaker(either: httpx.Client):
    response = either.post("/invocations", content=f"{line_that(None)}\n{line_that('always_error')}")
    assert (response.status_code, response.text) == (503, "the engine did not answer (HTTP 500)")


def test_an_engine_that_refuses_every_record_fails_the_job(engine: str):
    with running(api_key="right-key") as locked:
        with container(f"{locked}/v1") as client:
            assert client.get("/ping").status_code == 503
            response = client.post("/invocations", content=line_that(None))
            assert (response.status_code, "mend" in response.text) == (500, True)
        with container(f"{locked}/v1", REPLENISH_LLM_API_KEY="right-key") as client:
            assert client.get("/ping").status_code == 200
            assert client.post("/invocations", content=line_that(None)).status_code == 200


def test_the_stand_in_fails_the_shards_of_some_records():
    shares = {"shard_failure": 0.5}
    with running(misbehave=shares) as address:
        for line in LINES[:6]:
            fails = misbehaviour_of(custom_id_of(line), shares) == "shard_failure"
            assert httpx.post(f"{address}/invocations", content=line).status_code == (500 if fails else 200)
            answer = httpx.post(f"{address}/v1/chat/completions", json=json.loads(line)["body"])
            assert answer.status_code == 200
        stats = httpx.get(f"{address}/stats").json()
    assert stats["requests"]["/invocations"] == 6


def test_a_container_without_an_address_says_so():
    command = [sys.executable, "-m", "warehouse.llm.container", "--engine", "nowhere"]
    run = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr.startswith("the address of the model's server cannot be used")
