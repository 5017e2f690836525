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
    """Lines that came, lines that left, lines that stayed at another rank, and how many stayed in all."""

    added: list[Line]
    removed: list[Line]
    moved: list[Move]
    kept: int


def list_changes(before: Sequence[Line], after: Sequence[Line]) -> ListChanges:
    """Compares two lists of one customer by ``product_id`` and ``rank``.

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
    return ListChanges(
        added=[line for product, line in new.items() if product not in old],
        removed=[line for product, line in old.items() if product not in new],
        moved=sorted(moved, key=lambda move: (-abs(move.line["rank"] - move.from_rank), move.line["rank"])),
        kept=len(old.keys() & new.keys()),
    )
