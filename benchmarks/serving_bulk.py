"""Loads many lists into DynamoDB Local and into LMDB: speed, memory, a kill half-way, a month of few changes, lookups.

``python -m benchmarks.serving_bulk [--lists N]`` writes benchmarks/results/serving_bulk.json. Each publish is a process
of its own, whose peak memory is that of anonymous pages (LMDB's mapped files are page cache, given back on demand).
The lists are made up, of the size and packed size of the demo's. DynamoDB Local and the client share the machine: its
figures say what the client and the layout cost, not what AWS does. Not part of ``make bench``, for it takes minutes.
"""

import argparse
import json
import os
import platform
import random
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

from warehouse import dynamodb_local
from warehouse.serving.dynamodb_layout import STORE, WRITER
from warehouse.serving.dynamodb_store import DynamoDbStore
from warehouse.serving.dynamodb_table import Table, create_table, key_of
from warehouse.serving.lists import encode_items
from warehouse.serving.store import open_reader, open_store
from warehouse.settings import load_settings

RESULTS = Path(__file__).parent / "results" / "serving_bulk.json"
CHANGED = 0.05
LOOKUPS, BATCHES, BATCH = 3_000, 30, 100
_KINDS, _MARK = 500, b"0000000000"
_WORDS = ("milk", "bread", "apple", "butter", "roll", "tuna", "corn", "rice", "bean", "tea", "soup", "cake", "egg")


def made_up_items() -> list[bytes]:
    """The items of some hundred lists of 20 lines; a list of the benchmark is one of them with a number put in."""
    draw = random.Random(1)
    return [encode_items(_line(draw, rank) for rank in range(1, 21)) for _ in range(_KINDS)]


def _line(draw: random.Random, rank: int) -> dict:
    name = f"{' '.join(draw.sample(_WORDS, 3))}, private brand, {draw.randint(4, 64)} oz"
    orders, every, day = draw.randint(3, 40), draw.randint(7, 60), draw.randint(1, 28)
    return {
        "rank": rank,
        "product_id": f"{_MARK.decode()}{rank}" if rank == 1 else str(draw.randrange(10**6, 10**7)),
        "name": name,
        "quantity": draw.randint(1, 4),
        "cadence_days": every,
        "next_due_date": date(2026, 9, day),
        "probability": draw.random(),
        "reason_code": "due",
        "reason": f"{orders} orders so far, about every {every} days, last on {day} August: due on {day} September.",
        "price_usd": round(draw.random() * 20, 2),
        "need": name.split(",")[0].upper(),
        "need_probability": draw.random(),
        "alternates": [],
    }


def lists_of(count: int, changed: int) -> Iterator[tuple[str, bytes]]:
    """``count`` customers; the first ``changed`` of them with another product than without."""
    items = made_up_items()
    for number in range(count):
        product = b"%010d" % (number + (10**9 if number < changed else 0))
        yield f"customer-{number:08d}", items[number % _KINDS].replace(_MARK, product, 1)


# In a process of its own ---------------------------------------------------------------------------------------


def publish(spec: str, endpoint: str | None, month: str, count: int, changed: int, kill_after: int) -> None:
    """Builds, verifies and switches as a publish does, without encoding; prints what it took.

    ``kill_after`` batches the process kills itself; 0: never.
    """
    store = open_store(spec, endpoint)
    if kill_after and isinstance(store, DynamoDbStore):
        _kill_at_batch(store, kill_after)
    peak = _watch_memory()
    now = datetime.now(UTC)
    started = time.perf_counter()
    with store.writing():
        built = store.build(month, lists_of(count, changed), generated_at=now, expires_at=now + timedelta(days=45))
        store.activate(built.version)
        store.prune(3)
    seconds = time.perf_counter() - started
    result = {
        "seconds": round(seconds, 1),
        "lists_per_second": round(count / seconds),
        "lists_written": store.last_written if isinstance(store, DynamoDbStore) else count,
        "peak_anonymous_mb": round(peak() / 1e6),
    }
    print(json.dumps(result))


def _kill_at_batch(store: DynamoDbStore, nth: int) -> None:
    left = nth

    def count_down(**_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    store._table.client.meta.events.register("before-send.dynamodb.BatchWriteItem", count_down)


def _watch_memory() -> Callable[[], int]:
    """A function that returns the peak of anonymous memory so far, in bytes; of all memory where there is no /proc."""
    status, peak = Path("/proc/self/status"), 0
    if not status.exists():
        return lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

    def look() -> None:
        nonlocal peak
        while True:
            line = next(line for line in status.read_text().splitlines() if line.startswith("RssAnon"))
            peak = max(peak, int(line.split()[1]) * 1024)
            time.sleep(0.1)

    threading.Thread(target=look, daemon=True).start()
    return lambda: peak


def run_publish(*arguments: object) -> dict | None:
    """Publishes in a process; None where it was killed."""
    command = [sys.executable, "-m", "benchmarks.serving_bulk", "--publish", json.dumps(arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode == -signal.SIGKILL:
        return None
    if done.returncode:
        raise AssertionError(f"a publish failed with status {done.returncode}")
    return json.loads(done.stdout)


# The comparison ------------------------------------------------------------------------------------------------


def load_dynamodb(endpoint: str, count: int) -> dict:
    """A load that is killed half-way, its resumption, and a month with few changes."""
    table = Table("bulk", endpoint)
    create_table(table)
    spec = f"dynamodb:{table.name}"
    started = time.perf_counter()
    if run_publish(spec, endpoint, "2026-08", count, 0, max(1, count // 25 // 2)) is not None:
        raise AssertionError("it was not killed")
    seconds = time.perf_counter() - started
    visible = open_reader(spec, endpoint).snapshot() is not None
    # What a wait of 90 seconds would do, as after any killed publish.
    table.call("delete_item", Key=key_of(STORE, WRITER))
    resumed = run_publish(spec, endpoint, "2026-08", count, 0, 0)
    few = run_publish(spec, endpoint, "2026-09", count, round(count * CHANGED), 0)
    return {
        "killed": {"seconds": round(seconds, 1), "version_visible": visible},
        "resumed": resumed,
        "few_changes": few,
        "lookups": measure_lookups(spec, endpoint, count),
    }


def load_lmdb(folder: Path, count: int) -> dict:
    """The same without the kill: LMDB builds a file from its start."""
    spec = f"lmdb:{folder / 'serving'}"
    return {
        "first": run_publish(spec, None, "2026-08", count, 0, 0),
        "few_changes": run_publish(spec, None, "2026-09", count, round(count * CHANGED), 0),
        "lookups": measure_lookups(spec, None, count),
    }


def measure_lookups(spec: str, endpoint: str | None, count: int) -> dict:
    """Milliseconds of single lookups and of batches of 100, one at a time, random customers."""
    reader, draw = open_reader(spec, endpoint), random.Random(2)

    def name() -> str:
        return f"customer-{draw.randrange(count):08d}"

    singles, batches = [], []
    for _ in range(LOOKUPS):
        singles.append(_milliseconds(lambda: [reader.get(name())]))
    for _ in range(BATCHES):
        batches.append(_milliseconds(lambda: reader.get_many([name() for _ in range(BATCH)])))
    return {
        "single_p50_ms": _quantile(singles, 50),
        "single_p99_ms": _quantile(singles, 99),
        "batch_of_100_p50_ms": _quantile(batches, 50),
        "batch_of_100_p99_ms": _quantile(batches, 99),
    }


def _milliseconds(work: Callable[[], list]) -> float:
    started = time.perf_counter()
    if None in work():
        raise AssertionError("a list is missing")
    return (time.perf_counter() - started) * 1e3


def _quantile(values: list[float], percent: int) -> float:
    return round(statistics.quantiles(values, n=100)[percent - 1], 4)


@contextmanager
def local_credentials() -> Iterator[None]:
    """DynamoDB Local takes any."""
    os.environ |= {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_DEFAULT_REGION": "us-east-1"}
    yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lists", type=int, default=200_000)
    parser.add_argument("--publish", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.publish:
        publish(*json.loads(arguments.publish))
        return
    count, load_before = arguments.lists, os.getloadavg()[0]
    sizes = [len(items) for items in made_up_items()]
    with tempfile.TemporaryDirectory(prefix="replenish-bench-") as folder, local_credentials():
        lmdb = load_lmdb(Path(folder), count)
        with dynamodb_local.running(load_settings()) as endpoint:
            dynamodb = load_dynamodb(endpoint, count)
    result = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cpus": os.cpu_count(),
            "load_before": round(load_before, 1),
            "python": platform.python_version(),
            "system": platform.system(),
        },
        "packages": {name: version(name) for name in ("lmdb", "boto3")} | {"dynamodb_local": dynamodb_local.VERSION},
        "lists": count,
        "list_bytes": round(statistics.mean(sizes)),
        "changed_in_the_second_month": round(count * CHANGED),
        "lmdb": lmdb,
        "dynamodb_local": dynamodb,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
