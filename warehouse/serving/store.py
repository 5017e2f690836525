"""The serving store's protocol and value types: immutable versions of all lists, one of them live.

What belongs here: what every store promises to ``publish.py`` and to the API, and the choice of store by setting.
Not here: how a store does it (``lmdb_store.py``).
"""

import re
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pydantic import AwareDatetime, BaseModel, ConfigDict

from warehouse.errors import SettingsError, UnknownVersion
from warehouse.serving.lists import ContentDigest, whole_seconds_utc

_VERSION = re.compile(r"^\d{4}-\d{2}-[0-9a-f]{12}$")


class Manifest(BaseModel):
    """What a version is. ``released_at`` is null until the version has passed its gates."""

    model_config = ConfigDict(frozen=True)

    version: str
    month: str
    generated_at: AwareDatetime
    expires_at: AwareDatetime
    customers: int
    lines: int
    checksum: str
    released_at: AwareDatetime | None = None

    @classmethod
    def of(cls, month: str, digest: ContentDigest, generated_at: datetime, expires_at: datetime) -> "Manifest":
        """The manifest of a month's lists.

        Raises:
            ContractError: a moment has no time zone.
        """
        return cls(
            version=digest.version(month),
            month=month,
            generated_at=whole_seconds_utc(generated_at),
            expires_at=whole_seconds_utc(expires_at),
            customers=digest.customers,
            lines=digest.lines,
            checksum=digest.checksum(),
        )


def check_version_name(version: str) -> str:
    """The name, if it has the form of one.

    Raises:
        UnknownVersion: it has not.
    """
    if not _VERSION.match(version):
        raise UnknownVersion(f"{version!r} is not a version: it takes <month>-<12 hexadecimal digits>")
    return version


@dataclass(frozen=True)
class VersionDiff:
    """What changed from version ``a`` to version ``b``.

    A list is *changed* when its products, their order, quantities or cadences differ; due dates, probabilities and
    reasons move every month and do not count. A line is *kept* when its customer still has its product, and *moved*
    when a kept line stands at another rank.
    """

    a: str
    b: str
    customers_added: int
    customers_removed: int
    customers_changed: int
    customers_unchanged: int
    lines_added: int
    lines_removed: int
    lines_kept: int
    lines_moved: int

    @property
    def vanished_share(self) -> float:
        """Share of a's customers who have no list in b."""
        return _share(self.customers_removed, self.customers_changed + self.customers_unchanged)

    @property
    def changed_share(self) -> float:
        """Share of the customers in both versions whose list changed."""
        return _share(self.customers_changed, self.customers_unchanged)

    @property
    def lines_replaced_share(self) -> float:
        """Share of a's lines whose product is not on the same customer's list in b."""
        return _share(self.lines_removed, self.lines_kept)


def _share(part: int, rest: int) -> float:
    return part / (part + rest) if part else 0.0


class Snapshot(Protocol):
    """One version, open for reading. It stays readable after it was replaced or pruned."""

    manifest: Manifest

    def get(self, customer_id: str) -> bytes | None:
        """The API's body of the customer's list, or None."""
        ...

    def get_many(self, customer_ids: Iterable[str]) -> list[bytes | None]:
        """The bodies in the order of the ids, None where a customer has no list."""
        ...


class ServingReader(Protocol):
    """The reading half of a store: all that the lookup API has. Readers need no lock."""

    waits: bool
    """Whether a read waits for a network, so that an asynchronous caller makes it in a thread."""

    def live(self) -> Manifest | None:
        """The live version now; None before the first publish."""
        ...

    def versions(self) -> list[Manifest]:
        """The released versions that the store holds, latest release first."""
        ...

    def snapshot(self) -> Snapshot | None:
        """The live version for reading, at most a moment old (see the implementation); None before any publish.

        Raises:
            StoreUnavailable: a version is live and cannot be opened.
            SettingsError: the store's table or its credentials cannot be used.
        """
        ...

    def get(self, customer_id: str) -> bytes | None:
        """:meth:`Snapshot.get` of the live version."""
        snapshot = self.snapshot()
        return snapshot.get(customer_id) if snapshot else None

    def get_many(self, customer_ids: Sequence[str]) -> list[bytes | None]:
        """:meth:`Snapshot.get_many` of the live version; all from one version."""
        snapshot = self.snapshot()
        return snapshot.get_many(customer_ids) if snapshot else [None] * len(customer_ids)


class ServingStore(ServingReader, Protocol):
    """A store of versions. Every change happens under :meth:`writing`."""

    def writing(self) -> AbstractContextManager[None]:
        """Makes the caller the store's only writer.

        Raises:
            StoreUnavailable: another process is writing; the same call succeeds when that one is done.
        """
        ...

    def build(
        self, month: str, lists: Iterable[tuple[str, bytes]], *, generated_at: datetime, expires_at: datetime
    ) -> Manifest:
        """Writes a verified version that is not live, and cleans up what an interrupted build left.

        Where the store holds a sound version of the same content already, that one is returned untouched.

        Args:
            month: month whose end the lists were decided at.
            lists: customer id and :func:`warehouse.serving.lists.encode_items` of each, in any order, read once.
            generated_at: with a time zone.
            expires_at: with a time zone.

        Raises:
            ContractError: a customer comes twice, an id does not fit, or the written version does not verify.
            StoreUnavailable: the store could not write.
        """
        ...

    def verify(self, version: str, *, full: bool = True) -> Manifest:
        """Checks counts, a sample of lists read back and, where ``full``, the checksum over every list.

        Raises:
            UnknownVersion: the store does not hold it.
            ContractError: it is not what was built.
        """
        ...

    def activate(self, version: str) -> Manifest:
        """Marks the version released and makes it live, in one atomic step for readers.

        Raises:
            UnknownVersion: the store does not hold it.
        """
        ...

    def discard(self, version: str) -> None:
        """Removes a version that is not live; readers who have it open keep it."""
        ...

    def prune(self, keep: int) -> list[str]:
        """Removes all but the ``keep`` latest releases; never the live one. Returns what it removed."""
        ...

    def diff(self, a: str, b: str) -> VersionDiff:
        """Compares two versions.

        Raises:
            UnknownVersion: the store does not hold one of them.
        """
        ...


def open_store(spec: str, endpoint: str | None = None) -> ServingStore:
    """The store that ``Settings.serving_store`` names. Opening creates nothing and needs no published version.

    Args:
        spec: ``lmdb:PATH`` or ``dynamodb:TABLE``.
        endpoint: ``Settings.dynamodb_endpoint``: a DynamoDB-compatible server in place of AWS.

    Raises:
        SettingsError: no such kind of store, or no AWS region is set.
    """
    kind, place = _kind_and_place(spec)
    if kind == "lmdb":
        from warehouse.serving.lmdb_store import LmdbStore

        return LmdbStore(place)
    from warehouse.serving.dynamodb_store import DynamoDbStore
    from warehouse.serving.dynamodb_table import Table

    return DynamoDbStore(Table(place, endpoint))


def open_reader(spec: str, endpoint: str | None = None) -> ServingReader:
    """:func:`open_store` for a process that must not write."""
    kind, place = _kind_and_place(spec)
    if kind == "lmdb":
        from warehouse.serving.lmdb_store import LmdbStore

        # Its readers open files read-only; what may be written is up to the folder's rights.
        return LmdbStore(place)
    from warehouse.serving.dynamodb_reader import DynamoDbReader
    from warehouse.serving.dynamodb_table import Table

    return DynamoDbReader(Table(place, endpoint, read_only=True))


def _kind_and_place(spec: str) -> tuple[str, str]:
    kind, _, place = spec.partition(":")
    if kind not in ("lmdb", "dynamodb") or not place:
        raise SettingsError(f"REPLENISH_SERVING is {spec!r}. It takes lmdb:PATH or dynamodb:TABLE")
    return kind, place
