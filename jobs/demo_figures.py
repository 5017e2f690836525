"""Gathers what the demo's page shows: one household's list, scorecard, calibration, the month's flow.

Reads the lake and the serving store, writes nothing. Not here: how it looks (``demo_page.py``, ``demo_plots.py``).
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.scorecard import AGAINST, K
from transforms.catalogue import as_of_end_of
from transforms.list_changes import ListChanges, list_changes
from transforms.month_flow import FlowStep, flow_steps
from transforms.needs import need
from transforms.probability_metrics import ReliabilityBin, reliability
from warehouse.contracts import bronze
from warehouse.contracts.gold import CANDIDATES, PURCHASE_FREQUENCY, REPLENISHMENT_STATE, SCORECARD
from warehouse.contracts.serving import SUBSCRIBE_SAVE_LISTS
from warehouse.contracts.silver import ORDER_LINES, PRODUCTS_TABLE
from warehouse.errors import PermanentError
from warehouse.lake import Lake
from warehouse.months import add_months
from warehouse.serving.store import Manifest, ServingStore, VersionDiff
from warehouse.settings import Settings

EXAMPLE_LINES = 8
"""Lines that a list has at least to be shown as the example, and that are shown of it at first."""
PLOTTED = ("published", "decayed_frequency", AGAINST)
"""Methods of the scorecard that the page compares, the lists that were served first."""
_HOUSEHOLDS = range(1, 2501)
"""The data's households are numbered from 1."""


@dataclass(frozen=True)
class Household:
    """One household's live list.

    ``lines`` are rows of ``serving/subscribe_save_lists``, best first; ``bought`` has the days on which each line's
    product was bought; ``changes`` compares with the list before, None where there was none.
    """

    customer_id: str
    lines: list[dict[str, Any]]
    bought: Mapping[str, Sequence[date]]
    changes: ListChanges | None


@dataclass(frozen=True)
class MonthScore:
    """``recall`` by method in one month, and how far the published lists are from personal top (paired)."""

    month: str
    recall: Mapping[str, float]
    customers: int
    difference: float | None
    difference_se: float | None


@dataclass(frozen=True)
class Calibration:
    """What lists said in parts of equal number, and what was bought of it in the month after."""

    months: Sequence[str]
    lines: int
    needs: Sequence[ReliabilityBin]
    products: Sequence[ReliabilityBin]


@dataclass(frozen=True)
class DemoFigures:
    """All that the page shows."""

    live: Manifest
    diff: VersionDiff | None
    household: Household | None
    scores: Sequence[MonthScore]
    calibration: Calibration | None
    flow: Sequence[FlowStep]


def gather(
    lake: Lake, settings: Settings, store: ServingStore, months: Sequence[str], dropped: Mapping[str, int]
) -> DemoFigures:
    """The figures of the live version and of the months judged.

    Args:
        lake: holds the months.
        settings: the business time zone.
        store: has a live version.
        months: months whose scorecards are looked for.
        dropped: pairs that policies left out of the live month's lists, by reason.

    Raises:
        PermanentError: nothing is live.
    """
    live = store.live()
    if live is None:
        raise PermanentError(
            f"no list is live in {settings.serving_store}: publish a month that was decided with "
            "python -m jobs.publish --month YYYY-MM"
        )
    versions = store.versions()
    previous = next((version for version in versions if version.month < live.month), None)
    scores = read_scores(lake, months)
    return DemoFigures(
        live=live,
        diff=store.diff(previous.version, live.version) if previous else None,
        household=_household(lake, store, live, previous),
        scores=scores,
        calibration=_calibration(lake, settings, versions, [score.month for score in scores]),
        flow=_flow(lake, live, dropped),
    )


def example_customer(store: ServingStore) -> str | None:
    """The first household whose live list is long; None before the first publish."""
    if store.live() is None:
        return None
    bodies = ((str(number), store.get(str(number))) for number in _HOUSEHOLDS)
    return next((customer for customer, body in bodies if body and _lines(body) >= EXAMPLE_LINES), None)


def _lines(body: bytes) -> int:
    return len(json.loads(body)["items"])


def _household(lake: Lake, store: ServingStore, live: Manifest, previous: Manifest | None) -> Household | None:
    customer = example_customer(store)
    if customer is None:
        return None
    versions = [version.version for version in (live, previous) if version]
    rows = lake.read(SUBSCRIBE_SAVE_LISTS).where(F.col("version").isin(versions) & (F.col("customer_id") == customer))
    lists: dict[str, list[dict[str, Any]]] = {version: [] for version in versions}
    for row in rows.orderBy("rank").toArrow().to_pylist():
        lists[row["version"]].append(row)
    lines = lists[live.version]
    changes = list_changes(lists[previous.version], lines) if previous else None
    return Household(customer, lines, _bought_days(lake, customer, [line["product_id"] for line in lines]), changes)


def _bought_days(lake: Lake, customer: str, products: Sequence[str]) -> dict[str, list[date]]:
    rows = lake.read(ORDER_LINES).where(
        (F.col("customer_id") == customer) & F.col("product_id").isin(list(products)) & (F.col("quantity") > 0)
    )
    days: dict[str, list[date]] = {}
    for row in rows.select("product_id", "ordered_date").distinct().orderBy("ordered_date").collect():
        days.setdefault(row.product_id, []).append(row.ordered_date)
    return days


def read_scores(lake: Lake, months: Sequence[str]) -> list[MonthScore]:
    """Recall of the plotted methods in each of the months in which lists were judged, in order."""
    paired = f"recall@{K}_vs_{AGAINST}"
    wanted = F.col("metric").isin(f"recall@{K}", paired) & F.col("method").isin(*PLOTTED)
    by_month: dict[str, dict[tuple[str, str], Any]] = {}
    for row in lake.read(SCORECARD, months).where(wanted & F.col("value").isNotNull()).orderBy("month").collect():
        by_month.setdefault(row.month, {})[row.method, row.metric] = row
    scores = []
    for month, rows in by_month.items():
        recall = {method: rows[method, f"recall@{K}"] for method in PLOTTED if (method, f"recall@{K}") in rows}
        against = rows.get(("published", paired))
        scores.append(
            MonthScore(
                month,
                {method: row.value for method, row in recall.items()},
                max(row.customers for row in recall.values()),
                against.value if against else None,
                against.standard_error if against else None,
            )
        )
    return scores


def _calibration(
    lake: Lake, settings: Settings, versions: Sequence[Manifest], months: Collection[str]
) -> Calibration | None:
    """The probabilities on the published lists that the store holds, against what was bought in the month after.

    Args:
        lake: holds the versions' lines and the months' purchases.
        settings: the business time zone.
        versions: the store's, latest release first.
        months: months that are over; a version counts where the month after its own is one of them.
    """
    latest = {version.month: version for version in reversed(versions)}
    judged = {month: latest[before] for month in sorted(months) if (before := add_months(month, -1)) in latest}
    if not judged:
        return None
    table = _judged_lines(lake, settings, judged).toArrow()
    if table.num_rows == 0:
        return None
    said, is_bought, need_said, is_need_bought = (np.asarray(column) for column in table.columns)
    needs, products = reliability(need_said, is_need_bought), reliability(said, is_bought)
    return Calibration(list(judged), table.num_rows, needs, products)


def _judged_lines(lake: Lake, settings: Settings, judged: Mapping[str, Manifest]) -> DataFrame:
    """``probability, is_bought, need_probability, is_need_bought`` of the versions' lines, each by its month judged."""
    month_after = F.date_format(F.add_months(F.to_date("month", "yyyy-MM"), 1), "yyyy-MM")
    lines = lake.read(SUBSCRIBE_SAVE_LISTS).where(F.col("version").isin([each.version for each in judged.values()]))
    lines = lines.select(
        month_after.alias("month"), "customer_id", "product_id", "need", "probability", "need_probability"
    )
    products = as_of_end_of(lake.read(PRODUCTS_TABLE), max(judged), settings.business_tz)
    pairs = lake.read(PURCHASE_FREQUENCY, list(judged)).where("orders > 0").select("month", "customer_id", "product_id")
    bought = pairs.withColumn("is_bought", F.lit(True))
    needs = pairs.join(products.select("product_id", need().alias("need")), "product_id")
    needs = needs.select("month", "customer_id", "need", F.lit(True).alias("is_need_bought")).distinct()
    known = lines.join(bought, ["month", "customer_id", "product_id"], "left")
    known = known.join(needs, ["month", "customer_id", "need"], "left")
    flags = [F.coalesce(name, F.lit(False)).alias(name) for name in ("is_bought", "is_need_bought")]
    return known.select("probability", flags[0], "need_probability", flags[1])


def _flow(lake: Lake, live: Manifest, dropped: Mapping[str, int]) -> list[FlowStep]:
    """The live month from landed rows to published lines."""
    month = live.month
    refused = lake.read(bronze.QUARANTINE, [month]).where("dataset = 'orders'").groupBy("reason")
    reasons = {row["reason"]: row["rows"] for row in refused.agg(F.sum("rows").alias("rows")).collect()}
    tables = (ORDER_LINES, REPLENISHMENT_STATE, CANDIDATES)
    lines, pairs, candidates = (lake.count_by_month(table, [month]).get(month, 0) for table in tables)
    return flow_steps(
        order_lines=lines,
        refused=reasons,
        pairs=pairs,
        candidates=candidates,
        dropped=dropped,
        lists=live.customers,
        lines=live.lines,
    )
