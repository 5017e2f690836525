"""The serving store in a DynamoDB table, for reading: what the lookup API opens.

A lookup is one Query (all slots of one customer, one read unit up to 4 kB); a batch takes 100 slots a BatchGetItem.
All reads are strongly consistent: a replica that lags would give an older list of the customer under the new
version's name. Nothing here can write: the class has no such method, the client refuses to send one, and the role
of the API needs none (docs/operations.md).
Not here: publishing (``dynamodb_store.py``), and how the lists lie in the table (``dynamodb_layout.py``).
"""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from warehouse.errors import ReplenishError, StoreUnavailable
from warehouse.serving.dynamodb_layout import (
    LIST,
    LIVE,
    STORE,
    VERSION,
    HeldVersion,
    Slot,
    choose,
    list_key,
    slot_of,
    version_of_item,
)
from warehouse.serving.dynamodb_table import MAX_GETS, PK, Item, Table
from warehouse.serving.lists import body_middle, compose_body, customer_key
from warehouse.serving.store import Manifest, ServingReader

FOLLOW_SECONDS = 1.0
"""How often, at most, a reader looks whether another version is live: with one read's time, its staleness."""

GRACE_SECONDS = 120.0
"""How long lists stay after their version was pruned; a reader stops using a snapshot at half of it."""

_THREADS = 8
_log = logging.getLogger(__name__)


class DynamoDbSnapshot:
    """One version, open for reading, until :data:`GRACE_SECONDS` / 2 after it was last seen to be live."""

    def __init__(self, table: Table, version: HeldVersion, pool: ThreadPoolExecutor) -> None:
        manifest = self.manifest = version.manifest
        self.version = version
        self.seen_live_at = time.monotonic()
        self._table = table
        self._pool = pool
        self._middle = body_middle(manifest.month, manifest.version, manifest.generated_at, manifest.expires_at)

    def get(self, customer_id: str) -> bytes | None:
        """The API's body of the customer's list, or None."""
        self._check_age()
        if customer_key(customer_id) is None:
            return None
        return self.body(customer_id, [slot_of(item) for item in self._table.query(LIST + customer_id)])

    def get_many(self, customer_ids: Iterable[str]) -> list[bytes | None]:
        """The bodies in the order of the ids, None where a customer has no list."""
        self._check_age()
        wanted = list(customer_ids)
        known = [customer_id for customer_id in dict.fromkeys(wanted) if customer_key(customer_id) is not None]
        keys = [list_key(customer_id, slot) for customer_id in known for slot in range(self.version.slots)]
        batches = [keys[start : start + MAX_GETS] for start in range(0, len(keys), MAX_GETS)]
        slots: dict[str, list[Slot]] = defaultdict(list)
        for items in self._pool.map(self._table.get_batch, batches):
            for item in items:
                slots[item[PK]["S"].removeprefix(LIST)].append(slot_of(item))
        return [self.body(customer_id, slots.get(customer_id, ())) for customer_id in wanted]

    def body(self, customer_id: str, slots: Sequence[Slot]) -> bytes | None:
        """The API's body of the list that this version has among a customer's slots."""
        chosen = choose(slots, self.version.lineage)
        items = chosen.items() if chosen else None
        return None if items is None else compose_body(customer_id, self._middle, items)

    def _check_age(self) -> None:
        if time.monotonic() - self.seen_live_at > GRACE_SECONDS / 2:
            raise StoreUnavailable(
                f"version {self.manifest.version} was opened too long ago to be read from: take a new snapshot"
            )


class DynamoDbReader(ServingReader):
    """Implements :class:`warehouse.serving.store.ServingReader` on a table."""

    waits = True

    def __init__(self, table: Table) -> None:
        self._table = table
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="dynamodb")
        self._snapshot: DynamoDbSnapshot | None = None
        self._look_again_at = 0.0
        self._following = threading.Lock()
        self._failed = False

    def live(self) -> Manifest | None:
        """The live version's manifest, read now."""
        version = self._live()
        return version.manifest if version else None

    def versions(self) -> list[Manifest]:
        """The released versions, latest release first."""
        held = [version.manifest for version in self._held() if version.pruned_at is None]
        released = [manifest for manifest in held if manifest.released_at is not None]
        return sorted(released, key=lambda manifest: manifest.released_at, reverse=True)

    def snapshot(self) -> DynamoDbSnapshot | None:
        """The live version for reading, at most :data:`FOLLOW_SECONDS` and one read's time old."""
        now, open_now = time.monotonic(), self._snapshot
        # While one thread looks, the others go on with what is open, if that was not left open for long.
        must_wait = open_now is None or now - open_now.seen_live_at > GRACE_SECONDS / 4
        if now >= self._look_again_at and self._following.acquire(blocking=must_wait):
            try:
                if time.monotonic() >= self._look_again_at:
                    self._follow()
                    self._look_again_at = time.monotonic() + FOLLOW_SECONDS
            finally:
                self._following.release()
        return self._snapshot

    def _follow(self) -> None:
        """Looks at the pointer; where it cannot be read, what is open stays in use while its lists are sure to."""
        asked_at = time.monotonic()
        try:
            live = self._live()
        except ReplenishError as error:
            if self._snapshot is None or asked_at - self._snapshot.seen_live_at > GRACE_SECONDS / 4:
                raise
            if not self._failed:
                _log.error("still serving %s: %s", self._snapshot.manifest.version, error)
            self._failed = True
            return
        self._failed = False
        if live is None:
            self._snapshot = None
        elif self._snapshot is not None and self._snapshot.version == live:
            self._snapshot.seen_live_at = asked_at
        else:
            self._snapshot = DynamoDbSnapshot(self._table, live, self._pool)

    def _live(self) -> HeldVersion | None:
        item = self._table.get(STORE, LIVE)
        return version_of_item(item) if item else None

    def _held(self) -> list[HeldVersion]:
        return [version_of_item(item) for item in self._held_items()]

    def _held_items(self) -> list[Item]:
        return self._table.query(STORE, VERSION)
