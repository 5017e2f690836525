"""Publishing: build a version, verify it, gate it, record it, switch to it, prune old ones; and rolling back.

What belongs here: the order of the steps and the gates, for any store. It knows no Spark: ``jobs/publish.py``
streams the lists in. Not here: how a store writes (``lmdb_store.py``), and how a list is decided.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from warehouse.errors import QualityGateError
from warehouse.months import parse_month
from warehouse.serving.lists import ContentDigest, encode_items
from warehouse.serving.store import Manifest, ServingStore, VersionDiff

Lists = Iterable[tuple[str, Iterable[Any]]]
"""Customer id and items (mappings or rows with the fields of ``lists.ListItem``, best first), one entry a customer."""


@dataclass(frozen=True)
class Gates:
    """How far a version may be from the live one. The defaults let ordinary months pass and stop accidents.

    Most lists change every month, because their products fall due in turn; so ``max_changed`` is off by default,
    and a renumbered catalogue or a lost feed is caught by the lines replaced and the customers vanished.
    """

    min_customers: int = 1
    max_vanished: float = 0.5
    """Share of the live version's customers who may lose their list."""
    max_changed: float = 1.0
    """Share of the customers in both versions whose products, order, quantities or cadences may differ."""
    max_lines_replaced: float = 0.95
    """Share of the live version's lines whose product may leave the same customer's list."""


@dataclass(frozen=True)
class PublishReport:
    """What a publish did.

    ``outcome``: ``published`` (the version is live now), ``unchanged`` (it was live already: nothing was
    written) or ``superseded`` (a later month is live and stays so: nothing was built).
    ``live``: the version that is live after it. ``previous``: the one live before it.
    ``diff``: against ``previous``, where there was one and the outcome is ``published``. ``pruned``: versions removed.
    """

    outcome: Literal["published", "unchanged", "superseded"]
    live: Manifest
    previous: Manifest | None
    diff: VersionDiff | None
    pruned: tuple[str, ...]


def publish(
    store: ServingStore,
    month: str,
    lists: Lists,
    *,
    generated_at: datetime,
    expires_at: datetime,
    keep: int = 3,
    gates: Gates | None = None,
    before_switch: Callable[[Manifest], None] | None = None,
) -> PublishReport:
    """Publishes a month's lists. The live version stays live until the very last step succeeds.

    Args:
        store: the serving store.
        month: month whose end the lists were decided at, YYYY-MM.
        lists: read once, in any order, one list at a time; ten million need no more memory than ten.
        generated_at: with a time zone.
        expires_at: with a time zone; after it, ``/readyz`` reports the version as too old.
        keep: released versions kept for a rollback, the new one among them.
        gates: limits against the live version; ``Gates()`` where None.
        before_switch: called with the version after its gates and before it goes live, for the caller to record
            it. If it raises, the version is removed and the old one stays live. May be called again for the same
            version after a crash.

    Raises:
        QualityGateError: a gate failed; the text has its figures. The version is removed.
        ContractError: a list does not fit its contract, or the written version does not verify.
        StoreUnavailable: another process is publishing, or the disk failed; a retry helps.
    """
    parse_month(month)
    with store.writing():
        live = store.live()
        if live is not None and live.month > month:
            return PublishReport("superseded", live, live, None, ())
        held = {manifest.version for manifest in store.versions()}
        built = store.build(month, _encoded(lists), generated_at=generated_at, expires_at=expires_at)
        if live is not None and built.version == live.version:
            return PublishReport("unchanged", live, live, None, ())
        diff = store.diff(live.version, built.version) if live is not None else None
        try:
            check_gates(built, diff, gates or Gates())
            if before_switch is not None:
                before_switch(built)
        except BaseException:
            if built.version not in held:
                store.discard(built.version)
            raise
        released = store.activate(built.version)
        return PublishReport("published", released, live, diff, tuple(store.prune(keep)))


def check_gates(built: Manifest, diff: VersionDiff | None, gates: Gates) -> None:
    """Compares a built version's figures with the gates.

    Raises:
        QualityGateError: names every gate that failed, with its figure and its limit.
    """
    failed = []
    if built.customers < gates.min_customers:
        failed.append(f"{built.customers:,} lists, at least {gates.min_customers:,} expected")
    if diff is not None:
        for share, limit, what in (
            (diff.vanished_share, gates.max_vanished, f"of customers vanish ({diff.customers_removed:,})"),
            (diff.changed_share, gates.max_changed, f"of lists change ({diff.customers_changed:,})"),
            (diff.lines_replaced_share, gates.max_lines_replaced, f"of lines are replaced ({diff.lines_removed:,})"),
        ):
            if share > limit:
                failed.append(f"{share:.1%} {what}, at most {limit:.1%} allowed")
    if failed:
        against = f" against {diff.a}, which stays live" if diff is not None else ""
        raise QualityGateError(f"{built.version} is not published: {'; '.join(failed)}{against}")


def rollback(store: ServingStore, version: str) -> Manifest:
    """Makes a version that was live before live again, after a quick check of its count and a sample.

    Raises:
        UnknownVersion: the store does not hold it; the text lists those it holds.
        ContractError: it is damaged; the live version stays live.
    """
    with store.writing():
        store.verify(version, full=False)
        return store.activate(version)


def version_of(month: str, lists: Lists) -> str:
    """The version that :func:`publish` would give these lists: ``<month>-<12 hex>``, a digest of their content.

    Raises:
        ContractError: a list does not fit its contract.
    """
    parse_month(month)
    digest = ContentDigest()
    for customer_id, items in _encoded(lists):
        digest.add(customer_id.encode(), items)
    return digest.version(month)


def _encoded(lists: Lists) -> Iterator[tuple[str, bytes]]:
    return ((customer_id, encode_items(items)) for customer_id, items in lists)
