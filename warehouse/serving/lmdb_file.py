"""One version as one LMDB file: writing it, checking it, reading it.

Key: customer id in UTF-8 (at most 511 bytes, LMDB's limit). Value: JSON of the list's items.
A file is written under a temporary name by one process, then never changes; hence readers open it read-only and
without LMDB's lock file, which only matters beside a writer.
Not here: which file is live (``lmdb_store.py``), and which are open in this process (``lmdb_shared.py``).
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import lmdb

from warehouse.errors import ContractError, StoreUnavailable
from warehouse.serving.lists import MAX_KEY_BYTES, ContentDigest, body_middle, check_body, compose_body, customer_key
from warehouse.serving.lmdb_shared import SharedEnvironment, open_shared
from warehouse.serving.store import Manifest

_FIRST_MAP_BYTES = 16 << 20
_BATCH_LISTS = 1_000
_SAMPLE_LISTS = 1_000


class VersionFile:
    """A version open for reading; safe to use from several threads. It closes when the last reference goes."""

    def __init__(self, shared: SharedEnvironment, manifest: Manifest) -> None:
        self.manifest = manifest
        self._shared = shared
        self._env = shared.environment
        self._middle = body_middle(manifest.month, manifest.version, manifest.generated_at, manifest.expires_at)

    def get(self, customer_id: str) -> bytes | None:
        """The API's body of the customer's list, or None."""
        key = customer_key(customer_id)
        if key is None:
            return None
        with self._env.begin() as transaction:
            items = transaction.get(key)
        return None if items is None else compose_body(customer_id, self._middle, items)

    def get_many(self, customer_ids: Iterable[str]) -> list[bytes | None]:
        """The bodies in the order of the ids, None where a customer has no list."""
        bodies: list[bytes | None] = []
        with self._env.begin() as transaction:
            for customer_id in customer_ids:
                key = customer_key(customer_id)
                items = transaction.get(key) if key is not None else None
                bodies.append(None if items is None else compose_body(customer_id, self._middle, items))
        return bodies

    def scan(self) -> Iterator[tuple[bytes, bytes]]:
        """All (key, items), in key order."""
        with self._env.begin() as transaction:
            yield from transaction.cursor()

    def count(self) -> int:
        """Number of lists."""
        return self._env.stat()["entries"]


def open_version(path: Path, manifest: Manifest) -> VersionFile:
    """Opens a version for reading.

    Raises:
        StoreUnavailable: the file is missing or cannot be read.
    """
    try:
        shared = open_shared(path)
    except (OSError, lmdb.Error) as error:
        raise StoreUnavailable(f"version {manifest.version} cannot be opened: {error}") from error
    return VersionFile(shared, manifest)


def write_lists(path: Path, lists: Iterable[tuple[str, bytes]], *, durable: bool = True) -> ContentDigest:
    """Writes a new file and, where it is to outlive a power failure, forces it to disk. Memory: one batch of lists.

    Raises:
        ContractError: a customer comes twice or an id does not fit; no ids in the text.
        StoreUnavailable: the disk did not take it.
    """
    digest = ContentDigest()
    source = iter(lists)
    try:
        with lmdb.open(
            str(path), subdir=False, map_size=_FIRST_MAP_BYTES, lock=False, sync=False, metasync=False
        ) as env:
            while batch := [(_key(customer_id), items) for customer_id, items in islice(source, _BATCH_LISTS)]:
                if _put(env, sorted(batch)) != len(batch):
                    raise ContractError(
                        f"a customer comes twice among the first {digest.customers + len(batch):,} lists: "
                        "group the rows by customer"
                    )
                for key, items in batch:
                    digest.add(key, items)
            if durable:
                env.sync(True)
    except lmdb.Error as error:
        raise StoreUnavailable(f"the serving store could not be written: {error}") from error
    return digest


def _put(env: lmdb.Environment, batch: list[tuple[bytes, bytes]]) -> int:
    """Adds a batch in one transaction, doubling the map until it fits; returns the rows added."""
    while True:
        try:
            with env.begin(write=True) as transaction:
                return transaction.cursor().putmulti(batch, overwrite=False)[1]
        except lmdb.MapFullError:
            env.set_mapsize(env.info()["map_size"] * 2)


def check_file(file: VersionFile, *, full: bool) -> None:
    """Checks a file against its manifest: count, a sample read back as a client would, checksum where ``full``.

    Raises:
        ContractError: it is not what was built.
    """
    manifest = file.manifest
    if file.count() != manifest.customers:
        raise ContractError(
            f"version {manifest.version} holds {file.count():,} lists where {manifest.customers:,} were built"
        )
    digest = ContentDigest()
    step = max(1, manifest.customers // _SAMPLE_LISTS)
    lists = file.scan() if full else islice(file.scan(), _SAMPLE_LISTS)
    for position, (key, items) in enumerate(lists):
        if full:
            digest.add(key, items)
        if not full or position % step == 0:
            customer_id = key.decode()
            check_body(file.get(customer_id) or b"", customer_id, manifest.version)
    if full and (digest.checksum(), digest.lines) != (manifest.checksum, manifest.lines):
        raise ContractError(f"version {manifest.version} fails its checksum: {digest.lines:,} lines read back")


def remove_file(path: Path) -> None:
    """Removes a file and what LMDB may have put beside it; readers who have it open keep it (POSIX)."""
    for name in (path, path.with_name(path.name + "-lock")):
        name.unlink(missing_ok=True)


def _key(customer_id: str) -> bytes:
    key = customer_key(customer_id)
    if key is None:
        raise ContractError(
            f"a customer id of {len(customer_id):,} characters cannot be published: "
            f"the store takes 1 to {MAX_KEY_BYTES} bytes of UTF-8"
        )
    return key
