"""Heavy jobs on a standalone cluster of one worker core and of two, side by side, on a real S3 server.

Made-up order lines of one month are written once; then each cluster computes frequency, state and co-purchase from
them, once to warm up and then ``--rounds`` times. Driver, S3 server and workers share the machine, so two cores are
worth less than twice one. Run it with ``python -m benchmarks.cluster_cores [--rows 1000000] [--rounds 3]``; seconds
(median) a job go to ``benchmarks/results/cluster_cores.json``.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.quality_checks import MONTH, order_lines
from jobs import copurchase, purchase_frequency, replenishment_state
from tests import s3_server, spark_cluster
from tests.parity import REPOSITORY, as_environment
from warehouse.contracts.silver import ORDER_LINES
from warehouse.lake import open_lake
from warehouse.settings import load_settings
from warehouse.spark import start_session

RESULT = Path(__file__).with_name("results") / "cluster_cores.json"
JOBS = {
    "purchase_frequency": purchase_frequency.run,
    "replenishment_state": replenishment_state.run,
    "copurchase": copurchase.run,
}


def write_lines(rows: int) -> None:
    """The order lines that every cluster reads."""
    settings = load_settings()
    lake = open_lake(start_session(settings), settings)
    lake.replace_months(ORDER_LINES, order_lines(lake.spark, rows), [MONTH])


def measure(rounds: int) -> dict[str, float]:
    """Median seconds a job, in this process, on the cluster of its settings."""
    settings = load_settings()
    lake = open_lake(start_session(settings), settings)
    seconds: dict[str, list[float]] = {name: [] for name in JOBS}
    for _ in range(rounds + 1):
        for name, run in JOBS.items():
            started = time.perf_counter()
            run(lake, settings, [MONTH])
            seconds[name].append(time.perf_counter() - started)
    return {name: round(statistics.median(times[1:]), 2) for name, times in seconds.items()}


def _child(arguments: list[str], environment: Mapping[str, str]) -> str:
    command = [sys.executable, "-m", "benchmarks.cluster_cores", *arguments]
    run = subprocess.run(
        command, cwd=REPOSITORY, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=True
    )
    return run.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="order lines of the month")
    parser.add_argument("--rounds", type=int, default=3, help="rounds that count")
    parser.add_argument("--child", choices=("write", "measure"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child == "write":
        write_lines(arguments.rows)
        return
    if arguments.child == "measure":
        print(json.dumps(measure(arguments.rounds)))
        return
    results = {}
    with tempfile.TemporaryDirectory(prefix="cores-") as name, s3_server.running(Path(name)) as s3:
        home = Path(name) / "home"
        home.mkdir()
        (home / "cache").symlink_to(s3_server.CACHE)
        own = as_environment({"home": str(home), "first_month": MONTH, **s3.settings("cores")})
        own |= {**s3.environment, "SPARK_LOCAL_IP": "127.0.0.1"}
        sizes = ["--rows", str(arguments.rows), "--rounds", str(arguments.rounds)]
        _child([*sizes, "--child", "write"], own)
        for workers in (1, 2):
            folder = Path(name) / f"cluster-{workers}"
            with spark_cluster.running(folder, s3_server.CACHE, s3.environment, workers) as cluster:
                told = _child([*sizes, "--child", "measure"], own | as_environment(cluster.settings()))
            results[f"{workers} worker core{'s' if workers > 1 else ''}"] = json.loads(told.splitlines()[-1])
    one, two = results.values()
    report = {
        "rows": arguments.rows,
        "rounds": arguments.rounds,
        "cores_of_the_machine": os.cpu_count(),
        "seconds": results,
        "speedup": {job: round(one[job] / two[job], 2) for job in one},
    }
    RESULT.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
