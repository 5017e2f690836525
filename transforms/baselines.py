"""The simple methods that every list is judged beside, from the same running state and for the same customers."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from transforms.metrics import rank_by
from warehouse.contracts.features import decayed_name


def personal_top(state: DataFrame) -> DataFrame:
    """Personal top-frequency: most purchase days first, ties by first seen, as in the Reality Check's P-TopFreq.

    Shape: in, ``gold/replenishment_state``; out, ``customer_id, product_id, rank``.
    """
    return rank_by(state, F.desc("purchase_days"), F.asc("first_ordered_date"))


def decayed_frequency(state: DataFrame) -> DataFrame:
    """Purchase days weighted by recency with a half-life of 120 days, greatest first; shape as :func:`personal_top`.

    The half-life is that of the figures which the project compares itself with (docs/decisions-quality.md); the
    forecast's 75 days rank worse.
    """
    return rank_by(state, F.desc(decayed_name(120)))


def global_top(state: DataFrame, customers: DataFrame, count: int) -> DataFrame:
    """The ``count`` products with most buyers, recent ones first, the same for each of ``customers``."""
    decayed = decayed_name(120)
    popular = state.groupBy("product_id").agg(F.sum(decayed).alias(decayed))
    best = popular.orderBy(F.desc(decayed), "product_id").limit(count)
    return rank_by(customers.crossJoin(F.broadcast(best)), F.desc(decayed))
