"""Judges, month by month, lists made at the end of the month before by the month's purchases, methods side by side.

    python -m jobs.backtest --from 2017-10 --to 2017-12 [--methods ranker,personal_top] [--json]

Global cutoff: a list knows nothing of its month. Every method ranks the same products for the same customers, once as
products and once as needs (product types). Prints tables, or one JSON object a month and method. Writes nothing.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.candidates import score_history, score_needs
from jobs.champion import MODEL, POLICY, decided_lists
from jobs.cli import exit_on_error
from jobs.discoveries import find_discoveries, learn_trees
from jobs.history import typed_state
from jobs.proposals import goods_of
from jobs.scorecard import AGAINST, bought_in, listed_lines, listed_needs
from transforms.baselines import decayed_frequency, global_top, personal_top
from transforms.catalogue import as_of_end_of
from transforms.discovery import DiscoveryParams
from transforms.metrics import METRICS, judge_lists, mean_metrics, paired_differences, rank_by
from transforms.needs import any_of
from transforms.replenishment import PAIR
from warehouse.contracts.features import decayed_name, need_days_name
from warehouse.contracts.gold import REPLENISHMENT_STATE
from warehouse.contracts.silver import PRODUCTS_TABLE
from warehouse.errors import PermanentError
from warehouse.lake import Lake, open_lake, persisted
from warehouse.months import add_months, month_range
from warehouse.settings import Settings, load_settings
from warehouse.spark import start_session

KS = (10, 20)
_NEW_LOOKED_AT = 100
"""Products looked at for lists of new ones, of which those of needs keep few."""

_PAIRS = (
    "customer_id",
    "product_id",
    "need",
    "score",
    "forecast_probability",
    "purchase_days",
    decayed_name(120),
    "need_days",
    need_days_name(120),
    "first_ordered_date",
)

# Each ranks the pairs of a frame with the columns of _PAIRS, where product_id may also stand for a need.
_RANKINGS: dict[str, Callable[[DataFrame], DataFrame]] = {
    "ranker": lambda pairs: rank_by(pairs, F.desc("score")),
    "ranker_of_products": lambda pairs: rank_by(pairs, F.desc("added_up")),
    "forecast": lambda pairs: rank_by(pairs, F.desc("forecast_probability")),
    "decayed_frequency": decayed_frequency,
    "personal_top": personal_top,
    "global_top": lambda pairs: global_top(pairs, pairs.select("customer_id").distinct(), max(KS)),
}

DISCOVERY, POPULAR_NEW, PRICED = "discovery", "popular_new", "ranker_and_new"
NEW_LINES = 2
"""Discoveries that close a list of the method :data:`PRICED`."""

METHODS = ("published", MODEL, POLICY, *_RANKINGS, DISCOVERY, POPULAR_NEW, PRICED)
"""What was published, and where a model was asked its lists and the policy's; the rankers over what a customer bought
most; the same without the one of needs, whose place the products' added-up probabilities take; the forecast without
either; three simple methods; of what the customer never bought the discoveries and what most others buy, which
``discovery_recall`` judges; the ranker's list of twenty whose last lines are discoveries, which tells their price."""


MoreLists = Callable[[str, DataFrame], dict[str, dict[str, DataFrame]]]
"""Other methods' lists: of the month at whose end they are made and the goods (``product_id, need``), prefix →
method → ``customer_id, product_id, rank``. What benchmarks add stands beside :data:`METHODS`."""


def backtest(
    lake: Lake,
    settings: Settings,
    months: Sequence[str],
    methods: Sequence[str] = METHODS,
    *,
    judged: DataFrame | None = None,
    more: MoreLists | None = None,
) -> list[dict[str, object]]:
    """One dict a month and method.

    Args:
        lake: holds the months, and those before them.
        settings: the business time zone, and what may not stand on a list.
        months: months judged, YYYY-MM.
        methods: which of :data:`METHODS`.
        judged: ``product_id`` of what is ranked and counts as bought; None: what may stand on a list.
        more: other methods.

    Keys: ``month``, ``method``, ``customers``; each metric at each of :data:`KS`, with ``_se`` (its standard error)
    and, but for personal top, ``_vs_personal_top`` (paired difference) and ``_vs_personal_top_se``. Those that begin
    with ``need_`` judge needs, the others products. Left out: ``published`` where nothing was
    decided, ``model`` and ``policy`` where no model was asked, lists of new products where there is too little to learn
    them from.

    Raises:
        MissingMonth: a month has no purchases, or the month before it no state.
        PermanentError: a method is not known.
    """
    unknown = sorted(set(methods) - set(METHODS))
    if unknown:
        raise PermanentError(f"--methods knows no {', '.join(unknown)}: it takes {', '.join(METHODS)}")
    wanted = list(dict.fromkeys([*methods, AGAINST]))
    results: dict[tuple[str, str], dict[str, object]] = {}
    for month in months:
        with ExitStack() as kept:
            for prefix, lists, truth in _levels(lake, settings, month, wanted, judged, more, kept):
                for k in KS:
                    _add_results(results, month, prefix, judge_lists(lists, truth, k), k)
    return [result for result in results.values() if result["method"] != AGAINST or AGAINST in methods]


def _levels(
    lake: Lake,
    settings: Settings,
    month: str,
    methods: Sequence[str],
    judged: DataFrame | None,
    more: MoreLists | None,
    kept: ExitStack,
) -> list[tuple[str, dict[str, DataFrame], DataFrame]]:
    """``(prefix, lists by method, truth)`` of products, then of needs; frames read again stay until ``kept`` ends."""
    before = add_months(month, -1)
    products = as_of_end_of(lake.read(PRODUCTS_TABLE), before, settings.business_tz)
    goods = products.where("is_subscribable") if judged is None else products.join(judged, "product_id", "left_semi")
    types = goods_of(goods)
    state = lake.require_months(REPLENISHMENT_STATE, [before])
    pairs = kept.enter_context(persisted(_pairs(lake, settings, before, types)))
    truth = kept.enter_context(persisted(bought_in(lake, state, types.select("product_id"), month)))
    scores = score_needs(lake, settings, before, pairs).select(
        "customer_id", F.col("need").alias("product_id"), F.col("need_score").alias("score")
    )
    needs = _add_up(pairs).join(scores, on=["customer_id", "product_id"], how="left").fillna(0.0, ["score"])
    needs = kept.enter_context(persisted(needs))
    lists = {name: ranking(pairs) for name, ranking in _RANKINGS.items() if name in methods}
    need_lists = {name: ranking(needs) for name, ranking in _RANKINGS.items() if name in methods}
    for name, decisions in decided_lists(lake, settings, before).items():
        if name in methods:
            lists[name], need_lists[name] = listed_lines(decisions), listed_needs(decisions)
    if {DISCOVERY, POPULAR_NEW, PRICED} & set(methods):
        new, new_needs = _lists_of_new(lake, settings, before, types, pairs, kept)
        lists |= {name: new[name] for name in new if name in methods}
        need_lists |= {name: new_needs[name] for name in new_needs if name in methods}
    others = more(before, types) if more else {}
    lists, need_lists = lists | others.get("", {}), need_lists | others.get("need_", {})
    return [("", lists, truth), ("need_", need_lists, _needs_bought(truth, types, needs))]


def _pairs(lake: Lake, settings: Settings, before: str, goods: DataFrame) -> DataFrame:
    """All that customers had bought, with the columns of ``_PAIRS`` and ``added_up``; 0 where nothing is scored.

    Simple methods rank all of it, the ranker what it scores.
    """
    history = typed_state(lake, settings, before).join(goods.select("product_id"), "product_id", "left_semi")
    scored = score_history(lake, settings, before, (*PAIR, "score", "forecast_probability")).drop("drop_reason")
    known = history.join(scored, on=list(PAIR), how="left").fillna(0.0, ["score", "forecast_probability"])
    return known.select(*_PAIRS, F.col("score").alias("added_up"))


def _add_up(pairs: DataFrame) -> DataFrame:
    """The pairs added up by need: the days on which it was bought for, the probability of any of its products."""
    return pairs.groupBy("customer_id", F.col("need").alias("product_id")).agg(
        any_of("score").alias("added_up"),
        any_of("forecast_probability").alias("forecast_probability"),
        F.round(F.sum("need_days")).alias("purchase_days"),
        F.sum(need_days_name(120)).alias(decayed_name(120)),
        F.min("first_ordered_date").alias("first_ordered_date"),
    )


def _lists_of_new(
    lake: Lake, settings: Settings, before: str, types: DataFrame, pairs: DataFrame, kept: ExitStack
) -> tuple[dict[str, DataFrame], dict[str, DataFrame]]:
    """Lists of products, and of needs, that customers never bought; and the ranker's with some at its end."""
    params = DiscoveryParams(kept=_NEW_LOOKED_AT)
    trees = learn_trees(lake, settings, before, types, params)
    if trees is None:
        return {}, {}
    found = kept.enter_context(persisted(find_discoveries(lake, settings, before, types, trees, params)))
    popular = global_top(pairs, pairs.select("customer_id").distinct(), _NEW_LOOKED_AT)
    popular = popular.join(pairs.select(*PAIR), on=list(PAIR), how="left_anti").join(
        types, on="product_id", how="inner"
    )
    new = {DISCOVERY: rank_by(found, F.asc("place")), POPULAR_NEW: rank_by(popular, F.asc("rank"))}
    own = pairs.select("customer_id", "need").distinct()
    placed = {DISCOVERY: found, POPULAR_NEW: popular.withColumnRenamed("rank", "place")}
    needs = {name: _rank_new_needs(frame, own) for name, frame in placed.items()}
    last = max(KS) - NEW_LINES
    first = rank_by(pairs, F.desc("score")).where(F.col("rank") <= last)
    added = new[DISCOVERY].where(F.col("rank") <= NEW_LINES).withColumn("rank", F.col("rank") + last)
    return {**new, PRICED: first.unionByName(added)}, needs


def _rank_new_needs(placed: DataFrame, own: DataFrame) -> DataFrame:
    """Needs that the customer never bought for, by their best product; a need stands in ``product_id``."""
    new = placed.join(own, on=["customer_id", "need"], how="left_anti")
    best = new.groupBy("customer_id", F.col("need").alias("product_id")).agg(F.min("place").alias("place"))
    return rank_by(best, F.asc("place"))


def _needs_bought(truth: DataFrame, types: DataFrame, needs: DataFrame) -> DataFrame:
    bought = truth.join(types, on="product_id", how="inner")
    bought = bought.select("customer_id", F.col("need").alias("product_id")).distinct()
    seen = needs.select("customer_id", "product_id", F.lit(True).alias("seen"))
    known = bought.join(seen, on=["customer_id", "product_id"], how="left")
    return known.select("customer_id", "product_id", F.coalesce("seen", F.lit(False)).alias("is_repeat"))


def _add_results(results: dict, month: str, prefix: str, judged: DataFrame, k: int) -> None:
    with persisted(judged) as each:
        means, paired = mean_metrics(each, k).collect(), paired_differences(each, AGAINST, k).collect()
    for row in means:
        result = results.setdefault((month, row.method), {"month": month, "method": row.method, "customers": 0})
        result[f"{prefix}{row.metric}"], result[f"{prefix}{row.metric}_se"] = row.value, row.standard_error
        if row.metric.startswith("recall@"):
            result["customers"] = row.customers
    for row in paired:
        name = f"{prefix}{row.metric}_vs_{AGAINST}"
        results[month, row.method] |= {name: row.difference, f"{name}_se": row.difference_se}


def render_table(results: Sequence[dict[str, object]], k: int = 10, prefix: str = "") -> str:
    """The results as a Markdown table, means over customers."""
    names = [f"{prefix}{metric}@{k}" for metric in METRICS]
    lines = [f"| month | method | customers | {' | '.join(names)} |", "|---|---|--:|" + "--:|" * len(names)]
    for result in results:
        values = [f"{value:.4f}" if (value := result.get(name)) is not None else "–" for name in names]
        lines.append(f"| {result['month']} | {result['method']} | {result['customers']:,} | {' | '.join(values)} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the backtest from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="first", required=True, help="first month judged, YYYY-MM")
    parser.add_argument("--to", dest="last", required=True, help="last month judged")
    parser.add_argument("--methods", default=",".join(METHODS), help="comma-separated, of %(default)s")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args(argv)
    with exit_on_error():
        settings = load_settings()
        months = month_range(arguments.first, arguments.last)
        lake = open_lake(start_session(settings), settings)
        results = backtest(lake, settings, months, arguments.methods.split(","))
        if arguments.json:
            print("\n".join(json.dumps(result) for result in results))
        else:
            print("\n\n".join(render_table(results, k, prefix) for prefix in ("", "need_") for k in KS))


if __name__ == "__main__":
    main()
