"""Brings Delta Lake's jars into the home's cache, once, with the Ivy that Spark carries.

Ivy's own default resolver is asked, so no address stands here; a team behind a mirror names its Ivy settings file
in ``REPLENISH_IVY_SETTINGS``. Only the two jars that Spark does not have are fetched, without their dependencies.
"""

import os
import shutil
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path

from warehouse.errors import EnvironmentProblem

SCALA = "2.13"


def delta_jars(cache: Path, java_home: Path, ivy_settings: Path | None = None) -> list[Path]:
    """Paths of Delta's jars, fetched first if the cache lacks one.

    Args:
        cache: the home's cache folder.
        java_home: Java that runs Ivy.
        ivy_settings: Ivy settings file to use in place of Ivy's defaults.

    Raises:
        EnvironmentProblem: a jar cannot be fetched; the text holds Ivy's last lines.
    """
    delta = version("delta-spark")
    spark = ".".join(version("pyspark").split(".")[:2])
    folder = cache / "jars"
    jars = []
    for artifact in (f"delta-spark_{spark}_{SCALA}", "delta-storage"):
        jar = folder / f"{artifact}-{delta}.jar"
        if not jar.exists():
            _fetch("io.delta", artifact, delta, jar, java_home, ivy_settings)
        jars.append(jar)
    return jars


def _fetch(group: str, artifact: str, revision: str, target: Path, java_home: Path, settings: Path | None) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        # Ivy also reads ~/.m2, where a POM without its jar stops it: give it a home of its own.
        command = [str(java_home / "bin" / "java"), f"-Duser.home={scratch}", "-jar", str(_ivy_jar())]
        command += ["-cache", f"{scratch}/ivy", "-notransitive", "-confs", "default", "-types", "jar", "-warn"]
        command += ["-dependency", group, artifact, revision, "-retrieve", f"{scratch}/[artifact]-[revision].[ext]"]
        if settings:
            command += ["-settings", str(settings)]
        run = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        fetched = Path(scratch) / target.name
        if run.returncode != 0 or not fetched.exists():
            tail = "\n".join((run.stdout + run.stderr).strip().splitlines()[-8:])
            raise EnvironmentProblem(
                f"could not fetch {group}:{artifact}:{revision}. Is the Maven repository reachable? A mirror can be "
                f"named in REPLENISH_IVY_SETTINGS (an Ivy settings file). Ivy said:\n{tail}"
            )
        os.replace(fetched, target)


def _ivy_jar() -> Path:
    import pyspark

    jars = sorted((Path(pyspark.__file__).parent / "jars").glob("ivy-*.jar"))
    if not jars:
        raise EnvironmentProblem("the pyspark package holds no ivy-*.jar: reinstall it with 'make setup'")
    return jars[-1]


def class_data_archive(cache: Path) -> Path:
    """Path of the JVM's class-data archive for this Spark, Delta and Java; it need not exist yet."""
    return cache / f"classes-spark{version('pyspark')}-delta{version('delta-spark')}.jsa"


def clear(cache: Path) -> None:
    """Removes jars and archives, so that the next start fetches and builds them again."""
    shutil.rmtree(cache / "jars", ignore_errors=True)
    for archive in cache.glob("classes-*.jsa"):
        archive.unlink()
