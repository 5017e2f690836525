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
from jobs.scorecard import AGAINST, bought_in, listed_lines, listed_needs
from transforms.baselines import decayed_frequency, global_top, personal_top
from transforms.catalogue import as_of_end_of
from transforms.metrics import METRICS, judge_lists, mean_metrics, paired_differences, rank_by
from transforms.needs import any_of, need
from warehouse.contracts.gold import REPLENISHMENT_STATE
from warehouse.contracts.silver import PRODUCTS_TABLE
from warehouse.errors import PermanentError
from warehouse.lake import Lake, open_lake, persisted
from warehouse.months import add_months, month_range
from warehouse.settings import Settings, load_settings
from warehouse.spark import start_session

KS = (10, 20)
_PAIRS = (
    "customer_id",
    "product_id",
    "need",
    "score",
    "forecast_probability",
    "purchase_days",
    "decayed_purchases",
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

METHODS = ("published", MODEL, POLICY, *_RANKINGS)
"""What was published, and where a model was asked its lists and the policy's; the rankers over all that a customer has
bought; the same without the one of needs, whose place the products' added-up probabilities take; the forecast without
either; three simple methods."""


def backtest(
    lake: Lake, settings: Settings, months: Sequence[str], methods: Sequence[str] = METHODS
) -> list[dict[str, object]]:
    """One dict a month and method.

    Keys: ``month``, ``method``, ``customers``; each metric at each of :data:`KS`, with ``_se`` (its standard error)
    and, but for personal top, ``_vs_personal_top`` (paired difference) and ``_vs_personal_top_se``. Those that begin
    with ``need_`` judge needs, the others products. Left out: ``published`` where nothing was
    decided, ``model`` and ``policy`` where no model was asked.

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
            for prefix, lists, truth in _levels(lake, settings, month, wanted, kept):
                for k in KS:
                    _add_results(results, month, prefix, judge_lists(lists, truth, k), k)
    return [result for result in results.values() if result["method"] in methods]


def _levels(
    lake: Lake, settings: Settings, month: str, methods: Sequence[str], kept: ExitStack
) -> list[tuple[str, dict[str, DataFrame], DataFrame]]:
    """``(prefix, lists by method, truth)`` of products, then of needs; frames read again stay until ``kept`` ends."""
    before = add_months(month, -1)
    goods = as_of_end_of(lake.read(PRODUCTS_TABLE), before, settings.business_tz).where("is_subscribable")
    types = goods.select("product_id", need().alias("need"))
    state = lake.require_months(REPLENISHMENT_STATE, [before])
    pairs = score_history(lake, settings, before, _PAIRS).join(types.select("product_id"), "product_id", "left_semi")
    pairs = kept.enter_context(persisted(pairs.withColumn("added_up", F.col("score"))))
    truth = kept.enter_context(persisted(bought_in(lake, state, types.select("product_id"), month)))
    scores = score_needs(lake, settings, before, pairs).select(
        "customer_id", F.col("need").alias("product_id"), F.col("need_score").alias("score")
    )
    needs = kept.enter_context(persisted(_add_up(pairs).join(scores, on=["customer_id", "product_id"], how="inner")))
    lists = {name: ranking(pairs) for name, ranking in _RANKINGS.items() if name in methods}
    need_lists = {name: ranking(needs) for name, ranking in _RANKINGS.items() if name in methods}
    for name, decisions in decided_lists(lake, settings, before).items():
        if name in methods:
            lists[name], need_lists[name] = listed_lines(decisions), listed_needs(decisions)
    return [("", lists, truth), ("need_", need_lists, _needs_bought(truth, types, needs))]


def _add_up(pairs: DataFrame) -> DataFrame:
    """The pairs added up by need: counts as sums, probabilities as that of buying any of the products."""
    return pairs.groupBy("customer_id", F.col("need").alias("product_id")).agg(
        any_of("score").alias("added_up"),
        any_of("forecast_probability").alias("forecast_probability"),
        F.sum("purchase_days").alias("purchase_days"),
        F.sum("decayed_purchases").alias("decayed_purchases"),
        F.min("first_ordered_date").alias("first_ordered_date"),
    )


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
