"""How good the decisions are on the demo's data: writes ``docs/decisions-quality.md`` and its figures as JSON.

    make demo && make decisions-quality

Judges the home's months 2017-10 to 2017-12 by the backtest (``jobs/backtest.py``) and the ranker's probabilities by
what was bought. The protocol stands on the page.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pyspark.sql import functions as F

from benchmarks.due_dates import due_date_table, measure_due_dates, said_table
from benchmarks.judged_pairs import judged_pairs
from benchmarks.quantities import measure_quantities, quantity_table
from jobs.backtest import METHODS, backtest
from jobs.cli import exit_on_error
from jobs.scorecard import AGAINST
from transforms.probability_metrics import probability_metrics, recall_at_precision, reliability
from warehouse.contracts.gold import PURCHASE_FREQUENCY, RANKERS
from warehouse.lake import Lake, open_lake
from warehouse.months import add_months, month_range
from warehouse.settings import Settings, load_settings
from warehouse.spark import start_session

MONTHS = month_range("2017-10", "2017-12")
_REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = _REPOSITORY / "docs" / "decisions-quality.md"
RESULTS = _REPOSITORY / "benchmarks" / "results" / "decisions.json"
TAFENG = _REPOSITORY / "benchmarks" / "results" / "quality_tafeng.json"

_HEAD = """# How good the decisions are

<!-- Written by `make decisions-quality` after `make demo`: change benchmarks/decisions.py, not this page. -->

Complete Journey, the demo's data: lists made at the end of each month before are judged by the purchases of 2017-10,
2017-11 and 2017-12. Judged are the households with a purchase in the six months before the month and in the month;
truth is every product bought that may stand on a list (no fuel, coupons, other non-goods or tobacco; docs/data.md).
Every method ranks the same products for the same households with a global cutoff. `published` is the list that was
served: judged as products with its alternates, the likeliest first, judged as needs line by line
(docs/decisions/0010-need-lines.md). `ranker` ranks all that a household has bought. What its parts bring:
`ranker_of_products` has no ranker of needs, the products' probabilities are added up in its place; `forecast` has
neither (docs/decisions/0004-forecast.md). A household buys some fifty different products a month, most for the first
time, so that no list of ten can come near a recall of one.

The ranker's hyperparameters were chosen on these three months among a handful of settings, none of which moved
recall@10 by more than .001; take the last digit accordingly.
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

    Keys: ``lists`` (of the backtest), ``probabilities``, ``due_dates``, ``quantities`` and ``importance``.

    Raises:
        MissingMonth: the months, or those before them, are not in the lake.
    """
    return {
        "lists": backtest(lake, settings, months),
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
    parts = [
        _HEAD,
        "## Products\n\nMean of the three months; the difference from personal top is paired by household, with the "
        "greatest of the months' standard errors.\n",
        _lists_table(figures["lists"], ""),
        "\n## Needs\n\nThe same with product types in place of products: a need counts as met by any product of its "
        "type.\n",
        _lists_table(figures["lists"], "need_"),
        "\n## Probabilities\n\nPairs with three purchases or more of households active in the last six months, no look "
        "into the month. `recall at .8`: the share of the purchases in the longest list of which 80 % is bought.\n",
        _probability_table(figures["probabilities"]),
        "\nReliability of the ranker, all months together, pairs in ten parts of equal number:\n",
        _reliability_table(figures["probabilities"]),
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


def _lists_table(results: Sequence[dict], prefix: str) -> str:
    names = ["recall@10", "precision@10", "ndcg@10", "hit_rate@10", "recall@20", "precision@20"]
    difference = f"{prefix}recall@10_vs_{AGAINST}"
    lines = [f"| method | {' | '.join(names)} | recall@10 − {AGAINST} |", "|---|" + "--:|" * (len(names) + 1)]
    for method in METHODS:
        rows = [row for row in results if row["method"] == method]
        if not rows:
            continue
        means = [np.mean([row[f"{prefix}{name}"] for row in rows]) for name in names]
        paired = "–"
        if method != AGAINST:
            mean = np.mean([row[difference] for row in rows])
            paired = f"{mean:+.4f} ± {max(row[f'{difference}_se'] for row in rows):.4f}"
        lines.append(f"| {method} | {' | '.join(f'{mean:.4f}' for mean in means)} | {paired} |")
    return "\n".join(lines)


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


def _reliability_table(results: Sequence[dict]) -> str:
    lines = ["| part | said | bought |", "|--:|--:|--:|"]
    for place, parts in enumerate(zip(*[row["ranker"]["reliability"] for row in results], strict=True), start=1):
        pairs = [part["pairs"] for part in parts]
        said, bought = (np.average([part[name] for part in parts], weights=pairs) for name in ("said", "bought"))
        lines.append(f"| {place} | {said:.3f} | {bought:.3f} |")
    return "\n".join(lines)


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
        figures = measure(open_lake(start_session(settings), settings), settings, MONTHS)
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        tafeng = json.loads(TAFENG.read_text(encoding="utf-8"))
        PAGE.write_text(render(figures, tafeng), encoding="utf-8")
        print(f"wrote {PAGE.relative_to(_REPOSITORY)} and {RESULTS.relative_to(_REPOSITORY)}")


if __name__ == "__main__":
    main()
