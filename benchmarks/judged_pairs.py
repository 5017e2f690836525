"""Which pairs the probabilities and the due dates are judged by."""

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.candidates import score_history
from jobs.scorecard import ACTIVE_MONTHS
from warehouse.lake import Lake
from warehouse.months import add_months, first_date
from warehouse.settings import Settings


def judged_pairs(lake: Lake, settings: Settings, before: str, columns: Sequence[str]) -> DataFrame:
    """Pairs with three purchases or more at the end of ``before``, of households active in the six months up to it.

    Shape: ``columns`` of ``jobs.candidates.score_history``, among them ``customer_id``, ``purchase_days`` and
    ``last_ordered_date``; one row a pair. What is not subscribable is left out.
    """
    since = F.add_months(F.lit(first_date(add_months(before, 1))), -ACTIVE_MONTHS)
    pairs = score_history(lake, settings, before, columns)
    active = pairs.where(F.col("last_ordered_date") >= since).select("customer_id").distinct()
    goods = F.coalesce(F.col("drop_reason") != "not_subscribable", F.lit(True))
    return pairs.where((F.col("purchase_days") >= 3) & goods).join(active, "customer_id", "left_semi")
