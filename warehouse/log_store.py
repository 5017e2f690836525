"""The jar of our Delta log store for S3, compiled once from ``scala/ConditionalPutLogStore.scala``.

Spark carries the Scala compiler, so neither a build tool nor a JDK is needed. Why a log store of our own:
docs/decisions/0013-one-commit-a-version-on-s3.md. ``python -m warehouse.log_store FILE.jar`` writes it for
``spark-submit --jars``; a driver that this process starts finds it in the home's cache.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from warehouse.errors import EnvironmentProblem, ReplenishError
from warehouse.jar_list import delta
from warehouse.jars import bring_jars, spark_home
from warehouse.java import find_java_home
from warehouse.settings import Settings, load_settings

CLASS = "replenish.ConditionalPutLogStore"
_SOURCE = Path(__file__).with_name("scala") / "ConditionalPutLogStore.scala"
_TIMEOUT_S = 300


def log_store_options() -> dict[str, str]:
    """Spark properties that make Delta commit through the log store on S3."""
    return {f"spark.delta.logStore.{scheme}.impl": CLASS for scheme in ("s3", "s3a")}


def log_store_jar(settings: Settings, java_home: Path) -> Path | None:
    """Path of the jar, compiled first if it is not there; ``None`` where it is among Spark's own jars.

    Raises:
        EnvironmentProblem: it cannot be compiled. A retry does not help.
    """
    jar = _compiled(settings, java_home)
    return None if jar.parent == _spark_jars() else jar


def _compiled(settings: Settings, java_home: Path) -> Path:
    parts = [_SOURCE.read_bytes(), *(str(jar).encode() for jar in delta())]
    name = f"replenish-log-store-{hashlib.sha256(b'|'.join(parts)).hexdigest()[:12]}.jar"
    if (own := _spark_jars() / name).exists():
        return own
    jar = settings.cache.resolve() / "jars" / name
    if not jar.exists():
        _compile(jar, bring_jars(delta(), settings.cache, java_home, settings.ivy_settings), java_home)
    return jar


def _compile(jar: Path, libraries: Sequence[Path], java_home: Path) -> None:
    jar.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=jar.parent, prefix=".compile-") as scratch:
        draft = Path(scratch) / jar.name
        # Started once for one file: the JVM's quick settings.
        command = [str(java_home / "bin" / "java"), "-Xss4m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        command += ["-cp", f"{_spark_jars()}/*", "scala.tools.nsc.Main", "-feature", "-Xfatal-warnings"]
        command += ["-classpath", os.pathsep.join([*map(str, libraries), *map(str, _spark_libraries())])]
        command += ["-d", str(draft), str(_SOURCE)]
        try:
            run = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            raise EnvironmentProblem(
                f"{_SOURCE.name} was not compiled within {_TIMEOUT_S} s. Try again when this machine has less to do"
            ) from None
        if run.returncode or not draft.exists():
            raise EnvironmentProblem(
                f"{_SOURCE.name} could not be compiled for this Spark and Delta. Run 'make clean setup'. The compiler "
                f"said:\n{(run.stdout + run.stderr).strip()[-1000:]}"
            )
        draft.replace(jar)


def _spark_libraries() -> list[Path]:
    return [*_spark_jars().glob("hadoop-client-api-*.jar"), *_spark_jars().glob("scala-library-*.jar")]


def _spark_jars() -> Path:
    return spark_home() / "jars"


def main(argv: list[str]) -> int:
    """The command line; returns the exit status."""
    if len(argv) != 1 or not argv[0].endswith(".jar"):
        print("usage: python -m warehouse.log_store FILE.jar", file=sys.stderr)
        return 2
    try:
        settings = load_settings()
        settings.cache.mkdir(parents=True, exist_ok=True)
        jar = Path(argv[0]).absolute()
        jar.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_compiled(settings, find_java_home(settings.cache)), jar)
    except ReplenishError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
