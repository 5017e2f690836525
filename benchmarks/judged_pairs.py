"""Which pairs the probabilities and the due dates are judged by."""

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from benchmarks.protocol import all_goods
from jobs.candidates import score_history
from jobs.scorecard import ACTIVE_MONTHS
from warehouse.lake import Lake
from warehouse.months import add_months, first_date
from warehouse.settings import Settings


def judged_pairs(lake: Lake, settings: Settings, before: str, columns: Sequence[str]) -> DataFrame:
    """Pairs with three purchases or more at the end of ``before``, of households active in the six months up to it.

    Shape: ``columns`` of ``jobs.candidates.score_history``, among them ``customer_id``, ``purchase_days`` and
    ``last_ordered_date``; one row a pair. Of all goods, as the reference's figures are (``benchmarks/protocol.py``).
    """
    since = F.add_months(F.lit(first_date(add_months(before, 1))), -ACTIVE_MONTHS)
    pairs = score_history(lake, settings, before, columns, most=None)
    active = pairs.where(F.col("last_ordered_date") >= since).select("customer_id").distinct()
    of_goods = pairs.where(F.col("purchase_days") >= 3).join(all_goods(lake), "product_id", "left_semi")
    return of_goods.join(active, "customer_id", "left_semi")
