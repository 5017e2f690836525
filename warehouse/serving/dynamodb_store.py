"""The serving store in a DynamoDB table: versions that share unchanged lists, and a pointer switched by a transaction.

A publish reads the table twice (to see what differs, and to check what it wrote) and writes the lists that differ,
the version and the pointer. A process killed at any point leaves the live version live; the next build of the same
lists finds what was written and writes the rest. Costs and alternatives: docs/decisions/0014-dynamodb-store.md.

Not here: reading (``dynamodb_reader.py``), how lists lie in the table (``dynamodb_layout.py``), the passes over it
(``dynamodb_build.py``), the lease (``dynamodb_lease.py``).
"""

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from warehouse.errors import ContractError, StoreUnavailable, UnknownVersion
from warehouse.serving import dynamodb_lease
from warehouse.serving.diff import DiffCount
from warehouse.serving.dynamodb_build import check_sample, review, scan_lists, write_version
from warehouse.serving.dynamodb_errors import reasons_of
from warehouse.serving.dynamodb_layout import BUILD, LIVE, STORE, VERSION, HeldVersion, Lineage, choose
from warehouse.serving.dynamodb_lease import Lease
from warehouse.serving.dynamodb_reader import GRACE_SECONDS, DynamoDbReader
from warehouse.serving.dynamodb_staging import Staged, stage
from warehouse.serving.dynamodb_table import Item, Table, key_of
from warehouse.serving.store import Manifest, VersionDiff, check_version_name

_FORGET_SECONDS = 86_400.0
_log = logging.getLogger(__name__)


class DynamoDbStore(DynamoDbReader):
    """Implements :class:`warehouse.serving.store.ServingStore` on a table that exists."""

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self._lease: Lease | None = None
        self._diff: VersionDiff | None = None
        self.last_written = self.last_removed = 0
        """Lists that the last build wrote and removed."""

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Makes the caller the only writer; a killed process's lease ends after 90 seconds."""
        with dynamodb_lease.hold(self._table) as lease:
            self._lease = lease
            try:
                yield
            finally:
                self._lease = None

    def build(
        self, month: str, lists: Iterable[tuple[str, bytes]], *, generated_at: datetime, expires_at: datetime
    ) -> Manifest:
        """Writes a verified version that is not live; see the protocol. Call it under :meth:`writing`."""
        self.last_written = self.last_removed = 0
        with stage(lists) as staged:
            manifest = Manifest.of(month, staged.digest, generated_at, expires_at)
            held = self._find(manifest.version)
            if held is not None and held.manifest.released_at is not None:
                if self._is_sound(held):
                    return held.manifest
                manifest, base = held.manifest, held
            else:
                base = self._live()
            lineage = (base.lineage if base else frozenset()) | {self._number(manifest.version)}
            return self._write(HeldVersion(manifest, lineage, 0), staged)

    def verify(self, version: str, *, full: bool = True) -> Manifest:
        """Checks a version against its manifest; see the protocol. Only ``full`` reads every list."""
        held = self._version(version)
        if full:
            review(self._table, held)
        else:
            check_sample(self._table, held)
        return held.manifest

    def activate(self, version: str) -> Manifest:
        """Marks a version released and points to it, in one transaction that fails where the lease is lost."""
        held = self._version(version)
        if held.manifest.released_at is None:
            released = held.manifest.model_copy(update={"released_at": datetime.now(UTC)})
            held = replace(held, manifest=released)
        live = self._live()
        if live is None:
            pointer: Item = {"ConditionExpression": "attribute_not_exists(pk)"}
        else:
            values = {":live": {"S": live.manifest.version}}
            pointer = {"ConditionExpression": "#version = :live", "ExpressionAttributeValues": values}
            pointer["ExpressionAttributeNames"] = {"#version": "version"}
        self._transact(
            self._put(held.item(VERSION + version)),
            self._put(held.item(LIVE), **pointer),
        )
        return held.manifest

    def discard(self, version: str) -> None:
        """Forgets a version that is not live; the next build removes or overwrites what only it looked at."""
        self._refuse_live(version)
        self._table.call("delete_item", Key=key_of(STORE, VERSION + check_version_name(version)))

    def prune(self, keep: int) -> list[str]:
        """Forgets all but the latest ``keep`` releases and the live one. Costs one write a version.

        Their lists stay for :data:`GRACE_SECONDS`, for readers who have them open, and then until a build comes by.
        """
        live = self.live()
        surplus = [one.version for one in self.versions()[keep:] if live is None or one.version != live.version]
        for version in surplus:
            self._table.call("put_item", Item=self._version(version).pruned(time.time(), _FORGET_SECONDS))
        return surplus

    def diff(self, a: str, b: str) -> VersionDiff:
        """Compares two versions in one pass over the table; see the protocol."""
        if self._diff is not None and (self._diff.a, self._diff.b) == (a, b):
            return self._diff  # seen by the build's own pass
        before, after = self._version(a), self._version(b)
        count = DiffCount()
        for _, slots in scan_lists(self._table):
            old, new = choose(slots, before.lineage), choose(slots, after.lineage)
            count.add(old.items() if old else None, new.items() if new else None)
        return count.result(a, b)

    # Building ----------------------------------------------------------------------------------------------

    def _write(self, version: HeldVersion, staged: Staged) -> Manifest:
        """Writes what differs, reads everything back, then makes the version exist."""
        if self._lease is None:
            raise RuntimeError("a table is built in inside writing()")
        live, name = self._live(), version.manifest.version
        self._forget_unreleased(name)
        held = self._lineages_to_keep()
        written, removed = write_version(self._table, self._lease, staged, version.lineage, held)
        self.last_written, self.last_removed = written, removed
        _log.info("%s: %d of %d lists written, %d removed", name, written, version.manifest.customers, removed)
        seen = review(self._table, version, live)
        version, self._diff = seen.version, seen.diff
        items = [self._put(version.item(VERSION + name))]
        if live is not None and live.manifest.version == name:
            items.append(self._put(version.item(LIVE)))  # mended: its lists may lie in other slots now
        self._transact(*items)
        return version.manifest

    def _number(self, version: str) -> int:
        """The number of this build: that of the latest, where it was of the same version, or the next.

        A number belongs to one version for ever, so what an interrupted build wrote under it is right.
        """
        last = self._table.get(STORE, BUILD)
        if last is not None and last["version"]["S"] == version:
            return int(last["build"]["N"])
        number = int(last["build"]["N"]) + 1 if last else 1
        # Before any list carries it: else a killed build's lists could be taken for another version's.
        self._transact(self._put(key_of(STORE, BUILD) | {"build": {"N": str(number)}, "version": {"S": version}}))
        return number

    def _forget_unreleased(self, but: str) -> None:
        """Forgets versions that an earlier publish built and did not release; nobody looks at them."""
        for held in self._held():
            if held.manifest.released_at is None and held.manifest.version != but:
                self.discard(held.manifest.version)

    def _lineages_to_keep(self) -> set[Lineage]:
        """Lineages that readers may look at: of the held versions, and of those pruned a moment ago."""
        held = [one for one in self._held() if one.pruned_at is None or time.time() - one.pruned_at < GRACE_SECONDS]
        live = self._live()
        return {one.lineage for one in [*held, *([live] if live else [])]}

    def _is_sound(self, held: HeldVersion) -> bool:
        try:
            review(self._table, held)
        except ContractError as error:
            _log.warning("%s; it is mended", error)
            return False
        return True

    # Items -------------------------------------------------------------------------------------------------

    def _find(self, version: str) -> HeldVersion | None:
        """A version that was not pruned; the pointer's copy where only that is left."""
        for held in self._held():
            if held.manifest.version == version and held.pruned_at is None:
                return held
        live = self._live()
        return live if live is not None and live.manifest.version == version else None

    def _version(self, version: str) -> HeldVersion:
        held = self._find(check_version_name(version))
        if held is None:
            names = ", ".join(manifest.version for manifest in self.versions()) or "none"
            raise UnknownVersion(f"the serving store holds no version {version}. It holds: {names}")
        return held

    def _refuse_live(self, version: str) -> None:
        live = self._live()
        if live is not None and live.manifest.version == version:
            raise ContractError(f"{version} is live: activate another version before removing it")

    def _put(self, item: Item, **condition: Any) -> Item:
        return {"Put": {"TableName": self._table.name, "Item": item} | condition}

    def _transact(self, *actions: Item) -> None:
        """All or nothing; nothing too where the lease is lost.

        Raises:
            StoreUnavailable: another process has taken over.
        """
        fence = [self._lease.condition()] if self._lease is not None else []
        for pause in (0.1, 0.2, 0.4, 0.8, None):
            try:
                with self._table.explained():
                    self._table.client.transact_write_items(TransactItems=[*fence, *actions])
                return
            except ClientError as error:
                # The renewal of the lease may come in between; it goes on at once.
                if pause is None or "ConditionalCheckFailed" in reasons_of(error):
                    raise StoreUnavailable(
                        f"another process changed the DynamoDB table {self._table.name} meanwhile: nothing was "
                        "switched; run it again"
                    ) from error
                time.sleep(pause)
