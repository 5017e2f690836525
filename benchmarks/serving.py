"""Measures lookups: the LMDB store beside SQLite, and the API's hot path beside its plain FastAPI route.

``python -m benchmarks.serving [--lists N] [--seconds S]`` writes benchmarks/results/serving.json. Each pair is
measured in turns in one run on one machine, so that the ratio means something where the rates do not: the load
generator and the server share the machine's cores. Everything stays on loopback and in a temporary folder.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

from warehouse.serving.api import create_app
from warehouse.serving.gateway import Gateway
from warehouse.serving.lmdb_store import LmdbStore
from warehouse.serving.publish import publish
from warehouse.serving.server import serve

RESULTS = Path(__file__).parent / "results" / "serving.json"
LINES = 10
LOOKUPS = 50_000
CONNECTIONS = 16
ROUNDS = 5


def made_up_lists(count: int) -> Iterator[tuple[str, list[dict]]]:
    """Lists of the size that the demo publishes; their content does not matter to a lookup."""
    draw = random.Random(1)
    for number in range(count):
        yield (
            f"customer-{number:08d}",
            [
                {
                    "rank": rank,
                    "product_id": f"{draw.randrange(10**7):07d}{rank:02d}",
                    "name": "Fluid milk, white only, private label, 1 gal",
                    "quantity": draw.randint(1, 4),
                    "cadence_days": draw.randint(7, 60),
                    "next_due_date": date(2026, 9, draw.randint(1, 30)),
                    "probability": draw.random(),
                    "need": f"need {draw.randint(0, 2_000)}",
                    "need_probability": 0.6,
                    "alternates": [],
                    "reason_code": "due",
                    "reason": "Bought on 22 days, every 9 days on average; last on 2026-08-26.",
                    "price_usd": round(draw.random() * 20, 2),
                }
                for rank in range(1, LINES + 1)
            ],
        )


def build_stores(folder: Path, count: int) -> dict[str, float]:
    """Publishes the lists to LMDB and copies the very same bodies to SQLite; returns seconds and bytes."""
    store = LmdbStore(folder / "serving")
    now = datetime.now(UTC)
    started = time.perf_counter()
    manifest = publish(
        store, "2026-08", made_up_lists(count), generated_at=now, expires_at=now + timedelta(days=45)
    ).live
    seconds = time.perf_counter() - started
    snapshot = store.snapshot()
    with sqlite3.connect(folder / "lists.sqlite") as peer:
        peer.execute("CREATE TABLE lists (customer_id TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID")
        peer.executemany(
            "INSERT INTO lists VALUES (?, ?)",
            ((key.decode(), snapshot.get(key.decode())) for key, _ in snapshot.scan()),
        )
    peer.close()
    return {
        "lists": count,
        "lines": manifest.lines,
        "body_bytes": len(snapshot.get("customer-00000000")),
        "publish_seconds": round(seconds, 2),
        "lists_published_per_second": round(count / seconds),
        "lmdb_bytes": (folder / "serving" / "versions" / f"{manifest.version}.lmdb").stat().st_size,
        "sqlite_bytes": (folder / "lists.sqlite").stat().st_size,
    }


def measure_lookups(folder: Path, count: int) -> dict[str, float]:
    """Lookups per second of one thread in process, random ids, both stores in the page cache."""
    store = LmdbStore(folder / "serving")
    peer = sqlite3.connect(f"file:{folder / 'lists.sqlite'}?mode=ro&immutable=1", uri=True)
    peer.execute("PRAGMA mmap_size = 4294967296")
    statement = "SELECT body FROM lists WHERE customer_id = ?"
    draw = random.Random(2)
    ids = [f"customer-{draw.randrange(count):08d}" for _ in range(LOOKUPS)]
    if any(store.get(name) != peer.execute(statement, (name,)).fetchone()[0] for name in ids):
        raise AssertionError("the two stores do not hold the same bodies")

    def ask_lmdb() -> None:
        for name in ids:
            store.get(name)

    def ask_sqlite() -> None:
        for name in ids:
            peer.execute(statement, (name,)).fetchone()

    rates = in_turns(
        {"lmdb": lambda: LOOKUPS / seconds_of(ask_lmdb), "sqlite": lambda: LOOKUPS / seconds_of(ask_sqlite)}
    )
    peer.close()
    return {
        "lmdb_lookups_per_second": round(rates["lmdb"]),
        "sqlite_lookups_per_second": round(rates["sqlite"]),
        "lmdb_over_sqlite": round(rates["lmdb"] / rates["sqlite"], 2),
    }


def measure_http(folder: Path, count: int, seconds: float) -> dict[str, float]:
    """Requests per second of one worker over keep-alive connections, hot path and declared route in turns."""
    with serving("hot", folder) as hot, serving("plain", folder) as plain:
        rates = in_turns(
            {
                "hot": lambda: asyncio.run(load(hot, count, seconds)),
                "plain": lambda: asyncio.run(load(plain, count, seconds)),
            }
        )
    return {
        "hot_path_requests_per_second": round(rates["hot"]),
        "fastapi_route_requests_per_second": round(rates["plain"]),
        "hot_path_over_fastapi_route": round(rates["hot"] / rates["plain"], 2),
    }


def in_turns(measures: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Median of several rounds of each measure, one after the other in each round."""
    found: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(ROUNDS):
        for name, measure in measures.items():
            found[name].append(measure())
    return {name: statistics.median(rates) for name, rates in found.items()}


def seconds_of(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@contextmanager
def serving(kind: str, folder: Path) -> Iterator[int]:
    """Runs a server of its own on a free port, which is what it yields."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.serving", "--serve", kind, "--port", str(port)],
        env=os.environ | {"REPLENISH_SERVING": f"lmdb:{folder / 'serving'}", "REPLENISH_API_KEYS": ""},
        stdout=subprocess.DEVNULL,
    )
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz").close()
                break
            except OSError:
                time.sleep(0.1)
        else:
            raise TimeoutError("the server did not become ready in a minute")
        yield port
    finally:
        process.terminate()
        process.wait(20)


class Connection(asyncio.Protocol):
    """One keep-alive connection that asks for one list after the other."""

    def __init__(self, count: int, seed: int) -> None:
        self.answered = 0
        self._count, self._draw = count, random.Random(seed)
        self._buffer = b""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        name = f"customer-{self._draw.randrange(self._count):08d}"
        self._transport.write(b"GET /v1/customers/%b/subscribe-save HTTP/1.1\r\nhost: bench\r\n\r\n" % name.encode())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        if not head.startswith(b"http/1.1 200"):
            raise AssertionError(f"not answered: {head[:80]!r}")
        length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        if len(self._buffer) >= end + 4 + length:
            self._buffer = self._buffer[end + 4 + length :]
            self.answered += 1
            self._ask()


async def load(port: int, count: int, seconds: float) -> float:
    """Requests answered per second."""
    loop = asyncio.get_running_loop()
    open_connections = [
        await loop.create_connection(lambda seed=seed: Connection(count, seed), "127.0.0.1", port)
        for seed in range(CONNECTIONS)
    ]
    await asyncio.sleep(0.3)
    before, started = sum(protocol.answered for _, protocol in open_connections), time.perf_counter()
    await asyncio.sleep(seconds)
    after, ended = sum(protocol.answered for _, protocol in open_connections), time.perf_counter()
    for transport, _ in open_connections:
        transport.abort()
    return (after - before) / (ended - started)


def hot() -> Gateway:
    """The API as it is served."""
    return create_app()


def plain() -> Gateway:
    """The API with the lookup answered by its declared FastAPI route."""
    return create_app(hot_path=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lists", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of each round of HTTP load")
    parser.add_argument("--serve", choices=("hot", "plain"), help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(f"benchmarks.serving:{arguments.serve}", "127.0.0.1", arguments.port)
        return
    with tempfile.TemporaryDirectory(prefix="replenish-bench-") as folder:
        place = Path(folder)
        result = {
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "system": platform.system()},
            "packages": {name: version(name) for name in ("lmdb", "fastapi", "granian")},
            "sqlite": sqlite3.sqlite_version,
            "store": build_stores(place, arguments.lists),
            "lookups": measure_lookups(place, arguments.lists),
            "http": measure_http(place, arguments.lists, arguments.seconds),
        }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
