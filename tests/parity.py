"""Parity: the small slice on this machine's folders, and on real servers; every table and every list equal.

    make parity      python -m tests.parity [--households 30] [--months 4]

One side is a laptop's: folders, local Spark, LMDB. The other is S3 (versitygw), a Spark cluster and DynamoDB Local.
Both runs are processes of their own with nothing but settings between them. What the clock says (when a file was read,
when a list was built) is left out of the comparison; all else must be the same, floating-point numbers to a relative
1e-9, because a cluster sums partitions in another order.
"""

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import s3_server, spark_cluster
from warehouse import dynamodb_local
from warehouse.contracts import TABLES
from warehouse.contracts.table import Table
from warehouse.contracts.vectors import CUSTOMER_PROFILES, PRODUCT_EMBEDDINGS
from warehouse.lake import Lake
from warehouse.serving.store import open_reader
from warehouse.settings import Settings, load_settings
from warehouse.spark import start_session
from warehouse.vectors import open_vectors

MONTHS = ["2017-01", "2017-02", "2017-03", "2017-04"]
HOUSEHOLDS = 30
"""So few that all their product texts are compared: above 5,000 texts an index is used, trained from random starts."""
RELATIVE, ABSOLUTE = 1e-9, 1e-12
BY_THE_CLOCK = frozenset({"modified_at", "ingested_at", "generated_at", "expires_at"})
REPOSITORY = Path(__file__).parents[1]
SLICE = {
    "REPLENISH_BUSINESS_TZ": "America/New_York",
    "REPLENISH_COPURCHASE_MIN_BASKETS": "2",
    "REPLENISH_COPURCHASE_MIN_PAIR_BASKETS": "2",
    # Pseudonyms are salted, and each home would make a salt of its own.
    "REPLENISH_PSEUDONYM_SALT": "the same salt for both homes of it",
}


@dataclass(frozen=True)
class Comparison:
    """One table of both runs: rows, and where they differ (nothing: they are equal)."""

    name: str
    rows: int
    largest: float
    difference: str = ""

    def line(self) -> str:
        if self.difference:
            return f"  ✗ {self.name}: {self.difference}"
        return f"  {self.name}: {self.rows:,} rows equal, largest relative difference {self.largest:.1e}"


def compare_rows(name: str, key: Sequence[str], left: list[dict], right: list[dict]) -> Comparison:
    """Compares two tables row by row, by key."""
    if len(left) != len(right):
        return Comparison(name, len(left), 0, f"{len(left):,} rows against {len(right):,}")

    def by_key(row: Mapping[str, Any]) -> str:
        return json.dumps([row[column] for column in key], default=str)

    largest = 0.0
    for one, other in zip(sorted(left, key=by_key), sorted(right, key=by_key), strict=True):
        for column in one.keys() - BY_THE_CLOCK:
            distance = difference(one[column], other[column])
            if distance > RELATIVE:
                return Comparison(
                    name, len(left), distance, f"{column} of {by_key(one)}: {one[column]!r} and {other[column]!r}"
                )
            largest = max(largest, distance)
    return Comparison(name, len(left), largest)


def difference(left: Any, right: Any) -> float:
    """Largest relative difference of the numbers within two values; infinite where anything else differs."""
    if isinstance(left, float) and isinstance(right, float):
        if left == right or (math.isnan(left) and math.isnan(right)) or abs(left - right) <= ABSOLUTE:
            return 0.0
        return abs(left - right) / max(abs(left), abs(right))
    if isinstance(left, dict) and isinstance(right, dict) and left.keys() == right.keys():
        return max((difference(left[name], right[name]) for name in left if name not in BY_THE_CLOCK), default=0.0)
    if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        return max((difference(*pair) for pair in zip(left, right, strict=True)), default=0.0)
    return 0.0 if left == right else math.inf


def compare_homes(left: Settings, right: Settings, tables: Sequence[Table] | None = None) -> Iterator[Comparison]:
    """Every Delta table, every vector table and every published list of two homes."""
    # The one session reads both: with the settings of the home on S3.
    spark = start_session(right.model_copy(update={"spark_master": "local[2]", "spark_conf": {}}), "parity")
    for table in TABLES.values() if tables is None else tables:
        sides = [Lake(spark, settings.lake).read(table).toArrow().to_pylist() for settings in (left, right)]
        yield compare_rows(table.name, table.key, *sides)
    if tables is not None:
        return
    for table in (PRODUCT_EMBEDDINGS, CUSTOMER_PROFILES):
        handles = [open_vectors(settings).at(table) for settings in (left, right)]
        sides = [handle.to_arrow().select(list(table.column_names)).to_pylist() for handle in handles]
        yield compare_rows(table.name, table.key, *sides)
    customers = sorted({row["customer_id"] for row in sides[0]})
    yield compare_rows("published lists", ("customer_id",), *(_published(side, customers) for side in (left, right)))


def _published(settings: Settings, customers: Sequence[str]) -> list[dict]:
    bodies = open_reader(settings.serving_store, settings.dynamodb_endpoint).get_many(customers)
    lists = zip(customers, bodies, strict=True)
    return [{"customer_id": customer, "list": json.loads(body) if body else None} for customer, body in lists]


def run_slice(settings: Settings, months: Sequence[str], households: int) -> bool:
    """Lands and runs months of the slice: several as one history, one by itself, as the end-to-end test does."""
    from jobs.land_complete_journey import land
    from orchestration.run import home_instance, run_months

    with home_instance() as instance:
        land(settings, months, households)
        return run_months(instance, months, single_run=len(months) > 1)


def as_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Settings by name as environment variables."""
    return {f"REPLENISH_{name.upper()}": value for name, value in settings.items()}


def run_side(environment: Mapping[str, str], months: Sequence[str], households: int) -> None:
    """Runs the slice of one side: all but the last month as one history, then the last, each a process of its own.

    Raises:
        SystemExit: it failed.
    """
    started = time.monotonic()
    for part in (months[:-1], months[-1:]):
        _run(environment, "tests.parity", "--households", str(households), "--run", *part)
    print(f"  in {time.monotonic() - started:.0f} s", flush=True)


def _run(environment: Mapping[str, str], module: str, *arguments: str) -> None:
    command = [sys.executable, "-m", module, *arguments]
    run = subprocess.run(command, cwd=REPOSITORY, env={**os.environ, **environment}, check=False)
    if run.returncode:
        raise SystemExit(f"parity: {module} failed with status {run.returncode}")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs both sides and compares them; returns 1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    # Not two: in the first month nothing but purchases has landed, and that run must find interactions.
    parser.add_argument("--months", type=int, choices=range(3, 5), default=len(MONTHS), help="how many (default all)")
    parser.add_argument("--households", type=int, default=HOUSEHOLDS, help="how many (default %(default)s)")
    parser.add_argument("--run", nargs="+", metavar="MONTH", help="run these months with this process's settings")
    arguments = parser.parse_args(argv)
    if arguments.run:
        return 0 if run_slice(load_settings(), arguments.run, arguments.households) else 1
    size = (MONTHS[: arguments.months], arguments.households)
    # Servers and folders go away also where somebody ends this from outside.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="parity-") as folder:
        homes = [_home(Path(folder) / side) for side in ("local", "other")]
        with (
            s3_server.running(Path(folder)) as s3,
            spark_cluster.running(Path(folder) / "cluster", s3_server.CACHE, s3.environment) as cluster,
            dynamodb_local.running(load_settings(home=homes[1])) as dynamodb,
        ):
            serving = {"serving": "dynamodb:parity", "dynamodb_endpoint": dynamodb}
            servers = {**s3.settings("parity"), **cluster.settings(), **serving}
            other = {**as_environment(servers), **SLICE, **s3.environment}
            print("▸ local folders, local Spark, LMDB", flush=True)
            run_side({"REPLENISH_HOME": str(homes[0]), **SLICE}, *size)
            print("▸ S3, Spark cluster, DynamoDB Local", flush=True)
            # As a person does once; a publish creates no table.
            _run({"REPLENISH_HOME": str(homes[1]), **other}, "warehouse.serving.dynamodb_table")
            run_side({"REPLENISH_HOME": str(homes[1]), **other}, *size)
            return _compare(homes, other)


def _home(folder: Path) -> Path:
    """An empty home with the machine's cache, so that jars are fetched once."""
    folder.mkdir(parents=True)
    (folder / "cache").symlink_to(s3_server.CACHE)
    return folder


def _compare(homes: Sequence[Path], other: Mapping[str, str]) -> int:
    left = load_settings(home=homes[0], business_tz=SLICE["REPLENISH_BUSINESS_TZ"])
    os.environ.update(other)
    right = load_settings(home=homes[1])
    print("▸ compared", flush=True)
    results = []
    for result in compare_homes(left, right):
        print(result.line(), flush=True)
        results.append(result)
    return int(any(result.difference for result in results))


if __name__ == "__main__":
    sys.exit(main())
