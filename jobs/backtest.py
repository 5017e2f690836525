"""Judges, month by month, the decisions made at the end of the month before against the month's purchases.

    python -m jobs.backtest --from 2017-10 --to 2017-12 [--json]

Prints a table, or one JSON object a month and method. Writes nothing.
"""

import argparse
import json
from collections.abc import Sequence

from jobs.cli import exit_on_error
from jobs.scorecard import judge_month
from transforms.metrics import METRICS
from warehouse.lake import Lake, open_lake
from warehouse.months import month_range
from warehouse.settings import Settings, load_settings
from warehouse.spark import start_session


def backtest(lake: Lake, settings: Settings, months: Sequence[str]) -> list[dict[str, object]]:
    """One dict a month and method: ``month``, ``method``, ``customers``, each metric, each ``<metric>_se``.

    Raises:
        MissingMonth: a month, or the decisions before it, are not there.
    """
    results: dict[tuple[str, str], dict[str, object]] = {}
    for month in months:
        for row in judge_month(lake, settings, month).collect():
            result = results.setdefault((month, row.method), {"month": month, "method": row.method, "customers": 0})
            result[row.metric] = row.value
            result[f"{row.metric}_se"] = row.standard_error
            if row.metric.startswith("recall@"):
                result["customers"] = row.customers
    return list(results.values())


def render_table(results: Sequence[dict[str, object]], k: int = 10) -> str:
    """The results as a Markdown table, means over customers."""
    names = [f"{metric}@{k}" for metric in METRICS]
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
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args(argv)
    with exit_on_error():
        settings = load_settings()
        months = month_range(arguments.first, arguments.last)
        results = backtest(open_lake(start_session(settings), settings), settings, months)
        if arguments.json:
            print("\n".join(json.dumps(result) for result in results))
        else:
            print(render_table(results))


if __name__ == "__main__":
    main()
