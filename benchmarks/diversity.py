"""How much of the lists goes to the long tail and to the shop's own brand, and what a floor for the tail costs.

``python -m benchmarks.decisions`` runs it. Floors are held on the ranker's list of ten, all goods.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from benchmarks.protocol import all_goods
from jobs.candidates import score_history
from jobs.champion import decided_lists
from jobs.scorecard import bought_in
from transforms.catalogue import as_of_end_of
from transforms.diversity import hold_floor, long_tail
from transforms.metrics import judge_lists, mean_metrics, paired_differences, rank_by
from warehouse.contracts.gold import REPLENISHMENT_STATE
from warehouse.contracts.silver import PRODUCTS_TABLE
from warehouse.lake import Lake, persisted
from warehouse.months import add_months
from warehouse.settings import Settings

K = 10
LOOKED_AT = 60
FLOORS = (0.0, 0.1, 0.2, 0.3, 0.5)
NO_FLOOR = "0.0"


def measure_diversity(lake: Lake, settings: Settings, months: Sequence[str]) -> list[dict[str, object]]:
    """One dict a month: ``month``; ``published``, shares of the lines (null where nothing was decided); ``floors``,
    for each floor recall and precision at 10 and, paired by customer, the difference in recall from no floor.

    Raises:
        MissingMonth: a month before one of ``months`` has no state.
    """
    goods = all_goods(lake)
    return [_month(lake, settings, month, goods) for month in months]


def _month(lake: Lake, settings: Settings, month: str, goods: DataFrame) -> dict[str, object]:
    before = add_months(month, -1)
    state = lake.require_months(REPLENISHMENT_STATE, [before])
    tail = long_tail(state).withColumn("is_long_tail", F.lit(True))
    pairs = score_history(lake, settings, before, ("customer_id", "product_id", "score"))
    ranked = rank_by(pairs.join(goods, "product_id", "left_semi"), F.desc("score")).where(F.col("rank") <= LOOKED_AT)
    rows = ranked.join(tail, on="product_id", how="left").orderBy("customer_id", "rank").toArrow()
    lists = {f"{floor}": lake.spark.createDataFrame(_held(rows, floor)) for floor in FLOORS}
    with persisted(judge_lists(lists, bought_in(lake, state, goods, month), K)) as judged:
        means = {(row.method, row.metric): row.value for row in mean_metrics(judged, K).collect()}
        paired = {(row.method, row.metric): row for row in paired_differences(judged, NO_FLOOR, K).collect()}
    floors = {}
    for name in lists:
        floors[name] = {metric: means[name, f"{metric}@{K}"] for metric in ("recall", "precision")}
        if name != NO_FLOOR:
            found = paired[name, f"recall@{K}"]
            floors[name] |= {"difference": found.difference, "difference_se": found.difference_se}
    return {"month": month, "published": _published(lake, settings, before, tail), "floors": floors}


def _held(rows: pa.Table, floor: float) -> pa.Table:
    """``customer_id, product_id, rank`` of lists of ten that hold the floor."""
    customers = rows["customer_id"].to_numpy()
    products, tails = rows["product_id"].to_pylist(), rows["is_long_tail"].to_pylist()
    starts = np.flatnonzero(np.r_[True, customers[1:] != customers[:-1]])
    found: list[tuple[str, str, int]] = []
    for start, stop in zip(starts, np.r_[starts[1:], len(customers)], strict=True):
        kept = hold_floor(range(start, stop), K, floor, lambda place: bool(tails[place]))
        found += [(customers[start], products[place], rank) for rank, place in enumerate(kept, start=1)]
    names = ("customer_id", "product_id", "rank")
    return pa.table(dict(zip(names, map(list, zip(*found, strict=True)), strict=True)))


def _published(lake: Lake, settings: Settings, before: str, tail: DataFrame) -> dict[str, float] | None:
    decided = decided_lists(lake, settings, before).get("published")
    if decided is None:
        return None
    brands = as_of_end_of(lake.read(PRODUCTS_TABLE), before, settings.business_tz).select("product_id", "brand")
    lines = decided.select("customer_id", F.inline("items")).join(tail, on="product_id", how="left")
    lines = lines.join(brands, on="product_id", how="left")
    row = lines.agg(
        F.avg(F.coalesce("is_long_tail", F.lit(False)).cast("double")).alias("long_tail"),
        F.avg((F.col("brand") == "Private").cast("double")).alias("own_brand"),
    ).first()
    return row.asDict()


def diversity_table(rows: Sequence[dict]) -> str:
    """The floors as Markdown: means over the months, the greatest of the months' standard errors."""
    lines = ["| floor for the long tail | recall@10 | precision@10 | recall@10 − no floor |", "|--:|--:|--:|--:|"]
    for name in rows[0]["floors"]:
        of_name = [row["floors"][name] for row in rows]
        recall, precision = (np.mean([each[metric] for each in of_name]) for metric in ("recall", "precision"))
        paired = "–"
        if name != NO_FLOOR:
            mean = np.mean([each["difference"] for each in of_name])
            paired = f"{mean:+.4f} ± {max(each['difference_se'] for each in of_name):.4f}"
        lines.append(f"| {name} | {recall:.4f} | {precision:.4f} | {paired} |")
    return "\n".join(lines)


def published_shares(rows: Sequence[dict]) -> str:
    """A sentence on the published lists' lines; empty where nothing was published."""
    found = [row["published"] for row in rows if row["published"]]
    if not found:
        return ""
    tail, own = (float(np.mean([each[name] for each in found])) for name in ("long_tail", "own_brand"))
    return f"Of the published lines {tail:.1%} are of the long tail and {own:.1%} of the shop's own brand."
