"""DynamoDB Local, Amazon's server for tests: fetched once into the home's cache with Spark's Ivy, and run in memory.

    python -m warehouse.dynamodb_local [--port 8001]      serves until it is interrupted, and forgets everything then

It takes any credentials whose key id is letters and digits, and **listens on every address of the machine**, against
which there is no option: use it where others cannot reach you. Needs Java; Linux on x86-64 or macOS, for which its
SQLite library is to be had.
Not here: the store (``warehouse/serving``), and its table (``warehouse/serving/dynamodb_table.py``).
"""

import argparse
import platform
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from warehouse.errors import EnvironmentProblem, ReplenishError
from warehouse.jar_list import Jar
from warehouse.jars import fetch
from warehouse.java import find_java_home
from warehouse.settings import Settings, load_settings

VERSION = "2.6.1"
_SDK1, _SDK2, _JETTY, _JACKSON, _LOG4J, _SQLITE = "1.12.721", "2.25.50", "12.0.14", "2.12.7", "2.17.1", "1.0.392"
# Those that it loads classes of, a third of what its POM names: Ivy fetches them in half a minute.
_JARS = (
    ("com.amazonaws", "DynamoDBLocal", VERSION),
    *(("com.amazonaws", f"aws-java-sdk-{name}", _SDK1) for name in ("core", "dynamodb")),
    *(
        ("software.amazon.awssdk", name, _SDK2)
        for name in ("dynamodb", "sdk-core", "aws-core", "utils", "regions", "identity-spi", "auth", "pinpoint")
    ),
    *(("software.amazon.awssdk", name, _SDK2) for name in ("http-auth-aws", "http-client-spi", "endpoints-spi")),
    *(("org.eclipse.jetty", f"jetty-{name}", _JETTY) for name in ("server", "http", "io", "util")),
    *(("com.fasterxml.jackson.core", f"jackson-{name}", _JACKSON) for name in ("core", "databind", "annotations")),
    ("com.fasterxml.jackson.datatype", "jackson-datatype-jsr310", _JACKSON),
    *(("org.apache.logging.log4j", f"log4j-{name}", _LOG4J) for name in ("core", "api")),
    ("org.antlr", "antlr4-runtime", "4.10.1"),
    ("com.google.guava", "guava", "33.4.0-jre"),
    ("joda-time", "joda-time", "2.12.7"),
    ("commons-cli", "commons-cli", "1.6.0"),
    ("commons-logging", "commons-logging", "1.2"),
    ("org.apache.commons", "commons-lang3", "3.17.0"),
    ("org.slf4j", "slf4j-api", "2.0.13"),
    ("com.almworks.sqlite4java", "sqlite4java", _SQLITE),
)
_NATIVE = {
    ("Linux", "x86_64"): ("com.almworks.sqlite4java", "libsqlite4java-linux-amd64", _SQLITE, "so"),
    ("Darwin", "x86_64"): ("com.almworks.sqlite4java", "libsqlite4java-osx", _SQLITE, "dylib"),
}
_START_S = 90


def bring(settings: Settings) -> Path:
    """The folder of its jars, fetched first if it is not there.

    Raises:
        EnvironmentProblem: it cannot be fetched (a retry helps if the network was the cause), or does not run here.
    """
    native = _NATIVE.get((platform.system(), platform.machine()))
    if native is None:
        system = f"{platform.system()} on {platform.machine()}"
        raise EnvironmentProblem(f"DynamoDB Local does not run here: no SQLite library of it is published for {system}")
    folder = settings.cache / f"dynamodb-local-{VERSION}"
    wanted = [Jar(*coordinates) for coordinates in (*_JARS, native)]
    if missing := [jar for jar in wanted if not (folder / jar.name).is_file()]:
        fetch(missing, folder, find_java_home(settings.cache), settings.ivy_settings)
    return folder


def command(settings: Settings, port: int) -> list[str]:
    """The command line of the server."""
    folder = bring(settings)
    java = find_java_home(settings.cache) / "bin" / "java"
    options = ["-Xmx2g", f"-Djava.library.path={folder}", "-cp", f"{folder}/*"]
    main = "com.amazonaws.services.dynamodbv2.local.main.ServerRunner"
    return [str(java), *options, main, "-port", str(port), "-inMemory", "-sharedDb", "-disableTelemetry"]


@contextmanager
def running(settings: Settings, port: int | None = None) -> Iterator[str]:
    """Runs the server for the block; yields its address.

    Raises:
        EnvironmentProblem: it cannot be fetched or does not start.
    """
    port = port or _free_port()
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command(settings, port), stdout=log, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + _START_S
            while not _answers(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise EnvironmentProblem(f"DynamoDB Local did not start. It said:\n{log.read()[-600:]}")
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def main(argv: Sequence[str] | None = None) -> None:
    """Serves until it is interrupted."""
    parser = argparse.ArgumentParser(description="Runs DynamoDB Local in memory, on every address of the machine.")
    parser.add_argument("--port", type=int, default=8001, help="port to listen on (default %(default)s)")
    try:
        with running(load_settings(), parser.parse_args(argv).port) as endpoint:
            print(f"DynamoDB Local on {endpoint}, in memory. Set REPLENISH_DYNAMODB_ENDPOINT={endpoint}", flush=True)
            while True:
                time.sleep(3600)
    except KeyboardInterrupt:
        pass
    except ReplenishError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
