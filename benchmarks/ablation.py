"""What each part of the ranker brings: rankers trained without it, judged by the same months and customers.

``python -m benchmarks.decisions`` runs it. Each variant learns from the same examples (``gold/ranker_examples``) and
ranks the same pairs with features of the same month; only what it is told, or how it is trained, differs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from benchmarks.protocol import all_goods
from jobs.history import typed_state
from jobs.rankers import Examples, feature_matrix, read_examples
from jobs.scorecard import bought_in
from transforms.metrics import judge_lists, mean_metrics, paired_differences, rank_by
from transforms.pair_features import feature_columns, pair_features
from transforms.ranking import OF_TARGET, RankerParams, train
from warehouse.contracts.features import FEATURE_NAMES, RANKER_HALF_LIVES_DAYS
from warehouse.contracts.gold import REPLENISHMENT_STATE
from warehouse.lake import Lake, persisted
from warehouse.months import add_months
from warehouse.settings import Settings

K = 10
WHOLE = "all features"
GROUPS = {
    "without the pair's": "pair_",
    "without the need's": "need_",
    "without the product's": "product_",
}
"""Variant → prefix of the features that it does without."""


@dataclass(frozen=True)
class _Variant:
    """``hidden``: columns that are blank, in learning and in ranking; ``params``: how it is trained."""

    name: str
    hidden: tuple[int, ...]
    params: RankerParams


def _variants() -> list[_Variant]:
    params = OF_TARGET["product"]
    found = [_Variant(WHOLE, (), params)]
    for name, prefix in GROUPS.items():
        hidden = tuple(place for place, feature in enumerate(FEATURE_NAMES) if feature.startswith(prefix))
        found.append(_Variant(name, hidden, params))
    counts = tuple(f"_purchases_{days}d" for days in RANKER_HALF_LIVES_DAYS)
    others = tuple(place for place, feature in enumerate(FEATURE_NAMES) if not feature.endswith(counts))
    found.append(_Variant("decayed counts alone", others, params))
    found.append(_Variant("trees that see all features", (), replace(params, feature_share=1.0)))
    return found


def measure_ablation(lake: Lake, settings: Settings, months: Sequence[str]) -> list[dict[str, object]]:
    """One dict a month and variant: ``month``, ``variant``, ``recall``, ``precision`` at 10, and for all but the whole
    ``recall_difference`` and ``recall_difference_se`` from it, paired by customer.

    Raises:
        MissingMonth: a month before one of ``months`` has no state.
    """
    goods = all_goods(lake)
    return [row for month in months for row in _month(lake, settings, month, goods)]


def _month(lake: Lake, settings: Settings, month: str, goods: DataFrame) -> list[dict[str, object]]:
    before = add_months(month, -1)
    state = lake.require_months(REPLENISHMENT_STATE, [before])
    known = pair_features(typed_state(lake, settings, before), OF_TARGET["product"].most)
    features = known.join(goods, "product_id", "left_semi")
    pairs = features.select("customer_id", "product_id", *feature_columns()).toArrow()
    matrix = feature_matrix(pairs)
    taught = read_examples(lake, before)["product"]
    lists = {each.name: _top(lake, pairs, _score(each, taught, matrix)) for each in _variants()}
    rows = []
    with persisted(judge_lists(lists, bought_in(lake, state, goods, month), K)) as judged:
        means = {(row.method, row.metric): row.value for row in mean_metrics(judged, K).collect()}
        paired = {(row.method, row.metric): row for row in paired_differences(judged, WHOLE, K).collect()}
    for name in lists:
        row: dict[str, object] = {"month": month, "variant": name}
        row |= {metric: means[name, f"{metric}@{K}"] for metric in ("recall", "precision")}
        if name != WHOLE:
            difference = paired[name, f"recall@{K}"]
            row |= {"recall_difference": difference.difference, "recall_difference_se": difference.difference_se}
        rows.append(row)
    return rows


def _score(variant: _Variant, taught: Examples, matrix: np.ndarray) -> np.ndarray:
    ranker = train(_without(taught.features, variant.hidden), taught.is_bought, taught.weight, variant.params)
    return ranker.raw(_without(matrix, variant.hidden))


def _without(array: np.ndarray, hidden: Sequence[int]) -> np.ndarray:
    blank = array.copy()
    blank[:, list(hidden)] = np.nan
    return blank


def _top(lake: Lake, pairs: pa.Table, score: np.ndarray) -> DataFrame:
    """``customer_id, product_id, rank`` of each customer's best; only those go back to Spark."""
    customers, customer = np.unique(pairs["customer_id"].to_numpy(), return_inverse=True)
    order = np.lexsort((-score, customer))
    starts = np.searchsorted(customer[order], np.arange(len(customers)))
    place = np.arange(len(order)) - starts[customer[order]]
    kept = order[place < 2 * K]
    best = pairs.select(["customer_id", "product_id"]).take(pa.array(kept))
    frame = lake.spark.createDataFrame(best.append_column("score", pa.array(score[kept])))
    return rank_by(frame, F.desc("score"))


def ablation_table(rows: Sequence[dict]) -> str:
    """The rows as Markdown: means over the months, the greatest of the months' standard errors."""
    lines = ["| ranker of products | recall@10 | precision@10 | recall@10 − all features |", "|---|--:|--:|--:|"]
    for name in dict.fromkeys(row["variant"] for row in rows):
        of_name = [row for row in rows if row["variant"] == name]
        recall, precision = (np.mean([row[metric] for row in of_name]) for metric in ("recall", "precision"))
        paired = "–"
        if name != WHOLE:
            mean = np.mean([row["recall_difference"] for row in of_name])
            paired = f"{mean:+.4f} ± {max(row['recall_difference_se'] for row in of_name):.4f}"
        lines.append(f"| {name} | {recall:.4f} | {precision:.4f} | {paired} |")
    return "\n".join(lines)
