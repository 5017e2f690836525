"""Compares two versions of all lists in one pass over both, in key order.

Not here: opening versions, and what share of change is too much (``publish.py``).
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import fields

from pydantic_core import from_json

from warehouse.serving.store import VersionDiff

_COUNTS = tuple(field.name for field in fields(VersionDiff) if field.type is int)
_Scan = Iterator[tuple[bytes, bytes]]
_END = (None, b"[]")


def diff_scans(a: str, before: _Scan, b: str, after: _Scan) -> VersionDiff:
    """Merges two scans in ascending key order; memory: one list of each.

    Args:
        a: name of the first version.
        before: its (key, items) pairs.
        b: name of the second version.
        after: its pairs.
    """
    counts: Counter[str] = Counter()
    old, new = next(before, _END), next(after, _END)
    while old[0] is not None or new[0] is not None:
        if new[0] is None or (old[0] is not None and old[0] < new[0]):
            counts["customers_removed"] += 1
            counts["lines_removed"] += len(from_json(old[1]))
            old = next(before, _END)
        elif old[0] is None or new[0] < old[0]:
            counts["customers_added"] += 1
            counts["lines_added"] += len(from_json(new[1]))
            new = next(after, _END)
        else:
            _compare(old[1], new[1], counts)
            old, new = next(before, _END), next(after, _END)
    return VersionDiff(a=a, b=b, **{name: counts[name] for name in _COUNTS})


def _compare(old_items: bytes, new_items: bytes, counts: Counter[str]) -> None:
    """Counts one customer of both versions."""
    old, new = _plan(old_items), _plan(new_items)
    before, after = {line[0] for line in old}, {line[0] for line in new}
    counts["customers_unchanged" if old == new else "customers_changed"] += 1
    counts["lines_removed"] += len(before - after)
    counts["lines_added"] += len(after - before)
    counts["lines_kept"] += len(before & after)


def _plan(items: bytes) -> list[tuple[str, int, int]]:
    return [(line["product_id"], line["quantity"], line["cadence_days"]) for line in from_json(items)]
