"""Writing a version into the table, and reading all of it back.

A build stages the lists in a file, goes over the whole table once, writes what differs and removes what no version
looks at. It needs no record of its progress: what an interrupted build wrote is found by the next one and kept.
Memory: a few pages of 1 MB and some batches; disk: the lists, once, in the folder for temporary files.

Not here: what is written for one customer (``dynamodb_layout.plan``), and when (``dynamodb_store.py``).
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, groupby

from warehouse.errors import ContractError
from warehouse.serving.diff import DiffCount
from warehouse.serving.dynamodb_layout import (
    LIST,
    HeldVersion,
    Lineage,
    Slot,
    choose,
    list_item,
    list_key,
    plan,
    slot_of,
)
from warehouse.serving.dynamodb_lease import Lease
from warehouse.serving.dynamodb_staging import Staged
from warehouse.serving.dynamodb_table import MAX_WRITES, PK, Item, Table
from warehouse.serving.lists import ContentDigest, body_middle, check_body, compose_body
from warehouse.serving.store import VersionDiff

_SEGMENTS = 8
_WRITE_THREADS = 8
_IN_FLIGHT = 4 * _WRITE_THREADS
_SAMPLE_LISTS = 1_000


def scan_lists(table: Table) -> Iterator[tuple[str, list[Slot]]]:
    """Every customer of the table with all slots, in no order; several segments are read at a time."""
    with ThreadPoolExecutor(_SEGMENTS, thread_name_prefix="dynamodb-scan") as pool:
        waiting = {pool.submit(table.scan, segment, _SEGMENTS, None): segment for segment in range(_SEGMENTS)}
        # A customer's slots lie beside one another, and may go on on the next page.
        cut: dict[int, list[Item]] = {segment: [] for segment in range(_SEGMENTS)}
        while waiting:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                segment = waiting.pop(future)
                items, last = future.result()
                if last is not None:
                    waiting[pool.submit(table.scan, segment, _SEGMENTS, last)] = segment
                items = cut[segment] + items
                if last is not None and items:
                    whole = next(n for n in range(len(items), -1, -1) if n == 0 or items[n - 1][PK] != items[-1][PK])
                    items, cut[segment] = items[:whole], items[whole:]
                yield from _customers(items)


def _customers(items: Iterable[Item]) -> Iterator[tuple[str, list[Slot]]]:
    for pk, slots in groupby(items, key=lambda item: item[PK]["S"]):
        if pk.startswith(LIST):
            yield pk.removeprefix(LIST), [slot_of(item) for item in slots]


class Writer:
    """Puts and deletes in batches of 25 from several threads, with a bound on what is under way.

    ``with`` it: at the end everything has been taken by DynamoDB, or an error is raised.
    """

    def __init__(self, table: Table, lease: Lease) -> None:
        self.written = self.removed = 0
        self._table, self._lease = table, lease
        self._pool = ThreadPoolExecutor(_WRITE_THREADS, thread_name_prefix="dynamodb-write")
        self._batch: list[Callable[[], Item]] = []
        self._under_way: set[Future[None]] = set()

    def put(self, make: Callable[[], Item]) -> None:
        """Writes an item, which is made in the thread that sends it; the same key must not come twice."""
        self.written += 1
        self._add(lambda: {"PutRequest": {"Item": make()}})

    def delete(self, key: Item) -> None:
        """Removes an item."""
        self.removed += 1
        self._add(lambda: {"DeleteRequest": {"Key": key}})

    def _add(self, request: Callable[[], Item]) -> None:
        self._batch.append(request)
        if len(self._batch) == MAX_WRITES:
            self._send()

    def _send(self) -> None:
        if len(self._under_way) >= _IN_FLIGHT:
            self._finish(wait(self._under_way, return_when=FIRST_COMPLETED).done)
        self._under_way.add(self._pool.submit(self._write, self._batch))
        self._batch = []

    def _write(self, batch: list[Callable[[], Item]]) -> None:
        self._table.write_batch([make() for make in batch], self._lease.check)

    def _finish(self, done: Collection[Future[None]]) -> None:
        self._under_way -= set(done)
        for future in done:
            future.result()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                if self._batch:
                    self._send()
                self._finish(set(self._under_way))
        finally:
            self._pool.shutdown(cancel_futures=True)


def write_version(
    table: Table, lease: Lease, staged: Staged, lineage: Lineage, held: Collection[Lineage]
) -> tuple[int, int]:
    """Makes the table hold the staged lists under ``lineage``; returns the items written and removed.

    Args:
        table: the store's table.
        lease: checked before every batch.
        staged: the lists.
        lineage: of the version that is built.
        held: lineages whose lists must stay.
    """
    build = max(lineage)
    with Writer(table, lease) as writer:
        there = ((customer_id, slots, staged.take(customer_id)) for customer_id, slots in scan_lists(table))
        new = ((customer_id, [], items) for customer_id, items in staged.rest())
        for customer_id, slots, wanted in chain(there, new):
            change = plan(slots, wanted, lineage, held)
            if change.write is not None:
                writer.put(partial(list_item, customer_id, change.write, build, wanted))
            for slot in change.remove:
                writer.delete(list_key(customer_id, slot))
    return writer.written, writer.removed


@dataclass(frozen=True)
class Review:
    """What reading the whole table back has found.

    ``version``: the one that was read, with the slots that it uses, and a lineage without the builds of which it uses
    nothing; that changes no choice and keeps lineages short.
    """

    version: HeldVersion
    diff: VersionDiff | None


def review(table: Table, version: HeldVersion, against: HeldVersion | None = None) -> Review:
    """Reads every list of a version back and checks it against the manifest; compares it with another on the way.

    Raises:
        ContractError: it is not what was built.
    """
    manifest, digest = version.manifest, ContentDigest()
    builds, slots_used = {max(version.lineage)}, 0
    count = DiffCount() if against is not None else None
    step = max(1, manifest.customers // _SAMPLE_LISTS)
    for customer_id, slots in scan_lists(table):
        chosen = choose(slots, version.lineage)
        items = chosen.items() if chosen else None
        if chosen is not None:
            builds.add(chosen.since)
            slots_used = max(slots_used, chosen.number + 1)
        if items is not None:
            if digest.customers % step == 0:
                check_list(version, customer_id, items)
            digest.add(customer_id.encode(), items)
        if count is not None and against is not None:
            before = choose(slots, against.lineage)
            count.add(before.items() if before else None, items)
    check_counts(version, digest)
    diff = count.result(against.manifest.version, manifest.version) if count and against else None
    return Review(replace(version, lineage=frozenset(builds), slots=slots_used), diff)


def check_counts(version: HeldVersion, digest: ContentDigest) -> None:
    """Raises a ContractError where lists read back are not those of the manifest."""
    manifest = version.manifest
    if digest.customers != manifest.customers:
        raise ContractError(
            f"version {manifest.version} holds {digest.customers:,} lists where {manifest.customers:,} were built"
        )
    if (digest.checksum(), digest.lines) != (manifest.checksum, manifest.lines):
        raise ContractError(f"version {manifest.version} fails its checksum: {digest.lines:,} lines read back")


def check_sample(table: Table, version: HeldVersion) -> None:
    """Reads up to a thousand lists back as a client would; counts them where the version has no more.

    Raises:
        ContractError: one is damaged, or there are too few.
    """
    found = 0
    for customer_id, slots in scan_lists(table):
        chosen = choose(slots, version.lineage)
        items = chosen.items() if chosen else None
        if items is not None:
            check_list(version, customer_id, items)
            found += 1
            if found == _SAMPLE_LISTS:
                return
    if found != version.manifest.customers:
        raise ContractError(
            f"version {version.manifest.version} holds {found:,} lists where {version.manifest.customers:,} were built"
        )


def check_list(version: HeldVersion, customer_id: str, items: bytes) -> None:
    """Reads a list back as a client would.

    Raises:
        ContractError: it is not a list of this customer and version.
    """
    manifest = version.manifest
    middle = body_middle(manifest.month, manifest.version, manifest.generated_at, manifest.expires_at)
    check_body(compose_body(customer_id, middle, items), customer_id, manifest.version)
