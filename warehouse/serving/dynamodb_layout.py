"""How versions share lists in the table: pure functions, no calls.

    pk               sk                  holds
    list#<customer>  <slot>              one list: since (the build that wrote it) and its items, packed
    store            version#<version>   a finished version: manifest, lineage, slots; expires once it was pruned
    store            live                a copy of the live version: the pointer
    store            build               the latest build: its number and its version
    store            writer              the lease of the one process that publishes

Builds are numbered. A version's *lineage* is the set of builds that it stands on: that of the version it was compared
with, and its own. Its list of a customer is the one of the latest build of its lineage; an item without ``items``
says that the customer has no list since then. Hence an unchanged list is not written again, a half-written build is
in no lineage and cannot be seen, and a rollback changes the pointer only. A build writes into a *slot* that no version
still held looks at, so that what was pruned is overwritten and needs no delete.

Not here: the calls (``dynamodb_table.py``), and in which order a build makes them (``dynamodb_build.py``).
"""

import zlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count

from warehouse.errors import ContractError
from warehouse.serving.dynamodb_table import EXPIRES, PK, SK, Item, key_of
from warehouse.serving.store import Manifest

STORE, LIVE, BUILD, WRITER, VERSION = "store", "live", "build", "writer", "version#"
LIST = "list#"

Lineage = frozenset[int]


@dataclass(frozen=True, slots=True)
class Slot:
    """One stored list of a customer. ``packed`` is None where the customer has none since that build."""

    number: int
    since: int
    packed: bytes | None

    def items(self) -> bytes | None:
        """The list's items, None where there are none.

        Raises:
            ContractError: what is stored is damaged.
        """
        if self.packed is None:
            return None
        try:
            return zlib.decompress(self.packed)
        except zlib.error as error:
            raise ContractError(f"a stored list does not read back: {error}") from None

    def holds(self, items: bytes | None) -> bool:
        """Whether it holds just these items."""
        try:
            return self.items() == items
        except ContractError:
            return False


def slot_of(item: Item) -> Slot:
    """The slot that an item of the table holds."""
    packed = item["items"]["B"] if "items" in item else None
    return Slot(int(item[SK]["S"]), int(item["since"]["N"]), packed)


def list_key(customer_id: str, slot: int) -> Item:
    """The key of one slot."""
    return key_of(LIST + customer_id, str(slot))


def list_item(customer_id: str, slot: int, build: int, items: bytes | None) -> Item:
    """A list as an item of the table; without ``items`` it says that the customer has none since that build."""
    item = list_key(customer_id, slot) | {"since": {"N": str(build)}}
    # Packed, the demo's lists of 7 kB take two write units in place of eight.
    return item if items is None else item | {"items": {"B": zlib.compress(items, 6)}}


def choose(slots: Iterable[Slot], lineage: Lineage) -> Slot | None:
    """The slot that a version of this lineage looks at."""
    return max((slot for slot in slots if slot.since in lineage), key=lambda slot: slot.since, default=None)


@dataclass(frozen=True)
class Change:
    """What a build does to one customer: the number of the slot to write, if any, and of those to remove."""

    write: int | None
    remove: Sequence[int]


def plan(slots: Sequence[Slot], wanted: bytes | None, lineage: Lineage, held: Collection[Lineage]) -> Change:
    """Decides what to write so that the version of ``lineage`` has the wanted list.

    What a held version looks at stays. What none looks at is overwritten or removed, which in any order and half done
    changes nothing for them.

    Args:
        slots: the customer's, all of them.
        wanted: items of the list, None for a customer who has none.
        lineage: of the version that is built; its latest build is the one that writes.
        held: lineages of the versions that readers may look at or go back to.
    """
    current = choose(slots, lineage)
    needed = {slot.number for one in held if (slot := choose(slots, one)) is not None}
    write = None
    if current.holds(wanted) if current else wanted is None:
        needed |= {current.number} if current else set()
        if all(slot.packed is None for slot in slots):
            # They hide nothing any more. While there was something, it had to go before them.
            needed = set()
    else:
        # A list of this very build that is not the wanted one is damaged.
        in_place = current is not None and current.since == max(lineage)
        write = current.number if in_place else next(number for number in count() if number not in needed)
        needed.add(write)
    return Change(write, [slot.number for slot in slots if slot.number not in needed])


@dataclass(frozen=True)
class HeldVersion:
    """A finished version as the table holds it.

    ``slots``: its lists lie in the slots below this number. ``pruned_at``: seconds since 1970, None while it is held.
    """

    manifest: Manifest
    lineage: Lineage
    slots: int
    pruned_at: float | None = None

    def item(self, sk: str) -> Item:
        """The version as an item of the table."""
        return key_of(STORE, sk) | {
            "version": {"S": self.manifest.version},
            "manifest": {"S": self.manifest.model_dump_json()},
            "lineage": {"NS": [str(build) for build in sorted(self.lineage)]},
            "slots": {"N": str(self.slots)},
        }

    def pruned(self, now: float, keep_s: float) -> Item:
        """The version as an item that DynamoDB removes by itself some time after ``keep_s`` seconds."""
        item = replace(self, pruned_at=now).item(VERSION + self.manifest.version)
        return item | {"pruned_at": {"N": str(now)}, EXPIRES: {"N": str(int(now + keep_s))}}


def version_of_item(item: Item) -> HeldVersion:
    """The version that an item of the table holds.

    Raises:
        ContractError: it is not one.
    """
    try:
        return HeldVersion(
            Manifest.model_validate_json(item["manifest"]["S"]),
            frozenset(int(build) for build in item["lineage"]["NS"]),
            int(item["slots"]["N"]),
            float(item["pruned_at"]["N"]) if "pruned_at" in item else None,
        )
    except (KeyError, ValueError) as error:
        what = f"{item.get(PK, {}).get('S')} {item.get(SK, {}).get('S')}"
        raise ContractError(f"the item {what} of the DynamoDB table is not a version: {error!r}") from error
