"""Runs the stand-in in a process of its own, for tests and benchmarks. Not here: the server (``stand_in.py``)."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from warehouse.llm.stand_in import ARGUMENTS

_START_S = 60.0


@contextmanager
def running(port: int | None = None, **arguments: Any) -> Iterator[str]:
    """Runs the stand-in in a process of its own until the block ends.

    Args:
        port: None takes a free one.
        arguments: those of :func:`~warehouse.llm.stand_in.create_app`.

    Yields:
        Its address, ``http://127.0.0.1:PORT``; the OpenAI routes stand below ``/v1``.

    Raises:
        TimeoutError: it did not start in a minute.
    """
    port = port or free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "warehouse.llm.stand_in", "--port", str(port)],
        cwd=Path(__file__).parents[2],
        env=os.environ | {ARGUMENTS: json.dumps(arguments)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        await_port(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        # The whole session: nothing in it is worth an orderly end, which would wait for slow answers.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_port() -> int:
    """A port of loopback on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def await_port(port: int, process: subprocess.Popen) -> None:
    """Returns when something listens on the port of loopback.

    Raises:
        TimeoutError: nothing did in a minute, or the process ended.
    """
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port}")
