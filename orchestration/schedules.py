"""When months run by themselves. Late data is the sensors' (``sensors.py``)."""

import dagster as dg

from orchestration.jobs import monthly

monthly_schedule = dg.build_schedule_from_partitioned_job(
    monthly,
    name="monthly_on_the_2nd",
    day_of_month=2,
    hour_of_day=3,
    minute_of_hour=0,
    description="On the 2nd at 03:00 UTC: the month that has just ended.",
)

SCHEDULES = [monthly_schedule]
