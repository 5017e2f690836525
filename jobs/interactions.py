"""bronze/interactions → silver/interactions: one row an event, for whole months at a time."""

from collections.abc import Sequence

from jobs.cli import run_job
from jobs.report import JobReport
from jobs.silver import bronze_rows, write_judged
from transforms.cleaning import clean_interactions
from warehouse.contracts.silver import INTERACTIONS_TABLE
from warehouse.lake import Lake
from warehouse.settings import Settings


def run(lake: Lake, settings: Settings, months: Sequence[str]) -> JobReport:
    """Replaces the months of ``silver/interactions``."""
    events = clean_interactions(bronze_rows(lake, "interactions", months), settings.business_tz)
    return write_judged(lake, INTERACTIONS_TABLE, "interactions", events, months)


if __name__ == "__main__":
    run_job(run, __doc__)
