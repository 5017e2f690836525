"""A real S3 server for tests: versitygw, built once from its source by Go's module proxy, on loopback, on a folder.

``installed`` builds it into the cache of ``REPLENISH_HOME``; ``running`` starts it. Not here: what is tested with it.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

MODULE, VERSION = "github.com/versity/versitygw/cmd/versitygw", "v1.8.0"
# Letters and digits only: DynamoDB Local, which is run beside it with the same, refuses other key ids.
KEY, SECRET, REGION = "testkey", "testsecret", "us-east-1"
BUCKET = "replenish"
CACHE = Path(os.environ.get("REPLENISH_HOME", Path(__file__).parents[1] / ".replenish")).absolute() / "cache"


def installed(cache: Path = CACHE) -> Path:
    """The server's program; built first where it is not there, which takes a few minutes once.

    Skips the test where there is neither the program nor Go.
    """
    program = cache / "tools" / f"versitygw-{VERSION}"
    if program.exists():
        return program
    if shutil.which("go") is None:
        pytest.skip("no S3 server: versitygw is built with Go 1.24 or newer, and there is no 'go' on PATH")
    program.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=program.parent) as scratch:
        environment = {**os.environ, "GOBIN": scratch}
        command = ["go", "install", f"{MODULE}@{VERSION}"]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
        if run.returncode:
            raise AssertionError(f"versitygw could not be built: {run.stderr[-1000:]}")
        (Path(scratch) / "versitygw").replace(program)
    return program


class S3Server:
    """One server process on a folder and a port that stay the same when it is killed and started again."""

    def __init__(self, folder: Path, program: Path) -> None:
        self.folder, self.program = folder, program
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which AWS's own chain finds the credentials; the metadata service is not looked for."""
        names = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": REGION}
        return names | {"AWS_EC2_METADATA_DISABLED": "true"}

    def settings(self, prefix: str) -> dict[str, str]:
        """Settings by name: landing, lake and vectors below a prefix of the bucket."""
        uris = {f"{name}_uri": f"s3://{BUCKET}/{prefix}/{name}" for name in ("landing", "lake", "vectors")}
        return uris | {"s3_endpoint": self.endpoint}

    def client(self) -> Any:
        import boto3

        keys = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, "region_name": REGION}
        return boto3.client("s3", endpoint_url=self.endpoint, **keys)

    def start(self) -> None:
        command = [str(self.program), "--port", f"127.0.0.1:{self.port}", "--access", KEY, "--secret", SECRET]
        # Without --keep-alive: with it, one request in some tens is answered 400, as one that cannot be parsed.
        command += ["--region", REGION, "--quiet", "posix", str(self.folder)]
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                httpx.get(self.endpoint, timeout=2)
                return
            except httpx.TransportError:
                assert self.process.poll() is None, "the S3 server ended at once"
                time.sleep(0.1)
        raise AssertionError("the S3 server did not answer within 30 seconds")

    def kill(self) -> None:
        """Ends the process as a machine that fails does."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(timeout=20)
            self.process = None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running(folder: Path) -> Iterator[S3Server]:
    """A server with one bucket, until the ``with`` ends; skips the test where it cannot be had."""
    server = S3Server(folder / "s3", installed())
    server.start()
    try:
        server.client().create_bucket(Bucket=BUCKET)
        yield server
    finally:
        server.kill()
