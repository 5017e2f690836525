"""Measures the openai client against the stand-in server: requests a second, and the share of time outside the server.

``python -m benchmarks.llm_client [--seconds S]`` prints a table and writes benchmarks/results/llm_client.json. The
server is a process of its own that takes 20 ms for each answer, far less than a model would, so that the client's own
work shows. What is outside the server is 1 - (time in the server / concurrency) / wall: the client, HTTP, and waiting
for a core, as client and server share the machine. The stand-in answers by a rule; no language model is measured.
"""

import argparse
import json
import os
import platform
import random
import time
import urllib.request
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

from transforms.prompts import render_body
from warehouse.llm.contract import PendingShard, parse_response, request_line
from warehouse.llm.openai_client import OpenAiClient
from warehouse.llm.stand_in_answers import MODEL
from warehouse.llm.stand_in_process import running

RESULTS = Path(__file__).parent / "results" / "llm_client.json"
CONCURRENCIES = (1, 8, 32)
LATENCY_MS = 20.0
SHARD_RECORDS = 100
CANDIDATES = 30
MONTH = "2026-08"


def made_up_requests(count: int, candidates: int = CANDIDATES, seed: int = 1) -> list[str]:
    """Request lines of the size that the demo asks; their ids are ``request-00000`` and so on."""
    draw = random.Random(seed)
    return [
        request_line(
            f"request-{number:05d}", render_body([made_up_candidate(draw) for _ in range(candidates)], MONTH, MODEL, 20)
        )
        for number in range(count)
    ]


def made_up_candidate(draw: random.Random) -> dict:
    """One product that might belong on a list, as :func:`~transforms.prompts.render_body` takes it."""
    due = date(2026, 9, 1) + timedelta(days=draw.randrange(30))
    return {
        "name": "Fluid milk, white only, private label, 1 gal",
        "need": "FLUID MILK PRODUCTS",
        "need_probability": draw.random(),
        "need_due_date": due,
        "related_name": None,
        "is_due": True,
        "is_high_frequency": False,
        "is_similar_in_history": False,
        "is_copurchased": False,
        "probability": draw.random(),
        "due_date_p10": due - timedelta(days=4),
        "due_date": due,
        "due_date_p90": due + timedelta(days=9),
        "gap_days": draw.uniform(3, 90),
        "units_per_order": draw.uniform(1, 4),
        "orders_in_month": draw.randrange(3),
        "orders": draw.randrange(1, 40),
        "last_ordered_date": due - timedelta(days=20),
        "similarity": None,
        "lift": None,
        "alternates": [{"name": "Low-fat milk, private label, 1 gal", "probability": 0.123}],
    }


def shards_of(lines: list[str], records: int = SHARD_RECORDS) -> list[PendingShard]:
    """The lines in shards of so many records."""
    starts = range(0, len(lines), records)
    return [PendingShard(f"shard-{start // records:05d}.jsonl", lines[start : start + records]) for start in starts]


def measure(concurrency: int, seconds: float) -> dict[str, float]:
    """One run of about so many seconds, against a server of its own."""
    lines = made_up_requests(max(20, round(min(concurrency * 1_000 / LATENCY_MS, 250) * seconds)))
    answered: list[str] = []
    with running(latency_ms=LATENCY_MS) as address:
        client = OpenAiClient(f"{address}/v1", MODEL, concurrency=concurrency)
        # The first requests open connections and import the package.
        client.answer(MONTH, shards_of(lines[:concurrency]), lambda shard, got: None)
        before = _server_seconds(address)
        started = time.perf_counter()
        client.answer(MONTH, shards_of(lines), lambda shard, got: answered.extend(got))
        wall = time.perf_counter() - started
        in_server = _server_seconds(address) - before
    if len(answered) != len(lines) or not all(parse_response(line).is_finished for line in answered):
        raise AssertionError("not every request was answered")
    return {
        "concurrency": concurrency,
        "requests": len(lines),
        "requests_per_second": round(len(lines) / wall, 1),
        "ms_in_server": round(1_000 * in_server / len(lines), 1),
        "share_outside_server": round(1 - in_server / concurrency / wall, 3),
    }


def _server_seconds(address: str) -> float:
    with urllib.request.urlopen(f"{address}/stats") as response:
        return json.load(response)["server_seconds"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0, help="about how long each run takes")
    arguments = parser.parse_args()
    runs = [measure(concurrency, arguments.seconds) for concurrency in CONCURRENCIES]
    print("concurrency  requests  requests/s  ms in the server  share outside the server")
    for run in runs:
        print(
            f"{run['concurrency']:11d}  {run['requests']:8d}  {run['requests_per_second']:10.1f}"
            f"  {run['ms_in_server']:16.1f}  {run['share_outside_server']:24.1%}"
        )
    result = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "system": platform.system()},
        "packages": {name: version(name) for name in ("openai", "httpx", "granian")},
        "latency_ms": LATENCY_MS,
        "runs": runs,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
