"""What one month costs and where: seconds, Spark's executions and jobs by step, core-seconds and memory.

    python -m benchmarks.month_profile                       the demo's November (cold) and December (warm)
    python -m benchmarks.month_profile --against CHECKOUT    the same by another checkout too, and the ratios

A home with the history of January to October is built by each checkout and kept in ``--homes``. A copy of it then gets
November and December, each landed and run by one process: its first month is one from a cold start, its second a later
month of a process that goes on. Executions and jobs come from Spark's event log, steps from Dagster's. Core-seconds and
peak memory (each process's proportional share) are those of the whole process tree, read twice a second.
Writes ``benchmarks/results/month_profile.json``.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

HERE = Path(__file__).resolve().parents[1]
RESULTS = HERE / "benchmarks" / "results" / "month_profile.json"
HISTORY = ("2017-01", "2017-10")
MONTHS = ("2017-11", "2017-12")
_ENGINE = "(outside of steps)"
_RUN = """
import json, os, sys, time
from jobs.land_complete_journey import land
from orchestration.run import home_instance, run_months
from warehouse.months import month_range
from warehouse.settings import load_settings
settings, steps, ends = load_settings(), [], []
with home_instance() as instance:
    for months in json.loads(sys.argv[1]):
        months = month_range(*months)
        started = time.time()
        print(land(settings, months).line(), flush=True)
        landed = time.time()
        if not run_months(instance, months, single_run=len(months) > 1):
            sys.exit(1)
        ends.append([months[-1], started, landed, time.time()])
        for record in instance.get_run_records(limit=2 if len(months) > 1 else 1):
            for step in instance.get_run_step_stats(record.dagster_run.run_id):
                if step.end_time:
                    steps.append([step.step_key, step.start_time, step.end_time])
json.dump({"ends": ends, "steps": steps}, open(sys.argv[2], "w"))
"""


@dataclass
class Step:
    """Seconds, SQL executions and Spark jobs of one step of a month."""

    seconds: float = 0.0
    executions: int = 0
    jobs: int = 0


@dataclass
class Month:
    """One month of one checkout: seconds from landed files to published lists, and its steps."""

    month: str
    seconds: float
    executions: int = 0
    jobs: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    steps: dict[str, Step] = field(default_factory=dict)


@dataclass
class Profile:
    """A process that ran both months. ``seconds`` is the whole process, its start and the landing included."""

    commit: str
    seconds: float
    core_seconds: float
    peak_gib: float
    months: list[Month]


def profile(checkout: Path, homes: Path, months: Sequence[str]) -> Profile:
    """Runs ``months`` by ``checkout`` on a copy of its home and reads what that cost."""
    commit = _commit(checkout)
    base = homes / f"{commit}-history"
    if not (base / "done").exists():
        shutil.rmtree(base, ignore_errors=True)
        _measure(checkout, base, [HISTORY])
        (base / "done").touch()
    home = homes / f"{commit}-run"
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(base, home, symlinks=True)
    seconds, core_seconds, peak = _measure(checkout, home, [(month, month) for month in months])
    told = json.loads((home / "profile.json").read_text())
    return Profile(commit, round(seconds, 1), round(core_seconds, 1), round(peak, 2), _months(told, home / "events"))


def _commit(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    changed = subprocess.run(["git", "-C", str(checkout), "status", "--porcelain"], capture_output=True, text=True)
    return f"{commit}-changed" if changed.stdout.strip() else commit


def _measure(checkout: Path, home: Path, ranges: Sequence[Sequence[str]]) -> tuple[float, float, float]:
    """Seconds, core-seconds and peak GiB of a process that lands and runs the ranges of months."""
    events = home / "events"
    shutil.rmtree(events, ignore_errors=True)
    events.mkdir(parents=True)
    (home / "settings.env").write_text("REPLENISH_BUSINESS_TZ=America/New_York\nREPLENISH_LAST_MONTH=2017-12\n")
    log = {"enabled": "true", "dir": events.as_uri(), "compress": "false", "rolling.enabled": "false"}
    conf = [f"spark.eventLog.{name}={value}" for name, value in log.items()]
    conf += [given] if (given := os.environ.get("REPLENISH_SPARK_CONF")) else []
    settings = {"HOME": str(home), "SPARK_CONF": ",".join(conf)}
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    environment |= {f"REPLENISH_{name}": value for name, value in settings.items()}
    command = [sys.executable, "-c", _RUN, json.dumps(ranges), str(home / "profile.json")]
    started = time.monotonic()
    process = psutil.Popen(command, cwd=checkout, env=environment)
    spent: dict[int, float] = {}
    peak = 0
    while process.poll() is None:
        held = 0
        for one in _tree(process):
            try:
                times = one.cpu_times()
                spent[one.pid] = times.user + times.system
                held += one.memory_full_info().pss
            except psutil.Error:
                continue
        peak = max(peak, held)
        time.sleep(0.5)
    if process.returncode:
        sys.exit(f"error: the months failed in {checkout} (exit status {process.returncode}), see above")
    return time.monotonic() - started, sum(spent.values()), peak / 2**30


def _tree(process: psutil.Popen) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def _months(told: dict, events: Path) -> list[Month]:
    executions, jobs = _read_events(events)
    months = []
    for name, started, landed, ended in told["ends"]:
        month = Month(name, round(ended - landed, 1))
        steps = [step for step in told["steps"] if started <= step[1] <= ended]
        for key, since, until in steps:
            month.steps[key] = Step(seconds=round(until - since, 1))
        for at, kind in executions:
            if started <= at <= ended:
                month.executions += 1
                month.kinds[kind] = month.kinds.get(kind, 0) + 1
                _step(month, steps, at).executions += 1
        for at in jobs:
            if started <= at <= ended:
                month.jobs += 1
                _step(month, steps, at).jobs += 1
        month.kinds = dict(Counter(month.kinds).most_common(12))
        months.append(month)
    return months


def _step(month: Month, steps: Sequence[Sequence], at: float) -> Step:
    key = next((key for key, since, until in steps if since <= at <= until), _ENGINE)
    return month.steps.setdefault(key, Step())


def _read_events(events: Path) -> tuple[list[tuple[float, str]], list[float]]:
    """Start of each SQL execution, with its description, and of each job, in seconds since the epoch."""
    executions, jobs = [], []
    for path in sorted(events.iterdir()):
        with path.open() as lines:
            for line in lines:
                if line.startswith('{"Event":"SparkListenerJobStart"'):
                    jobs.append(json.loads(line)["Submission Time"] / 1000)
                elif "SparkListenerSQLExecutionStart" in line[:120]:
                    event = json.loads(line)
                    executions.append((event["time"] / 1000, event["description"].splitlines()[0][:60]))
    return executions, jobs


def _print(found: Profile) -> None:
    print(f"\n{found.commit}: {found.seconds} s, {found.core_seconds} core-seconds, {found.peak_gib} GiB at the peak")
    for month in found.months:
        print(f"\n{month.month}: {month.seconds} s, {month.executions} SQL executions, {month.jobs} jobs\n")
        print("| step | seconds | executions | jobs |\n|---|--:|--:|--:|")
        for key, step in sorted(month.steps.items(), key=lambda item: -item[1].seconds):
            print(f"| {key} | {step.seconds} | {step.executions} | {step.jobs} |")
        print("\nmost frequent: " + ", ".join(f"{kind} {count}" for kind, count in month.kinds.items()))


def _ratios(ours: Profile, theirs: Profile) -> dict[str, float]:
    pairs = {
        "process seconds": (ours.seconds, theirs.seconds),
        "process core-seconds": (ours.core_seconds, theirs.core_seconds),
        "peak memory": (ours.peak_gib, theirs.peak_gib),
        "cold month": (ours.months[0].seconds, theirs.months[0].seconds),
        "later month": (ours.months[-1].seconds, theirs.months[-1].seconds),
        "executions of a later month": (ours.months[-1].executions, theirs.months[-1].executions),
    }
    return {name: round(a / b, 3) for name, (a, b) in pairs.items()}


def main(argv: Sequence[str] | None = None) -> None:
    """Profiles this checkout, and another if named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="another checkout, run with this one's Python")
    parser.add_argument("--homes", type=Path, default=Path("/tmp/replenish-profile"), help="where homes are kept")
    arguments = parser.parse_args(argv)
    found = {"this": profile(HERE, arguments.homes, MONTHS)}
    _print(found["this"])
    result: dict[str, object] = {"this": asdict(found["this"])}
    if arguments.against:
        found["other"] = profile(arguments.against.resolve(), arguments.homes, MONTHS)
        _print(found["other"])
        ratios = _ratios(found["this"], found["other"])
        result |= {"other": asdict(found["other"]), "ratios": ratios}
        print("\n| this / other | ratio |\n|---|--:|")
        for name, ratio in ratios.items():
            print(f"| {name} | {ratio} |")
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
