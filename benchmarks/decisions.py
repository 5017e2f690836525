"""How good the decisions are on the demo's data: writes ``docs/decisions-quality.md`` and its figures as JSON.

    make demo MONTHS=4 && make decisions-quality

Judges the home's months 2017-10 to 2017-12 by the backtest (``jobs/backtest.py``) and the ranker's probabilities by
what was bought. The protocol stands on the page.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from benchmarks.ablation import ablation_table, measure_ablation
from benchmarks.cold import cold_products_sentence, cold_table, measure_cold
from benchmarks.diversity import diversity_table, measure_diversity, published_shares
from benchmarks.due_dates import due_date_table, measure_due_dates, said_table
from benchmarks.judged_pairs import judged_pairs
from benchmarks.list_tables import (
    TIFUKNN,
    discovery_table,
    lists_table,
    price_table,
    reference_table,
)
from benchmarks.protocol import all_goods
from benchmarks.quantities import measure_quantities, quantity_table
from benchmarks.reliability_plot import reliability_svg
from benchmarks.tifuknn import tifuknn_lists
from jobs.backtest import DISCOVERY, KS, METHODS, NEW_LINES, POPULAR_NEW, PRICED, backtest
from jobs.cli import exit_on_error
from transforms.probability_metrics import probability_metrics, recall_at_precision, reliability
from warehouse.contracts.gold import LIST_DECISIONS, PURCHASE_FREQUENCY, RANKERS
from warehouse.lake import Lake, open_lake
from warehouse.months import add_months, month_range
from warehouse.settings import Settings, load_settings
from warehouse.spark import start_session

MONTHS = month_range("2017-10", "2017-12")
_REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = _REPOSITORY / "docs" / "decisions-quality.md"
PLOT = _REPOSITORY / "docs" / "images" / "reliability.svg"
RESULTS = _REPOSITORY / "benchmarks" / "results" / "decisions.json"
TAFENG = _REPOSITORY / "benchmarks" / "results" / "quality_tafeng.json"

_HEAD = """# How good the decisions are

<!-- Written by `make decisions-quality` after `make demo MONTHS=4`: change benchmarks/decisions.py, not this page. -->

Complete Journey, the demo's data: lists made at the end of each month before are judged by the purchases of 2017-10,
2017-11 and 2017-12. Judged are the households with a purchase in the six months before the month and in the month.
Every method ranks the same products for the same households with a global cutoff. A household buys some fifty different
products a month, most for the first time, so that no list of ten can come near a recall of one.

Two truths stand on this page. **All goods**: every product bought but non-goods (fuel, coupons, miscellaneous sales);
this is the protocol of the project's reference figures, which counts tobacco. **What may stand on a list**: without
tobacco too (docs/data.md), as the published lists and the monthly scorecard are judged.

- `published`: the list that was served; judged as products with its alternates, the likeliest first, judged as needs
  line by line (docs/decisions/0010-need-lines.md). It never holds tobacco.
- `ranker`: ranks the 150 products, and needs, that a household bought most by recency.
  `ranker_of_products` has no ranker of needs, the products'
  probabilities are added up in its place; `forecast` has neither (docs/decisions/0004-forecast.md).
- `tifuknn`: the published method with the reference's parameters, tuned on 2017-09 (benchmarks/tifuknn.py).
- `decayed_frequency`: purchase days with a half-life of 120 days.

The ranker's features and training (rounds, learning rate, share of features a tree sees, share of the pairs not bought,
items a customer) were chosen on the targets 2017-07 to 2017-09 (experiments/ranker.md). How the judged months come out
with more features and with several trainings averaged had been seen before the last choice.
"""

_TAFENG_HEAD = """
## The same idea on a published benchmark

Ta-Feng, fold 0 of the authors, 2,772 test users, protocol of Li et al. 2023 ("A Next Basket Recommendation Reality
Check"); `python -m benchmarks.quality.run` (ten minutes; the data is not part of this repository). Not the product's
ranker, which has no baskets to look at, but trees over the same kind of counts with neighbours and item pairs beside
them. Everything was chosen by recall@10 of the validation users. GP-TopFreq comes out at the published six digits,
which proves the metric code.

`ranked_history` uses nobody's target basket. `ranked` learns from the train users' target baskets, as published methods
do; since all targets lie in the same weeks, part of its gain is the calendar leak of the protocol itself.
`ranked_leaking` is also given the items' popularity in those baskets and stands here for comparison alone.
"""


def measure(lake: Lake, settings: Settings, months: Sequence[str]) -> dict[str, object]:
    """Everything the page says, as JSON-able figures.

    Keys: ``lists`` (of the backtest, all goods), ``lists_subscribable``, ``ablation``, ``cold``, ``diversity``,
    ``probabilities``, ``due_dates``, ``quantities`` and ``importance``.

    Raises:
        MissingMonth: the months, or those before them, are not in the lake.
    """

    def more(before: str, goods: DataFrame) -> dict[str, dict[str, DataFrame]]:
        lists = tifuknn_lists(lake, goods, before, max(KS))
        return {prefix: {TIFUKNN: ranked} for prefix, ranked in lists.items()}

    methods = [method for method in METHODS if method not in (DISCOVERY, POPULAR_NEW, PRICED)]
    return {
        "lists": backtest(lake, settings, months, judged=all_goods(lake), more=more),
        "lists_subscribable": backtest(lake, settings, months, methods),
        "ablation": measure_ablation(lake, settings, months),
        "cold": measure_cold(lake, settings, months),
        "diversity": measure_diversity(lake, settings, months),
        "probabilities": [_probabilities(lake, settings, month) for month in months],
        "due_dates": measure_due_dates(lake, settings, months),
        "quantities": [measure_quantities(lake, settings, month) for month in months],
        "importance": _importance(lake, add_months(months[-1], -1)),
    }


def _probabilities(lake: Lake, settings: Settings, month: str) -> dict[str, object]:
    """The ranker's and the forecast's probabilities of the pairs with three purchases or more, against the month."""
    before = add_months(month, -1)
    columns = ("customer_id", "product_id", "probability", "forecast_probability", "purchase_days", "last_ordered_date")
    bought = lake.require_months(PURCHASE_FREQUENCY, [month]).where("orders > 0")
    bought = bought.select("customer_id", "product_id", F.lit(True).alias("is_bought"))
    rows = (
        judged_pairs(lake, settings, before, columns)
        .join(bought, ["customer_id", "product_id"], "left")
        .select("probability", "forecast_probability", F.coalesce("is_bought", F.lit(False)).alias("is_bought"))
        .toArrow()
    )
    is_bought = rows["is_bought"].to_numpy()
    result: dict[str, object] = {"month": month, "pairs": len(is_bought), "base_rate": float(is_bought.mean())}
    for name, column in (("ranker", "probability"), ("forecast", "forecast_probability")):
        probability = rows[column].to_numpy()
        result[name] = {
            **probability_metrics(probability, is_bought, np.ones(len(is_bought))),
            "recall_at_precision_80": recall_at_precision(probability, is_bought, 0.8),
            "reliability": [vars(each) for each in reliability(probability, is_bought)],
        }
    return result


def _importance(lake: Lake, month: str) -> dict[str, float]:
    row = lake.require_months(RANKERS, [month]).where(F.col("target") == "product").first()
    shares = zip(row.features, row.importance, strict=True)
    return dict(sorted(shares, key=lambda pair: -pair[1]))


def render(figures: dict, tafeng: dict) -> str:
    """The page.

    Args:
        figures: from :func:`measure`.
        tafeng: what ``benchmarks.quality.run`` wrote.
    """
    goods, listable = figures["lists"], figures["lists_subscribable"]
    parts = [
        _HEAD,
        "## Products, all goods\n\nMean of the three months; the difference from personal top is paired by household, "
        "with the greatest of the months' standard errors.\n",
        lists_table(goods, ""),
        "\n## Needs, all goods\n\nThe same with product types in place of products: a need counts as met by any "
        "product of its type. Simple methods count the days on which a need was bought for.\n",
        lists_table(goods, "need_"),
        "\nThat this is the reference's protocol shows in its own figures:\n",
        reference_table(goods),
        "\n## Products that may stand on a list\n",
        lists_table(listable, ""),
        "\n## Needs that may stand on a list\n",
        lists_table(listable, "need_"),
        "\n## Discovery\n\nLists of products, and of needs, that the household never bought, judged by those of them "
        "that it bought in the month (docs/decisions/0016-discovery.md). All goods.\n",
        discovery_table(goods),
        f"\nThe price of closing a list of twenty with {NEW_LINES} of them:\n",
        price_table(goods),
        "\n## What the parts of the ranker bring\n\nAll goods; each is trained anew (benchmarks/ablation.py).\n",
        ablation_table(figures["ablation"]),
        "\n## Cold households and products\n\nA tenth of the households as if never seen, and all by their "
        "purchases so far; and of those that bought a product new in the shop (docs/decisions/0016-discovery.md) how "
        "many of these were found. All goods.\n",
        cold_table(figures["cold"]),
        "\n" + cold_products_sentence(figures["cold"]),
        "\n## The long tail\n\nProducts that together make the last fifth of the recent purchases. "
        + published_shares(figures["diversity"])
        + " What a floor for them costs the ranker's list of ten (`REPLENISH_LONG_TAIL_SHARE`; all goods):\n",
        diversity_table(figures["diversity"]),
        "\n## Probabilities\n\nAll goods; pairs with three purchases or more of households active in the last six "
        "months, no look into the month. `recall at .8`: the share of the purchases in the longest list of which 80 % "
        "is bought.\n",
        _probability_table(figures["probabilities"]),
        "\nReliability of the ranker, all months together, pairs in ten parts of equal number:\n",
        _reliability_table(figures["probabilities"]),
        "\n![Reliability of the ranker](images/reliability.svg)",
        "\n## Due dates\n\nThe same pairs, their next purchase followed to the end of the last month; two in three "
        "were not bought by then. Shares by Kaplan and Meier (`transforms/interval_coverage.py`); an interval from P10 "
        "to P90 should hold 80 %. Few pairs were followed to their P90 (docs/decisions/0009-due-dates.md).\n",
        due_date_table(figures["due_dates"]),
        "\nWhat the dates say and what was bought, at the end that was followed longest:\n",
        said_table(figures["due_dates"]),
        "\n## Quantities and intervals\n\nPairs bought in the month that had been bought before: absolute error of the "
        "units an order; of the days from the last purchase to the first in the month, where the pair had a gap (of "
        "those bought in the month, so that every method errs to the long side).\n",
        quantity_table(figures["quantities"]),
        "\n## What the ranker looks at\n\nShare of the gain, the ten greatest (docs/tables.md says what each is):\n",
        _importance_table(figures["importance"]),
        _TAFENG_HEAD,
        _tafeng_table(tafeng["methods"]),
    ]
    return "\n".join(parts) + "\n"


def _probability_table(results: Sequence[dict]) -> str:
    names = {"brier": "Brier", "log_loss": "log loss", "auc": "AUC", "ece": "calibration error"}
    names |= {"recall_at_precision_80": "recall at .8"}
    head = f"| month | pairs | bought | by | {' | '.join(names.values())} |"
    lines = [head, "|---|--:|--:|---|" + "--:|" * len(names)]
    for row in results:
        for method in ("ranker", "forecast"):
            values = " | ".join(f"{row[method][name]:.4f}" for name in names)
            lines.append(f"| {row['month']} | {row['pairs']:,} | {row['base_rate']:.3f} | {method} | {values} |")
    return "\n".join(lines)


def _reliability(results: Sequence[dict]) -> list[tuple[float, float]]:
    """What was said and what was bought in each part of the ranker's pairs, all months together."""
    points = []
    for parts in zip(*[row["ranker"]["reliability"] for row in results], strict=True):
        pairs = [part["pairs"] for part in parts]
        said, bought = (float(np.average([part[name] for part in parts], weights=pairs)) for name in ("said", "bought"))
        points.append((said, bought))
    return points


def _reliability_table(results: Sequence[dict]) -> str:
    lines = ["| part | said | bought |", "|--:|--:|--:|"]
    points = enumerate(_reliability(results), start=1)
    return "\n".join(lines + [f"| {place} | {said:.3f} | {bought:.3f} |" for place, (said, bought) in points])


def _tafeng_table(methods: dict[str, dict]) -> str:
    names = ["recall@10", "ndcg@10", "phr@10", "repeat_recall@10", "explore_recall@10", "recall@20"]
    lines = [f"| method | {' | '.join(names)} | recall@10 − tifuknn |", "|---|" + "--:|" * (len(names) + 1)]
    for name, method in methods.items():
        values = " | ".join(f"{method['test'][metric]:.4f}" for metric in names)
        lines.append(f"| {name} | {values} | {_against_tifuknn(method)} |")
    return "\n".join(lines)


def _against_tifuknn(method: dict) -> str:
    paired = method.get("minus", {}).get("tifuknn", {}).get("recall@10")
    return f"{paired['difference']:+.4f} ± {paired['standard_error']:.4f}" if paired else "–"


def _importance_table(importance: dict[str, float], count: int = 10) -> str:
    lines = ["| feature | share of gain |", "|---|--:|"]
    return "\n".join(lines + [f"| `{name}` | {share:.3f} |" for name, share in list(importance.items())[:count]])


def main() -> None:
    """Measures, and writes the page and the figures."""
    with exit_on_error():
        settings = load_settings()
        lake = open_lake(start_session(settings), settings)
        # Without them the published lists and the ranker would be left out, and no one told.
        lake.require_months(LIST_DECISIONS, [add_months(month, -1) for month in MONTHS])
        figures = measure(lake, settings, MONTHS)
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        tafeng = json.loads(TAFENG.read_text(encoding="utf-8"))
        PAGE.write_text(render(figures, tafeng), encoding="utf-8")
        said, bought = zip(*_reliability(figures["probabilities"]), strict=True)
        PLOT.write_text(reliability_svg(said, bought), encoding="utf-8")
        print(f"wrote {PAGE.relative_to(_REPOSITORY)} and {RESULTS.relative_to(_REPOSITORY)}")


if __name__ == "__main__":
    main()
