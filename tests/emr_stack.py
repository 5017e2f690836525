"""A local EMR Serverless over real HTTP: jobs are really carried out, as processes of this machine.

It does what the documentation says of a job run: the entry point, its arguments and the Spark properties of the
request make a process, ``driverEnv`` properties its environment, ``EMR.secret@`` a look into Secrets Manager, and the
exit status the job's state. What the image of a real application holds in ``/opt/replenish`` is this checkout, and
Spark is a local one, because there is no spark-submit in between.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

from assets.emr import IMAGE_ROOT

REPOSITORY = Path(__file__).parents[1]
_DRIVER = "spark.emr-serverless.driverEnv."
_SECRET = "EMR.secret@"


@dataclass
class Job:
    """A job run: what was asked for, and the process that does it."""

    request: dict[str, Any]
    environment: dict[str, str]
    process: subprocess.Popen[bytes]
    is_cancelled: bool = False

    @property
    def state(self) -> str:
        status = self.process.poll()
        if self.is_cancelled:
            return "CANCELLED"
        return "RUNNING" if status is None else "FAILED" if status else "SUCCESS"


@dataclass
class EmrServerless:
    """The service. ``given`` wins over a job's environment: the address of S3, a small Spark, a folder as lake."""

    given: Mapping[str, str]
    secrets: Mapping[str, str] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    url: str = ""

    def handle(self, method: str, path: str, body: bytes) -> dict[str, Any]:
        application, job_id, rest = re.fullmatch(r"/applications/(\w+)/jobruns(?:/(\w+))?(/dashboard)?", path).groups()
        if method == "POST":
            job_id = f"job{len(self.jobs)}"
            self.jobs[job_id] = self._start(json.loads(body))
        names = {"applicationId": application, "jobRunId": job_id, "arn": f"arn:aws:emr-serverless:::{job_id}"}
        if method == "GET" and not rest:
            job = self.jobs[job_id]
            driver, role = job.request["jobDriver"], job.request["executionRoleArn"]
            stamps = {"createdBy": "test", "createdAt": 0, "updatedAt": 0, "releaseLabel": "stand-in"}
            return {
                "jobRun": {**names, **stamps, "state": job.state, "stateDetails": "", "executionRole": role}
                | {"jobDriver": driver}
            }
        if method == "DELETE":
            self.jobs[job_id].is_cancelled = True
            self.jobs[job_id].process.terminate()
        return {**names, "url": "http://127.0.0.1/none"}

    def _start(self, request: dict[str, Any]) -> Job:
        submit = request["jobDriver"]["sparkSubmit"]
        properties = dict(request["configurationOverrides"]["applicationConfiguration"][0]["properties"])
        words = shlex.split(submit["sparkSubmitParameters"])
        properties |= dict(pair.split("=", 1) for flag, pair in pairwise(words) if flag == "--conf")
        asked = {name.removeprefix(_DRIVER): text for name, text in properties.items() if name.startswith(_DRIVER)}
        driver = {name: self._resolve(text).replace(IMAGE_ROOT, str(REPOSITORY)) for name, text in asked.items()}
        driver = {"PATH": os.environ["PATH"], **driver, **self.given}
        program = submit["entryPoint"].removeprefix("local://").replace(IMAGE_ROOT, str(REPOSITORY))
        command = [sys.executable, program, *submit["entryPointArguments"]]
        # From another folder: a worker's is not the repository.
        return Job(request, asked, subprocess.Popen(command, env=driver, cwd="/"))

    def _resolve(self, text: str) -> str:
        return self.secrets[text.removeprefix(_SECRET)] if text.startswith(_SECRET) else text


@contextmanager
def emr_serverless(given: Mapping[str, str], secrets: Mapping[str, str] | None = None) -> Iterator[EmrServerless]:
    """The service on a free port of this machine; jobs that still run at the end are killed."""
    service = EmrServerless(given, secrets or {})

    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = json.dumps(service.handle(self.command, self.path, body)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_DELETE = _reply

        def log_message(self, *_args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield service
    finally:
        for job in service.jobs.values():
            job.process.kill()
            job.process.wait(timeout=20)
        server.shutdown()
        server.server_close()
