"""A local AWS for the SageMaker client, over real HTTP: S3 by moto, and transform jobs that are really carried out.

moto knows transform jobs only by name: they are Completed at once and write nothing. The control plane here does what
the documentation says of Batch Transform: each line of each file is one ``POST /invocations``, a file's output is
uploaded only if all of its lines succeeded, and a job with a file that failed is Failed.
"""

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
from botocore.config import Config
from moto.server import ThreadedMotoServer

from warehouse.llm.contract import response_line

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_DEFAULT_REGION": "us-east-1"}


class _Server:
    """A threading HTTP server on a free port of this machine; ``handle`` takes and returns plain values."""

    def __init__(self, handle: Callable[[str, dict[str, str], bytes], tuple[int, bytes]]) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._reply(b"")

            def do_POST(self) -> None:
                self._reply(self.rfile.read(int(self.headers["Content-Length"])))

            def _reply(self, body: bytes) -> None:
                status, answer = handle(self.path, dict(self.headers), body)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Container:
    """``GET /ping`` and ``POST /invocations`` by the contract; not a model: it repeats the id it was asked for.

    ``asked`` counts requests by ``custom_id``. ``failures`` says how often an id is answered with 500 (``-1``:
    always). ``slow_s`` delays every answer; requests wait while ``is_open`` is clear.
    """

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.failures: dict[str, int] = {}
        self.slow_s = 0.0
        self.is_open = threading.Event()
        self.is_open.set()
        self.answer: Callable[[dict], str] = lambda request: response_line(
            request["custom_id"], request["body"]["model"], f"answer to {request['custom_id']}", 7, 3
        )
        self._lock = threading.Lock()
        self._never = threading.Event()
        self._server = _Server(self._handle)
        self.port = self._server.port

    def _handle(self, path: str, _headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        if path == "/ping":
            return 200, b""
        request = json.loads(body)
        with self._lock:
            self.asked[request["custom_id"]] += 1
            left = self.failures.get(request["custom_id"], 0)
            self.failures[request["custom_id"]] = left - 1 if left > 0 else left
        self.is_open.wait(30)
        self._never.wait(self.slow_s)
        if left:
            return 500, b'{"error": "told to fail"}'
        return 200, self.answer(request).encode()

    def close(self) -> None:
        self.is_open.set()
        self._server.close()


@dataclass
class Transform:
    """A transform job of the control plane."""

    request: dict[str, Any]
    status: str = "InProgress"
    files: list[str] = field(default_factory=list)
    is_stopped: threading.Event = field(default_factory=threading.Event)

    def uri(self, direction: str) -> tuple[str, str]:
        """Bucket and key prefix of the ``input`` or the ``output``."""
        if direction == "input":
            uri = self.request["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"]
        else:
            uri = self.request["TransformOutput"]["S3OutputPath"]
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        return bucket, prefix


class Refused(Exception):
    """The control plane answers with an AWS error: code and message."""


class ControlPlane:
    """Speaks SageMaker's JSON protocol, and carries transform jobs out, each in a thread of its own.

    ``models`` are those that exist; ``refusals`` maps an operation to the error it answers with. ``calls`` counts
    operations, ``most_running`` is the most jobs that ran at the same time. ``container_port`` is where records go.
    """

    def __init__(self, s3: Any, container_port: int) -> None:
        self.models = {"little-model"}
        self.refusals: dict[str, tuple[str, str]] = {}
        self.jobs: dict[str, Transform] = {}
        self.calls: Counter[str] = Counter()
        self.most_running = 0
        self._s3, self.container_port = s3, container_port
        self._lock = threading.Lock()
        self._server = _Server(self._handle)
        self.url = self._server.url

    def close(self) -> None:
        for job in self.jobs.values():
            job.is_stopped.set()
        self._server.close()

    def states(self) -> list[str]:
        return [job.status for job in self.jobs.values()]

    def _handle(self, _path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        operation = headers["X-Amz-Target"].removeprefix("SageMaker.")
        operations = {
            "CreateTransformJob": self._create,
            "DescribeTransformJob": self._describe,
            "StopTransformJob": self._stop,
            "ListTransformJobs": self._list,
        }
        try:
            self.calls[operation] += 1
            if operation in self.refusals:
                raise Refused(*self.refusals[operation])
            return 200, json.dumps(operations[operation](json.loads(body))).encode()
        except Refused as refused:
            code, message = refused.args
            status = 500 if code == "InternalFailure" else 400
            return status, json.dumps({"__type": code, "message": message}).encode()

    def _create(self, request: dict[str, Any]) -> dict[str, Any]:
        name, model = request["TransformJobName"], request["ModelName"]
        if not re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", name):
            raise Refused("ValidationException", f"Value '{name}' at 'transformJobName' failed to satisfy constraint")
        if model not in self.models:
            raise Refused("ValidationException", f'Could not find model "arn:aws:sagemaker:us-east-1:1:model/{model}".')
        if request["MaxConcurrentTransforms"] * request["MaxPayloadInMB"] > 100:
            raise Refused("ValidationException", "MaxConcurrentTransforms * MaxPayloadInMB must not exceed 100 MB")
        with self._lock:
            if name in self.jobs:
                raise Refused("ResourceInUse", "Job name must be unique within an AWS account and region")
            job = self.jobs[name] = Transform(request)
            self.most_running = max(self.most_running, self.states().count("InProgress"))
        threading.Thread(target=self._carry_out, args=(job,), daemon=True).start()
        return {"TransformJobArn": f"arn:aws:sagemaker:us-east-1:1:transform-job/{name}"}

    def _job(self, request: dict[str, Any]) -> Transform:
        if (job := self.jobs.get(request["TransformJobName"])) is None:
            raise Refused("ValidationException", "Requested resource not found.")
        return job

    def _describe(self, request: dict[str, Any]) -> dict[str, Any]:
        job = self._job(request)
        failed = {"FailureReason": "AlgorithmError: See job logs"} if job.status == "Failed" else {}
        kept = ("TransformJobName", "ModelName", "TransformInput", "TransformOutput", "TransformResources")
        return {"TransformJobStatus": job.status, **failed, **{key: job.request[key] for key in kept}}

    def _stop(self, request: dict[str, Any]) -> dict[str, Any]:
        job = self._job(request)
        if job.status not in {"InProgress", "Stopping"}:
            raise Refused("ValidationException", f"The request was rejected because the job is in status {job.status}")
        job.status = "Stopping"
        job.is_stopped.set()
        return {}

    def _list(self, _request: dict[str, Any]) -> dict[str, Any]:
        return {
            "TransformJobSummaries": [
                {"TransformJobName": name, "TransformJobStatus": job.status} for name, job in self.jobs.items()
            ]
        }

    def _carry_out(self, job: Transform) -> None:
        bucket, prefix = job.uri("input")
        found = self._s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
        job.files = [item["Key"] for item in found]
        succeeded = [self._transform(job, bucket, key) for key in job.files if not job.is_stopped.is_set()]
        if job.is_stopped.is_set():
            job.status = "Stopped"
        else:
            job.status = "Completed" if all(succeeded) else "Failed"

    def _transform(self, job: Transform, bucket: str, key: str) -> bool:
        lines = self._s3.get_object(Bucket=bucket, Key=key)["Body"].read().splitlines()
        with ThreadPoolExecutor(job.request["MaxConcurrentTransforms"]) as pool:
            answers = list(pool.map(lambda line: self._invoke(job, line), lines))
        if any(answer is None for answer in answers):
            return False
        out_bucket, out_prefix = job.uri("output")
        name = key.removeprefix(job.uri("input")[1])
        body = b"".join(answer + b"\n" for answer in answers if answer is not None)
        self._s3.put_object(Bucket=out_bucket, Key=f"{out_prefix}/{name}.out", Body=body)
        return True

    def _invoke(self, job: Transform, line: bytes) -> bytes | None:
        settings = job.request["ModelClientConfig"]
        for _try in range(1 + settings["InvocationsMaxRetries"]):
            if job.is_stopped.is_set():
                return None
            connection = HTTPConnection("127.0.0.1", self.container_port, settings["InvocationsTimeoutInSeconds"])
            try:
                connection.request("POST", "/invocations", line, {"Content-Type": "application/json"})
                response = connection.getresponse()
                answer = response.read()
                if response.status == 200:
                    return answer
            except (OSError, HTTPException):
                pass
            finally:
                connection.close()
        return None


@dataclass
class Stack:
    """The whole: a bucket, the control plane and the container."""

    bucket: str
    s3_url: str
    s3: Any
    control: ControlPlane
    container: Container

    @property
    def staging_uri(self) -> str:
        return f"s3://{self.bucket}/staging"

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which boto3's own chain finds this stack, for a process of its own."""
        return CREDENTIALS | {"AWS_ENDPOINT_URL_S3": self.s3_url, "AWS_ENDPOINT_URL_SAGEMAKER": self.control.url}

    def client(self, service: str, endpoint: str | None = None, attempts: int = 2) -> Any:
        """A boto3 client of this stack, or of another ``endpoint``."""
        url = endpoint or (self.s3_url if service == "s3" else self.control.url)
        return open_client(service, url, attempts)


def open_client(service: str, url: str, attempts: int = 2) -> Any:
    """A boto3 client with dummy credentials."""
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=CREDENTIALS["AWS_DEFAULT_REGION"],
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(retries={"mode": "standard", "total_max_attempts": attempts}),
    )


@contextmanager
def s3_server() -> Iterator[str]:
    """An S3 server by moto; yields its address."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextmanager
def open_stack(s3_url: str, bucket: str) -> Iterator[Stack]:
    """A new bucket, and a control plane and a container of its own."""
    s3 = open_client("s3", s3_url)
    s3.create_bucket(Bucket=bucket)
    container = Container()
    control = ControlPlane(s3, container.port)
    try:
        yield Stack(bucket, s3_url, s3, control, container)
    finally:
        control.close()
        container.close()
