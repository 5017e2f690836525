"""Customers and products of whom little is known: how good lists are for them, judged apart.

``python -m benchmarks.decisions`` runs it. A tenth of the households is treated as never seen: what speaks for their
purchases is what others buy, all others or those of the same income and household size. The rest is judged by how often
a household has come; what share of the purchases is of products that few had bought before; and how products new in
the shop are found by their text, beside the most bought of them.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from benchmarks.protocol import all_goods
from jobs.candidates import score_history
from jobs.proposals import goods_of, in_parts, pairs_of, propose, take_stock
from jobs.scorecard import bought_in
from transforms.baselines import decayed_frequency
from transforms.catalogue import as_of_end_of
from transforms.discovery import FEATURES, DiscoveryParams
from transforms.metrics import judge_lists, mean_metrics, rank_by
from warehouse.contracts.features import decayed_name
from warehouse.contracts.gold import REPLENISHMENT_STATE
from warehouse.contracts.silver import CUSTOMERS_TABLE, PRODUCTS_TABLE
from warehouse.lake import Lake, persisted
from warehouse.months import add_months
from warehouse.settings import Settings

K = 10
COLD_PRODUCT_BUYERS = 5
PURCHASES = ((1, 30), (31, 100), (101, 300), (301, 10**9))
"""Pair-days of purchase so far by which households are told apart."""


def measure_cold(lake: Lake, settings: Settings, months: Sequence[str]) -> list[dict[str, object]]:
    """One dict a month: ``unseen`` (method → recall and precision at 10), ``by_history``, ``arrivals`` (likewise) and
    ``cold_products``.

    Raises:
        MissingMonth: a month before one of ``months`` has no state or no profiles.
    """
    goods = all_goods(lake)
    return [_month(lake, settings, month, goods) for month in months]


def _month(lake: Lake, settings: Settings, month: str, goods: DataFrame) -> dict[str, object]:
    before = add_months(month, -1)
    state = lake.require_months(REPLENISHMENT_STATE, [before]).join(goods, "product_id", "left_semi")
    with persisted(bought_in(lake, state, goods, month)) as truth:
        return {
            "month": month,
            "unseen": _unseen(lake, settings, before, state, truth),
            "by_history": _by_history(lake, settings, before, state, truth),
            "arrivals": _arrivals(lake, settings, before, goods, truth),
            "cold_products": _cold_products(state, truth),
        }


def _unseen(
    lake: Lake, settings: Settings, before: str, state: DataFrame, truth: DataFrame
) -> dict[str, dict[str, float]]:
    hidden = F.pmod(F.xxhash64("customer_id"), F.lit(10)) == 0
    customers = as_of_end_of(lake.read(CUSTOMERS_TABLE), before, settings.business_tz)
    segment = F.concat_ws(" ", F.coalesce("income_band", F.lit("?")), F.coalesce("household_size", F.lit(0)))
    segments = customers.select("customer_id", segment.alias("segment"))
    seen = state.where(~hidden).join(F.broadcast(segments), on="customer_id", how="inner")
    cold = truth.where(hidden).select("customer_id").distinct().join(segments, on="customer_id", how="inner")
    popular = _most_bought(seen, F.lit("all").alias("segment"))
    of_segment = _most_bought(seen, F.col("segment"))
    lists = {
        "what all others buy": cold.drop("segment").crossJoin(popular.drop("segment")),
        "what others of the segment buy": cold.join(of_segment, on="segment", how="inner"),
    }
    ranked = {name: rank_by(frame, F.desc("sold")) for name, frame in lists.items()}
    return _means(judge_lists(ranked, truth.where(hidden), K))


def _most_bought(seen: DataFrame, segment: Column) -> DataFrame:
    sold = seen.groupBy(segment, "product_id").agg(F.sum(decayed_name(45)).alias("sold"))
    ranked = rank_by(sold.withColumnRenamed("segment", "customer_id"), F.desc("sold")).where(F.col("rank") <= K)
    best = ranked.withColumnRenamed("customer_id", "segment").select("segment", "product_id")
    return best.join(sold, on=["segment", "product_id"], how="inner")


def _by_history(
    lake: Lake, settings: Settings, before: str, state: DataFrame, truth: DataFrame
) -> dict[str, dict[str, float]]:
    pairs = score_history(lake, settings, before, ("customer_id", "product_id", "score"))
    pairs = pairs.join(state.select("customer_id", "product_id"), ["customer_id", "product_id"], "left_semi")
    lists = {"ranker": rank_by(pairs, F.desc("score")), "decayed_frequency": decayed_frequency(state)}
    days = state.groupBy("customer_id").agg(F.sum("purchase_days").alias("days"))
    found = {}
    with persisted(judge_lists(lists, truth, K).join(days, on="customer_id", how="inner")) as judged:
        for low, high in PURCHASES:
            for method, row in _means(judged.where(F.col("days").between(low, high)).drop("days")).items():
                found[f"{method}, {low} to {high}" if high < 10**9 else f"{method}, {low} and more"] = row
    return found


def _arrivals(
    lake: Lake, settings: Settings, before: str, goods: DataFrame, truth: DataFrame
) -> dict[str, dict[str, float]]:
    """Lists of products new in the shop, judged by those of them that the household bought."""
    params = DiscoveryParams(alike=0, newcomers=0, of_needs=0, of_neighbours=0, of_arrivals=K)
    products = as_of_end_of(lake.read(PRODUCTS_TABLE), before, settings.business_tz)
    types = goods_of(products.join(goods, "product_id", "left_semi"))
    stock = take_stock(lake, settings, before, types, params)
    if stock is None:
        return {}
    shared = lake.spark.sparkContext.broadcast(stock)

    def near(rows: pa.Table) -> pa.Table:
        customers, proposals = propose(rows, settings, shared.value, params)
        found = {
            "customer_id": customers[proposals.row],
            "product_id": shared.value.products["product_id"].take(pa.array(proposals.product)),
            "near": proposals.features()[:, FEATURES.index("near")].astype(np.float64),
        }
        return pa.table(found)

    pairs = pairs_of(lake, before, types, stock.products)
    by_text = in_parts(pairs).applyInArrow(near, "customer_id string, product_id string, near double")
    first, buyers = stock.shelf.known, stock.shelf.buyers
    ids = stock.products["product_id"].to_pylist()[first:]
    arrivals = lake.spark.createDataFrame(
        [(key, float(count)) for key, count in zip(ids, buyers[first:], strict=True)],
        "product_id string, buyers double",
    )
    owned = lake.require_months(REPLENISHMENT_STATE, [before]).select("customer_id", "product_id")
    most_bought = owned.select("customer_id").distinct().crossJoin(F.broadcast(arrivals))
    most_bought = most_bought.join(owned, ["customer_id", "product_id"], "left_anti")
    lists = {
        "arrivals like what they buy": rank_by(by_text, F.desc("near")),
        "the most bought arrivals": rank_by(most_bought, F.desc("buyers")),
    }
    return _means(judge_lists(lists, truth.where("NOT is_repeat").join(arrivals, "product_id", "left_semi"), K))


def _means(judged: DataFrame) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for row in mean_metrics(judged, K).where(F.col("metric").isin(f"recall@{K}", f"precision@{K}")).collect():
        found.setdefault(row.method, {"customers": row.customers})[row.metric] = row.value
    return found


def _cold_products(state: DataFrame, truth: DataFrame) -> dict[str, float]:
    """Share of the purchases, and of the repeat ones, that is of products with few buyers before the month."""
    buyers = state.groupBy("product_id").agg(F.count(F.lit(1)).alias("buyers"))
    known = truth.join(buyers, on="product_id", how="left")
    is_cold = (F.coalesce("buyers", F.lit(0)) < COLD_PRODUCT_BUYERS).cast("double")
    row = known.agg(F.avg(is_cold).alias("all"), F.avg(F.when(F.col("is_repeat"), is_cold)).alias("repeat")).first()
    return row.asDict()


def cold_table(rows: Sequence[dict]) -> str:
    """The figures as Markdown, means over the months."""
    lines = ["| households | lists | customers | recall@10 | precision@10 |", "|---|---|--:|--:|--:|"]
    labels = {"unseen": "never seen", "by_history": "by purchases so far", "arrivals": "that bought an arrival"}
    for part, label in labels.items():
        for name in dict.fromkeys(name for row in rows for name in row[part]):
            of_name = [row[part][name] for row in rows if name in row[part]]
            keys = ("customers", f"recall@{K}", f"precision@{K}")
            customers, recall, precision = (float(np.mean([each[key] for each in of_name])) for key in keys)
            lines.append(f"| {label} | {name} | {customers:.0f} | {recall:.4f} | {precision:.4f} |")
    return "\n".join(lines)


def cold_products_sentence(rows: Sequence[dict]) -> str:
    """How much of the purchases no list could learn from others."""
    everything, repeat = (float(np.mean([row["cold_products"][name] for row in rows])) for name in ("all", "repeat"))
    return (
        f"Products with fewer than {COLD_PRODUCT_BUYERS} buyers before the month make {everything:.1%} of what was "
        f"bought, and {repeat:.1%} of what was bought again."
    )
