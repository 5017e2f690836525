"""gold/replenishment_state: the state of the month before, plus the month's frequency. Months run in order.

Never reads an earlier month than the one before: adding a month costs the live pairs, whatever the history.
"""

from collections.abc import Sequence

from jobs.cli import run_job
from jobs.report import JobReport
from transforms.replenishment import StateParams, advance_state
from warehouse.contracts.gold import PURCHASE_FREQUENCY, REPLENISHMENT_STATE
from warehouse.lake import Lake
from warehouse.months import add_months
from warehouse.settings import Settings


def run(lake: Lake, settings: Settings, months: Sequence[str]) -> JobReport:
    """Replaces the months of ``gold/replenishment_state``, one after the other.

    Raises:
        MissingMonth: the month has no frequency, or the month before it has no state although it is not the first.
    """
    params = StateParams(expiry_months=settings.state_expiry_months)
    rows = {}
    for month in sorted(months):
        frequency = lake.require_months(PURCHASE_FREQUENCY, [month]).drop("month", "is_high_frequency")
        before = add_months(month, -1)
        is_first = month <= settings.first_month
        previous = (
            lake.read(REPLENISHMENT_STATE, [before]) if is_first else lake.require_months(REPLENISHMENT_STATE, [before])
        )
        state = advance_state(previous.drop("month", "mean_gap_days", "units_per_order"), frequency, month, params)
        rows[month] = lake.replace_months(REPLENISHMENT_STATE, state, [month]).rows
    return JobReport(REPLENISHMENT_STATE.name, rows)


if __name__ == "__main__":
    run_job(run, __doc__)
