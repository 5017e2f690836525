"""What the DynamoDB store would write, read and keep for ten million lists like the home's, and its alternatives.

``python -m benchmarks.serving_cost [--lists N] [--write-usd P] [--read-usd P] [--gb-month-usd P]`` reads the versions
in the home's LMDB store (``make demo``), asks no network, and writes benchmarks/results/serving_cost.json. Prices are
inputs; the defaults are AWS's public ones, on demand, us-east-1, as known in November 2025: check them.
"""

import argparse
import json
import statistics
import zlib
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path

import lmdb

from warehouse.serving.dynamodb_layout import list_item
from warehouse.serving.lmdb_store import LmdbStore
from warehouse.settings import load_settings

RESULTS = Path(__file__).parent / "results" / "serving_cost.json"
KEEP = 3
_INDEX_ENTRY = 64  # customer id, content hash, in the alternative with an index


@dataclass(frozen=True)
class Lists:
    """Sizes of the lists of one version, means over customers. A write unit is 1 kB of an item, a read unit 4 kB."""

    customers: int
    json_bytes: float
    packed_bytes: float
    json_write_units: float
    packed_write_units: float


def item_bytes(customer_id: str, body: bytes) -> int:
    """Bytes that DynamoDB bills for a list's item: names and values of its attributes."""
    item = list_item(customer_id, 0, 100, None)
    # A number takes about a byte for two digits, and one more.
    return sum(len(name) + len(value.get("S", "000")) for name, value in item.items()) + len("items") + len(body)


def read_version(path: Path) -> dict[str, bytes]:
    with lmdb.open(str(path), subdir=False, readonly=True, lock=False) as env, env.begin() as transaction:
        return {key.decode(): items for key, items in transaction.cursor()}


def sizes_of(lists: dict[str, bytes]) -> Lists:
    plain = [item_bytes(name, items) for name, items in lists.items()]
    packed = [item_bytes(name, zlib.compress(items, 6)) for name, items in lists.items()]
    return Lists(
        len(lists),
        statistics.mean(plain),
        statistics.mean(packed),
        statistics.mean(ceil(size / 1024) for size in plain),
        statistics.mean(ceil(size / 1024) for size in packed),
    )


def designs(sizes: Lists, count: int, changed: float) -> dict[str, dict[str, float]]:
    """Millions of write and read units of one publish, and the gigabytes kept, of each design.

    Each reads the whole table once to check what was written; the store reads it once more before it writes.
    ``changed``: share of lists that differ from the live version's. A month of the demo changes all of them, since
    reasons and due dates move; publishing a month again after late rows changes few.
    """
    unit, million, giga = sizes.packed_write_units, count / 1e6, count / 1e9
    kept = giga * sizes.packed_bytes
    per_page = sizes.packed_bytes / 4096
    slots = 1 + KEEP * changed
    whole = KEEP + 1
    return {
        "every list anew, JSON": _row(
            million * sizes.json_write_units, million * sizes.json_bytes / 4096 * whole, giga * sizes.json_bytes * whole
        ),
        "every list anew, packed": _row(million * unit, million * per_page * whole, kept * whole),
        "by content hash, an index a version, deletes": _row(
            2 * million * unit * changed + million * _INDEX_ENTRY / 1024,
            million * (per_page * slots + _INDEX_ENTRY / 4096 * KEEP),
            kept * slots + giga * _INDEX_ENTRY * whole,
        ),
        "shared lists in slots (the store)": _row(
            million * unit * changed, 2 * million * per_page * slots, kept * slots
        ),
    }


def _row(writes: float, reads: float, gigabytes: float) -> dict[str, float]:
    return {"write_units_millions": writes, "read_units_millions": reads, "gigabytes": gigabytes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lists", type=int, default=10_000_000)
    parser.add_argument("--write-usd", type=float, default=0.625, help="a million write units (default %(default)s)")
    parser.add_argument("--read-usd", type=float, default=0.125, help="a million read units (default %(default)s)")
    parser.add_argument("--gb-month-usd", type=float, default=0.25, help="a gigabyte a month (default %(default)s)")
    prices = parser.parse_args()
    store = LmdbStore(load_settings().home / "serving")
    held = sorted(store.versions(), key=lambda manifest: manifest.month)[-2:]
    if len(held) < 2:
        parser.error("the home's LMDB store holds fewer than two versions: run `make demo` first")
    before, lists = (read_version(store._file(manifest.version)) for manifest in held)
    sizes = sizes_of(lists)
    both = before.keys() & lists.keys()
    result = {
        "versions": [manifest.version for manifest in held],
        "lists_unchanged_between_them": sum(before[name] == lists[name] for name in both),
        "sizes": {name: round(value, 2) for name, value in asdict(sizes).items()},
        "for_lists": prices.lists,
        "prices_usd": {"write": prices.write_usd, "read": prices.read_usd, "gb_month": prices.gb_month_usd},
        "a_publish": {},
    }
    for changed in (1.0, 0.05):
        rows = designs(sizes, prices.lists, changed)
        for row in rows.values():
            row["publish_usd"] = (
                row["write_units_millions"] * prices.write_usd + row["read_units_millions"] * prices.read_usd
            )
            row["storage_usd_a_month"] = row["gigabytes"] * prices.gb_month_usd
        result["a_publish"][f"{changed:.0%} of lists changed"] = {
            name: {field: round(value, 2) for field, value in row.items()} for name, row in rows.items()
        }
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
