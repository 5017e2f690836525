"""What changed on one customer's list from one version to the next: lines in, out, moved.

Not here: counts over all customers (``warehouse/serving/diff.py``), which tell lines apart by the same rule.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Line = Mapping[str, Any]


@dataclass(frozen=True)
class Move:
    """A line that stays, and the rank it had before."""

    line: Line
    from_rank: int


@dataclass(frozen=True)
class ListChanges:
    """Lines that came, lines that left, lines that stayed at another rank, and how many stayed in all.

    ``swapped`` has the needs that are answered by another product now: for each a line came and a line left.
    """

    added: list[Line]
    removed: list[Line]
    moved: list[Move]
    kept: int
    swapped: frozenset[str]


def list_changes(before: Sequence[Line], after: Sequence[Line]) -> ListChanges:
    """Compares two lists of one customer by ``product_id``, ``rank`` and ``need``.

    Returns:
        ``added`` and ``removed`` in the order of their lists; ``moved`` with the greatest change of rank first.
    """
    old = {line["product_id"]: line for line in before}
    new = {line["product_id"]: line for line in after}
    moved = [
        Move(line, old[product]["rank"])
        for product, line in new.items()
        if product in old and old[product]["rank"] != line["rank"]
    ]
    added = [line for product, line in new.items() if product not in old]
    removed = [line for product, line in old.items() if product not in new]
    return ListChanges(
        added=added,
        removed=removed,
        moved=sorted(moved, key=lambda move: (-abs(move.line["rank"] - move.from_rank), move.line["rank"])),
        kept=len(old.keys() & new.keys()),
        swapped=frozenset(line["need"] for line in added) & {line["need"] for line in removed},
    )
