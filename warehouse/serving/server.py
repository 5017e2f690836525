"""Runs an ASGI application factory under granian: address, worker processes, their shared metrics folder.

Not here: the application (``api.py``).
"""

import multiprocessing
import os
import socket
import tempfile

from warehouse.errors import EnvironmentProblem
from warehouse.serving.metrics import MULTIPROCESS_VARIABLE


def resolve_address(host: str, port: int) -> str:
    """The IP address of ``host``, after making sure that the port is free; granian itself would print a backtrace.

    Raises:
        EnvironmentProblem: the name is unknown or nothing can listen there.
    """
    try:
        family, kind, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            # As granian does, so that the lingering connections of a server that just ended do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot listen on {host}:{port} ({error.strerror}): choose another with --host and --port"
        ) from error
    return str(place[0])


def serve(target: str, address: str, port: int, workers: int = 1) -> None:
    """Serves until it is interrupted, without an access log: paths hold customer ids.

    Args:
        target: ``module:factory``, called without arguments in each worker.
        address: IP address to listen on.
        port: port to listen on.
        workers: processes.
    """
    from granian import Granian
    from granian.constants import Interfaces

    # Fresh processes: prometheus_client chooses its storage while it is imported, from the environment set below.
    multiprocessing.set_start_method("spawn", force=True)
    server = Granian(
        target,
        address=address,
        port=port,
        workers=workers,
        interface=Interfaces.ASGI,
        factory=True,
        websockets=False,
        log_access=False,
        respawn_failed_workers=True,
    )
    with tempfile.TemporaryDirectory(prefix="replenish-metrics-") as folder:
        if workers > 1:
            os.environ[MULTIPROCESS_VARIABLE] = folder
        server.serve()
