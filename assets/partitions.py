"""The monthly partitions that all monthly assets share, and how months depend on months."""

import dagster as dg

from warehouse.months import add_months
from warehouse.settings import load_settings

_SETTINGS = load_settings()

MONTHS = dg.MonthlyPartitionsDefinition(
    start_date=_SETTINGS.first_month,
    # Dagster's end is the first month that is no partition any more.
    end_date=add_months(_SETTINGS.last_month, 1) if _SETTINGS.last_month else None,
    fmt="%Y-%m",
)
"""One partition a calendar month, from ``REPLENISH_FIRST_MONTH`` to the last month that has ended, or to
``REPLENISH_LAST_MONTH`` where data ends, as the demo's does."""


def months_before(count: int, including_this: bool) -> dg.TimeWindowPartitionMapping:
    """The ``count`` months before, with or without the month itself; months before the first do not exist."""
    return dg.TimeWindowPartitionMapping(
        start_offset=-count, end_offset=0 if including_this else -1, allow_nonexistent_upstream_partitions=True
    )
