"""A PostgreSQL of this machine's packages on loopback, for as long as a test takes.

As root on Debian or Ubuntu the package is installed where it is missing, without the service that it would start.
"""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pytest

_NO_SERVICE = Path("/etc/postgresql-common/createcluster.conf")


@dataclass(frozen=True)
class Postgres:
    """Where the server listens, and who may come in."""

    port: int
    password: str
    user: str = "dagster"
    database: str = "dagster"


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A new server with an empty database; skips the test where there is none to be had."""
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="replenish-postgres-"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = Postgres(free.getsockname()[1], secrets.token_urlsafe(12))
    # It refuses to run as root.
    account = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
    try:
        (folder / "password").write_text(server.password)
        if account:
            for path in (folder, folder / "password"):
                shutil.chown(path, **account)

        def call(program: str, *arguments: str) -> None:
            command = [str(programs / program), *arguments]
            subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, timeout=120, **account)

        data, log = str(folder / "data"), str(folder / "log")
        options = f"-c listen_addresses=127.0.0.1 -c port={server.port} -c unix_socket_directories={folder}"
        # Data that lives as long as the test needs no flush to the disk.
        call("initdb", "-D", data, "-U", server.user, f"--pwfile={folder}/password", "--auth=scram-sha-256", "-N")
        call("pg_ctl", "-D", data, "-l", log, "-w", "-o", f"{options} -c fsync=off", "start")
        try:
            _create_database(server)
            yield server
        finally:
            call("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _create_database(server: Postgres) -> None:
    where = {"host": "127.0.0.1", "port": server.port, "user": server.user, "password": server.password}
    connection = psycopg2.connect(dbname="postgres", **where)
    try:
        # A database cannot be created within a transaction.
        connection.autocommit = True
        connection.cursor().execute(f'CREATE DATABASE "{server.database}"')
    finally:
        connection.close()


def _programs() -> Path:
    found = _installed()
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        if not _NO_SERVICE.exists():
            _NO_SERVICE.parent.mkdir(parents=True, exist_ok=True)
            _NO_SERVICE.write_text("create_main_cluster = false\n")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        install = ["apt-get", "install", "--yes", "-qq", "--no-install-recommends", "postgresql"]
        install += ["-o", "Dpkg::Options::=--force-confold"]
        for command in (["apt-get", "update", "-qq"], install):
            subprocess.run(command, env=environment, capture_output=True, timeout=600, check=False)
        found = _installed()
    if found is None:
        pytest.skip("no PostgreSQL: install it (Debian, Ubuntu: apt install postgresql)")
    return found


def _installed() -> Path | None:
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    # Debian keeps them off PATH, a folder a version.
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    return next((folder for folder in reversed(folders) if (folder / "initdb").exists()), None)
