"""silver/order_lines → gold/copurchase_counts (the month's partial counts) → gold/copurchase (over the window).

The window sums stored partial counts; order lines of earlier months are never read again.
"""

from collections.abc import Sequence

from jobs.cli import run_job
from jobs.report import JobReport
from transforms.copurchase import CopurchaseParams, count_pairs, windowed_copurchase
from warehouse.contracts.gold import COPURCHASE, COPURCHASE_COUNTS
from warehouse.contracts.silver import ORDER_LINES
from warehouse.lake import Lake
from warehouse.months import add_months, month_range
from warehouse.settings import Settings


def run_counts(lake: Lake, settings: Settings, months: Sequence[str]) -> JobReport:
    """Replaces the months of ``gold/copurchase_counts``.

    Raises:
        MissingMonth: a month has no order line.
    """
    lines = lake.require_months(ORDER_LINES, months)
    lake.replace_months(COPURCHASE_COUNTS, count_pairs(lines, _params(settings)), months)
    return JobReport(COPURCHASE_COUNTS.name, lake.count_by_month(COPURCHASE_COUNTS, months))


def run_window(lake: Lake, settings: Settings, months: Sequence[str]) -> JobReport:
    """Replaces the months of ``gold/copurchase``.

    Raises:
        MissingMonth: a month has no counts.
    """
    rows = {}
    for month in sorted(months):
        lake.require_months(COPURCHASE_COUNTS, [month])
        window = month_range(add_months(month, 1 - settings.copurchase_window_months), month)
        pairs = windowed_copurchase(lake.read(COPURCHASE_COUNTS, window), month, _params(settings))
        rows[month] = lake.replace_months(COPURCHASE, pairs, [month]).rows
    return JobReport(COPURCHASE.name, rows)


def run(lake: Lake, settings: Settings, months: Sequence[str]) -> JobReport:
    """Counts, then windows."""
    run_counts(lake, settings, months)
    return run_window(lake, settings, months)


def _params(settings: Settings) -> CopurchaseParams:
    return CopurchaseParams(
        min_baskets=settings.copurchase_min_baskets,
        min_pair_baskets=settings.copurchase_min_pair_baskets,
        top_n=settings.copurchase_top_n,
    )


if __name__ == "__main__":
    run_job(run, __doc__, parts={"counts": run_counts, "window": run_window})
