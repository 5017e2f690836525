"""Judges the lists decided at the end of the month before by what was bought in the month → gold/scorecard.

Judged are the customers with a purchase in the six months before the month and in the month itself; only products
that may stand on a list count. All methods share customers, cutoff and truth.
"""

from collections.abc import Sequence
from contextlib import ExitStack

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.champion import MODEL, POLICY, decided_lists
from jobs.cli import run_job
from jobs.report import JobReport
from transforms.baselines import simple_lists
from transforms.catalogue import as_of_end_of
from transforms.metrics import judge_lists, mean_metrics, mean_of, monthly_units_error, paired_differences, rank_by
from warehouse.contracts.gold import CANDIDATES, LIST_DECISIONS, REPLENISHMENT_STATE, SCORECARD
from warehouse.contracts.silver import ORDER_LINES, PRODUCTS_TABLE
from warehouse.contracts.table import arrow_schema
from warehouse.lake import Lake, persisted
from warehouse.months import add_months, days_in, first_date
from warehouse.settings import Settings

K = 10
ACTIVE_MONTHS = 6
AGAINST = "personal_top"
"""The method that lists must not lose to."""


def run(lake: Lake, settings: Settings, months: Sequence[str]) -> JobReport:
    """Replaces the months of ``gold/scorecard``. A month before which nothing was decided gets no row."""
    rows = {}
    details: dict[str, object] = {}
    for month in sorted(months):
        before = add_months(month, -1)
        if not lake.count_by_month(LIST_DECISIONS, [before]):
            lake.replace_months(SCORECARD, arrow_schema(SCORECARD).empty_table(), [month])
            rows[month], details = 0, {"note": f"nothing was decided at the end of {before}"}
            continue
        judged = judge_month(lake, settings, month)
        rows[month] = lake.replace_months(SCORECARD, judged, [month]).rows
        details = {"recall@10": _recall(judged)}
    return JobReport(SCORECARD.name, rows, details)


def judge_month(lake: Lake, settings: Settings, month: str) -> pa.Table:
    """Metrics of every method in ``month``: rows of ``gold/scorecard``, a few.

    With them stands how far the published lists are from personal top, paired by customer
    (``recall@10_vs_personal_top`` …), how far the units of their lines are from those bought, and what share of the
    purchases the candidates held. Where a model was asked, the same of its lists against the policy's, and their cost.

    Raises:
        MissingMonth: nothing was decided at the end of the month before, or the month has no purchases.
    """
    before = add_months(month, -1)
    lake.require_months(LIST_DECISIONS, [before])
    state = lake.require_months(REPLENISHMENT_STATE, [before])
    products = as_of_end_of(lake.read(PRODUCTS_TABLE), before, settings.business_tz)
    goods = products.where("is_subscribable").select("product_id")
    with ExitStack() as kept:
        truth = kept.enter_context(persisted(bought_in(lake, state, goods, month)))
        history = state.join(F.broadcast(goods), on="product_id", how="left_semi")
        simple = kept.enter_context(persisted(simple_lists(history, K)))
        decided = decided_lists(lake, settings, before)
        lists = {method: listed_lines(decisions) for method, decisions in decided.items()}
        lists |= {
            name: simple.select("customer_id", "product_id", F.col(name).alias("rank"))
            for name in ("personal_top", "decayed_frequency")
        }
        judged = kept.enter_context(persisted(judge_lists(lists, truth, K)))
        rows = mean_metrics(judged, K).unionByName(_paired(judged, "published", AGAINST))
        bought = lake.read(ORDER_LINES, [month])
        for method, decisions in decided.items():
            lines = decisions.select("customer_id", F.inline("items"))
            rows = rows.unionByName(monthly_units_error(lines, bought, days_in(month), method))
        rows = rows.unionByName(_candidate_recall(lake.read(CANDIDATES, [before]), truth))
        if MODEL in decided:
            rows = rows.unionByName(_paired(judged, MODEL, POLICY)).unionByName(_cost(decided[MODEL]))
        return rows.withColumn("month", F.lit(month)).select(*SCORECARD.column_names).toArrow()


def _paired(judged: DataFrame, method: str, against: str) -> DataFrame:
    """How far a method is from another, customer by customer: metrics ``recall@10_vs_<against>`` …"""
    return paired_differences(judged.where(F.col("method").isin(method, against)), against, K).select(
        "method",
        F.concat("metric", F.lit(f"_vs_{against}")).alias("metric"),
        F.col("difference").alias("value"),
        F.col("difference_se").alias("standard_error"),
        "customers",
    )


def _candidate_recall(candidates: DataFrame, truth: DataFrame) -> DataFrame:
    """Share of what a customer bought that was a candidate, whatever its place: no list can find more."""
    offered = candidates.select("customer_id", "product_id", F.lit(1.0).alias("offered"))
    each = truth.join(offered, on=["customer_id", "product_id"], how="left").groupBy("customer_id")
    return each.agg(F.avg(F.coalesce("offered", F.lit(0.0))).alias("recall")).agg(
        F.lit("published").alias("method"),
        F.lit("candidate_recall").alias("metric"),
        *mean_of(F.col("recall")),
    )


def _cost(asked: DataFrame) -> DataFrame:
    """What the model's lists cost: one row, US dollars per thousand customers."""
    return asked.agg(
        F.lit(MODEL).alias("method"),
        F.lit("cost_usd_per_thousand").alias("metric"),
        (1000 * F.avg("cost_usd")).alias("value"),
        F.lit(None).cast("double").alias("standard_error"),
        F.count(F.lit(1)).alias("customers"),
    )


def listed_lines(decisions: DataFrame) -> DataFrame:
    """``customer_id, product_id, rank`` of the lists in rows of ``gold/list_decisions``.

    Preferred products and alternates together, the likeliest first: what a shop shows that shows products, not needs.
    """
    lines = decisions.select("customer_id", F.inline("items")).withColumnRenamed("rank", "line")
    preferred = lines.select("customer_id", "product_id", "probability", "line")
    others = lines.select("customer_id", "line", F.inline("alternates")).select(*preferred.columns)
    return rank_by(preferred.unionByName(others), F.desc("probability"), F.asc("line"))


def listed_needs(decisions: DataFrame) -> DataFrame:
    """The same for the needs of the lists, line by line; a need stands in ``product_id``."""
    lines = decisions.select("customer_id", F.inline("items"))
    return lines.select("customer_id", F.col("need").alias("product_id"), "rank")


def bought_in(lake: Lake, state: DataFrame, goods: DataFrame, month: str) -> DataFrame:
    """What lists for the month are judged by: ``customer_id, product_id, is_repeat`` (bought before the month).

    Args:
        lake: where.
        state: ``gold/replenishment_state`` of the month before.
        goods: ``product_id`` of what may stand on a list.
        month: the month judged; customers active in the six months before it count.

    Raises:
        MissingMonth: the month has no order lines.
    """
    since = F.add_months(F.lit(first_date(month)), -ACTIVE_MONTHS)
    active = state.where(F.col("last_ordered_date") >= since).select("customer_id").distinct()
    seen = state.select("customer_id", "product_id", F.lit(True).alias("seen"))
    return (
        lake.require_months(ORDER_LINES, [month])
        .where(F.col("quantity") > 0)
        .select("customer_id", "product_id")
        .distinct()
        .join(goods, on="product_id", how="left_semi")
        .join(active, on="customer_id", how="left_semi")
        .join(seen, on=["customer_id", "product_id"], how="left")
        .select("customer_id", "product_id", F.coalesce("seen", F.lit(False)).alias("is_repeat"))
    )


def scorecard_rows(lake: Lake, months: Sequence[str]) -> list[dict[str, object]]:
    """What ``gold/scorecard`` holds of the months: one dict a month and method, as ``jobs.backtest`` gives them."""
    results: dict[tuple[str, str], dict[str, object]] = {}
    rows = lake.collect(SCORECARD, months).to_pylist()
    # Methods backwards: the published lists come before the simple methods.
    rows.sort(key=lambda row: row["metric"])
    rows.sort(key=lambda row: row["method"], reverse=True)
    rows.sort(key=lambda row: row["month"])
    for row in rows:
        result = results.setdefault((row["month"], row["method"]), {"month": row["month"], "method": row["method"]})
        result[row["metric"]] = row["value"]
        if row["metric"].startswith("recall@"):
            result["customers"] = row["customers"]
    return list(results.values())


def _recall(judged: pa.Table) -> dict[str, float]:
    rows = judged.filter(pc.equal(judged["metric"], f"recall@{K}")).to_pylist()
    return {row["method"]: round(row["value"], 4) for row in rows if row["value"] is not None}


if __name__ == "__main__":
    run_job(run, __doc__)
