"""The simple methods that every list is judged beside, from the same running state and for the same customers."""

from functools import reduce

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from transforms.metrics import rank_by
from warehouse.contracts.features import decayed_name


def personal_top(state: DataFrame) -> DataFrame:
    """Personal top-frequency: most purchase days first, ties by first seen, as in the Reality Check's P-TopFreq.

    Shape: in, ``gold/replenishment_state``; out, ``customer_id, product_id, rank``.
    """
    return rank_by(state, *_orders()["personal_top"])


def decayed_frequency(state: DataFrame) -> DataFrame:
    """Purchase days weighted by recency with a half-life of 120 days, greatest first; shape as :func:`personal_top`.

    The half-life is that of the figures which the project compares itself with (docs/decisions-quality.md); the
    forecast's 75 days rank worse.
    """
    return rank_by(state, *_orders()["decayed_frequency"])


def simple_lists(state: DataFrame, k: int) -> DataFrame:
    """The first ``k`` of :func:`personal_top` and of :func:`decayed_frequency`, by one pass over the state.

    Shape: in, ``gold/replenishment_state``; out, one row a pair that one of them lists: ``customer_id, product_id`` and
    ``personal_top``, ``decayed_frequency``: its rank there, which may be beyond ``k`` in one of them.
    """
    customer = Window.partitionBy("customer_id")
    ranks = {name: F.row_number().over(customer.orderBy(*order, "product_id")) for name, order in _orders().items()}
    listed = [F.col(name) <= k for name in ranks]
    ranked = state.select("customer_id", "product_id", *[rank.alias(name) for name, rank in ranks.items()])
    return ranked.where(reduce(Column.__or__, listed))


def _orders() -> dict[str, tuple[Column, ...]]:
    """What each method puts first."""
    return {
        "personal_top": (F.desc("purchase_days"), F.asc("first_ordered_date")),
        "decayed_frequency": (F.desc(decayed_name(120)),),
    }


def global_top(state: DataFrame, customers: DataFrame, count: int) -> DataFrame:
    """The ``count`` products with most buyers, recent ones first, the same for each of ``customers``."""
    decayed = decayed_name(120)
    popular = state.groupBy("product_id").agg(F.sum(decayed).alias(decayed))
    best = popular.orderBy(F.desc(decayed), "product_id").limit(count)
    return rank_by(customers.crossJoin(F.broadcast(best)), F.desc(decayed))
