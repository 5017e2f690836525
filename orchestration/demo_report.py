"""What the demo prints of a month: its scorecard, the lists against those before, and one household's changes."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from assets.factory import asset_key
from jobs.backtest import render_table
from jobs.demo_figures import EXAMPLE_LINES, example_customer
from jobs.scorecard import scorecard_rows
from transforms.list_changes import Line, ListChanges, list_changes
from transforms.month_flow import OVER_BUDGET
from warehouse.contracts.gold import CANDIDATES, LIST_REQUESTS
from warehouse.lake import Lake
from warehouse.serving.store import Manifest, ServingStore, VersionDiff

_CHANGES_SHOWN = 4


def example_list(store: ServingStore) -> dict[str, Any] | None:
    """The live list of the demo's example household; None before the first publish."""
    customer = example_customer(store)
    body = store.get(customer) if customer else None
    return json.loads(body) if body else None


def show_month(
    lake: Lake, store: ServingStore, month: str, before: Manifest | None, example: dict[str, Any] | None
) -> None:
    """Prints what the month's run brought.

    Args:
        lake: holds the month's scorecard.
        store: whose live version the run published.
        month: the month that arrived.
        before: the version that was live before the run.
        example: a household's list of that version.
    """
    live = store.live()
    if live is None:
        return
    if before is None or before.version == live.version:
        print(f"\n  Live: {live.version}, {live.customers:,} lists with {live.lines:,} lines.\n", flush=True)
        return
    print(f"\n  {before.month}'s lists judged by what was bought in {month} (mean over households):\n")
    print(_indented(render_table(scorecard_rows(lake, [month]))))
    print("\n" + _indented("\n".join(diff_lines(store.diff(before.version, live.version)))))
    if example:
        body = store.get(example["customer_id"])
        after = json.loads(body)["items"] if body else []
        changes = change_lines(list_changes(example["items"], after))
        print("\n" + _indented("\n".join([f"Household {example['customer_id']}:", *changes])) + "\n", flush=True)


def diff_lines(diff: VersionDiff) -> list[str]:
    """How a version differs from the one before, in two lines."""
    return [
        f"{diff.a} → {diff.b}: {diff.customers_changed:,} lists changed, {diff.customers_unchanged:,} did not, "
        f"{diff.customers_added:,} new, {diff.customers_removed:,} gone",
        f"lines: {diff.lines_added:,} in, {diff.lines_removed:,} out, {diff.lines_kept:,} kept, of which "
        f"{diff.lines_moved:,} moved",
    ]


def change_lines(changes: ListChanges) -> list[str]:
    """What changed on one list, a line each; a few of each kind."""
    moves = [f"{move.line['name']} (rank {move.from_rank} → {move.line['rank']})" for move in changes.moved]
    came, left = (_names(lines, changes.swapped) for lines in (changes.added, changes.removed))
    kinds = {"in": came, "out": left, "moved": moves}
    lines = [f"  {kind:5} {text}" for kind, names in kinds.items() for text in _first(names)]
    return lines or ["  no change"]


def _names(lines: Sequence[Line], swapped: Collection[str]) -> list[str]:
    return [f"{line['name']}{' (same need, another product)' if line['need'] in swapped else ''}" for line in lines]


def _first(names: Sequence[str]) -> list[str]:
    more = len(names) - _CHANGES_SHOWN
    return [*names[:_CHANGES_SHOWN], *([f"… {more} more"] if more > 0 else [])]


def show_list(store: ServingStore) -> None:
    """Prints the first lines of the example household's live list."""
    live, body = store.live(), example_list(store)
    if live is None or body is None:
        return
    print(f"\nLive: {live.version}, {live.customers:,} lists. One of them, household {body['customer_id']}:\n")
    for item in body["items"][:EXAMPLE_LINES]:
        print(f"  {item['rank']:>2}  {item['quantity']} × {item['name']}, every {item['cadence_days']} days")
        print(f"      {item['reason']}")
        if item["alternates"]:
            print(f"      or: {'; '.join(other['name'] for other in item['alternates'])}")
    print(f"      … {len(body['items'])} lines in all")


def show_next(store: ServingStore, page: Path) -> None:
    """Prints how to look further."""
    print(f"\nRead:  {page.as_uri()}")
    print("       the list with its evidence, scorecard, calibration and the month in numbers; opens without a network")
    print("Next:  make ui    the Dagster UI at http://127.0.0.1:3000")
    print("       make api   the lookup API at http://127.0.0.1:8000/docs")
    customer = example_customer(store)
    if customer:
        print(f"       curl http://127.0.0.1:8000/v1/customers/{customer}/subscribe-save")


def table_facts(instance: dg.DagsterInstance, month: str) -> dict[str, int]:
    """What left the month's flow between its tables, by reason: only the runs know it, no table does."""
    dropped = _metadata(instance, asset_key(CANDIDATES), month).get("dropped") or {}
    over_budget = (_metadata(instance, asset_key(LIST_REQUESTS), month).get("over_budget") or {}).get(month)
    return {**dropped, **({OVER_BUDGET: over_budget} if over_budget else {})}


def _metadata(instance: dg.DagsterInstance, key: dg.AssetKey, month: str) -> dict[str, Any]:
    """The latest materialization's metadata of the month, plain values."""
    event = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=key, asset_partitions=[month]), limit=1
    ).records
    materialization = event[0].asset_materialization if event else None
    return {name: value.value for name, value in materialization.metadata.items()} if materialization else {}


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" if line else "" for line in text.split("\n"))
