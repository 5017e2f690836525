"""Compares two versions of all lists, customer by customer.

Not here: opening versions, and what share of change is too much (``publish.py``).
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import fields

from pydantic_core import from_json

from warehouse.serving.lists import count_lines
from warehouse.serving.store import VersionDiff

_COUNTS = tuple(field.name for field in fields(VersionDiff) if field.type is int)
_Scan = Iterator[tuple[bytes, bytes]]
_END = (None, None)


class DiffCount:
    """Counts customers of two versions, in any order; memory: one list of each."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, old: bytes | None, new: bytes | None) -> None:
        """Counts one customer by the items of both versions, None where a version has no list."""
        counts = self._counts
        if old is None and new is None:
            return
        if new is None:
            counts["customers_removed"] += 1
            counts["lines_removed"] += count_lines(old)
        elif old is None:
            counts["customers_added"] += 1
            counts["lines_added"] += count_lines(new)
        elif old == new:
            counts["customers_unchanged"] += 1
            counts["lines_kept"] += count_lines(new)
        else:
            _compare(old, new, counts)

    def result(self, a: str, b: str) -> VersionDiff:
        """What was counted, from the version named ``a`` to the one named ``b``."""
        return VersionDiff(a=a, b=b, **{name: self._counts[name] for name in _COUNTS})


def diff_scans(a: str, before: _Scan, b: str, after: _Scan) -> VersionDiff:
    """Merges two scans in ascending key order; memory: one list of each.

    Args:
        a: name of the first version.
        before: its (key, items) pairs.
        b: name of the second version.
        after: its pairs.
    """
    count = DiffCount()
    old, new = next(before, _END), next(after, _END)
    while old[0] is not None or new[0] is not None:
        if new[0] is None or (old[0] is not None and old[0] < new[0]):
            count.add(old[1], None)
            old = next(before, _END)
        elif old[0] is None or new[0] < old[0]:
            count.add(None, new[1])
            new = next(after, _END)
        else:
            count.add(old[1], new[1])
            old, new = next(before, _END), next(after, _END)
    return count.result(a, b)


def _compare(old_items: bytes, new_items: bytes, counts: Counter[str]) -> None:
    """Counts one customer of both versions."""
    old, new = _plan(old_items), _plan(new_items)
    before, after = ({line[0]: place for place, line in enumerate(plan)} for plan in (old, new))
    kept = before.keys() & after.keys()
    counts["customers_unchanged" if old == new else "customers_changed"] += 1
    counts["lines_removed"] += len(before) - len(kept)
    counts["lines_added"] += len(after) - len(kept)
    counts["lines_kept"] += len(kept)
    counts["lines_moved"] += sum(before[product] != after[product] for product in kept)


def _plan(items: bytes) -> list[tuple[str, int, int]]:
    return [(line["product_id"], line["quantity"], line["cadence_days"]) for line in from_json(items)]
