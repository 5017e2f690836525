"""DynamoDB Local, Amazon's server for tests: fetched once into the home's cache with Spark's Ivy, and run in memory.

    python -m warehouse.dynamodb_local [--port 8001]      serves until it is interrupted, and forgets everything then

It takes any credentials and **listens on every address of the machine**, which it has no option for: use it where
others cannot reach you. Needs Java; Linux on x86-64 or macOS, for which its SQLite library is to be had.
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
from urllib.request import getproxies

from warehouse import jars
from warehouse.errors import EnvironmentProblem, ReplenishError
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
_NATIVE = {("Linux", "x86_64"): ("linux-amd64", "so"), ("Darwin", "x86_64"): ("osx", "dylib")}
_START_S, _FETCH_S = 90, 300


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
    if not folder.exists():
        settings.cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=settings.cache, prefix=".dynamodb-") as scratch:
            _fetch(Path(scratch), native, find_java_home(settings.cache), settings.ivy_settings)
            (Path(scratch) / "jars").rename(folder)
    return folder


def _fetch(scratch: Path, native: tuple[str, str], java_home: Path, settings: Path | None) -> None:
    file = scratch / "ivy.xml"
    file.write_text(_ivy_file(native))
    java = [str(java_home / "bin" / "java"), f"-Duser.home={scratch}"]
    java += ["-Dsun.net.client.defaultConnectTimeout=20000", "-Dsun.net.client.defaultReadTimeout=120000"]
    java += jars.proxy_options(getproxies())
    ivy = ["-jar", str(jars._ivy_jar()), "-cache", f"{scratch}/ivy", "-ivy", str(file), "-confs", "default", "-warn"]
    ivy += ["-retrieve", f"{scratch}/jars/[artifact]-[revision].[ext]"]
    ivy += ["-settings", str(settings)] if settings else []
    said = _run([*java, *ivy])
    if "PKIX path" in said and (options := jars._system_trust(scratch)):
        said = _run([*java, *options, *ivy])
    missing = len(_JARS) + 1 - len(list((scratch / "jars").glob("*")))
    if missing:
        raise EnvironmentProblem(
            f"could not fetch DynamoDB Local ({missing} files are missing). Is the Maven repository reachable? A "
            f"mirror can be named in REPLENISH_IVY_SETTINGS (an Ivy settings file). Ivy said:\n{said[-600:]}"
        )


def _ivy_file(native: tuple[str, str]) -> str:
    system, extension = native
    wanted = [f'<dependency org="{o}" name="{n}" rev="{r}" conf="default" transitive="false"/>' for o, n, r in _JARS]
    wanted.append(
        f'<dependency org="com.almworks.sqlite4java" name="libsqlite4java-{system}" rev="{_SQLITE}" conf="default" '
        f'transitive="false"><artifact name="libsqlite4java-{system}" type="{extension}" ext="{extension}"/>'
        "</dependency>"
    )
    return (
        '<ivy-module version="2.0"><info organisation="replenish" module="dynamodb-local"/>'
        f'<configurations><conf name="default"/></configurations><dependencies>{"".join(wanted)}</dependencies>'
        "</ivy-module>"
    )


def _run(command: list[str]) -> str:
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH_S, check=False)
    except subprocess.TimeoutExpired:
        return f"(no answer within {_FETCH_S} s)"
    return run.stdout + run.stderr


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
