"""The running purchase history of each pair, and what it says of the next purchase.

State(M) comes from State(M-1) and the frequency of M alone. The forecast is the first honest version: a
Gamma-Poisson purchase rate under exponential forgetting, and gaps shrunk to the product type's.
"""

from dataclasses import dataclass
from math import log

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.frequency import HALF_LIFE_DAYS, month_end, next_month_end, recency_weight
from warehouse.contracts.features import RANKER_HALF_LIVES_DAYS, decayed_name, need_days_name
from warehouse.months import days_in, last_date

PAIR = ("customer_id", "product_id")
_SUMS = (
    "orders",
    "purchase_days",
    "units",
    "spend_usd",
    "gap_count",
    "gap_days_sum",
    "gap_days_sum_of_squares",
    "need_days",
)


@dataclass(frozen=True)
class StateParams:
    """``expiry_months``: months without a purchase after which a pair leaves the state."""

    half_life_days: float = HALF_LIFE_DAYS
    expiry_months: int = 24


@dataclass(frozen=True)
class ForecastParams:
    """Constants of the forecast.

    ``prior_purchases`` and ``prior_days`` are the Gamma prior of the purchase rate (shape, and rate in days): 0.1
    purchases in 60 days before anything is known of a pair. ``prior_gaps`` is how many gaps of the product type's mean
    each pair starts with. Chosen on 2017-08 and 2017-09 of Complete Journey; see ``docs/decisions/0004-forecast.md``.
    ``prior_orders`` is how many orders of the product's median units each pair starts with: 2 had the least absolute
    error of 0 to 6 for 2017-07 to 09.
    """

    half_life_days: float = HALF_LIFE_DAYS
    prior_purchases: float = 0.1
    prior_days: float = 60.0
    prior_gaps: float = 3.0
    prior_orders: float = 2.0


def advance_state(previous: DataFrame, frequency: DataFrame, month: str, params: StateParams) -> DataFrame:
    """State at the end of ``month`` from the state a month before and the month's frequency.

    Shape: both inputs have one row a pair (``gold/replenishment_state`` of M-1, ``gold/purchase_frequency`` of M);
    out, one row a live pair, columns of ``gold/replenishment_state``. A pair that was only ever taken back has no row.
    """
    half_lives = dict.fromkeys(("weighted_gap_count", "weighted_gap_days", "decayed_purchases"), params.half_life_days)
    for name in (decayed_name, need_days_name):
        half_lives |= {name(days): float(days) for days in RANKER_HALF_LIVES_DAYS}
    end = F.lit(last_date(month))
    old, new = previous.alias("old"), frequency.alias("new")
    # The month is the smaller side: building its hash table saves sorting the whole state.
    joined = old.join(new.hint("shuffle_hash"), on=list(PAIR), how="full_outer")
    gap = F.datediff(F.col("new.first_ordered_date"), F.col("old.last_ordered_date"))
    has_gap = gap.isNotNull()
    weight = F.when(has_gap, recency_weight(F.datediff(end, "new.first_ordered_date"), params.half_life_days))
    gap_days, gap_weight = _or_zero(gap), _or_zero(weight)
    sums = {name: _or_zero(F.col(f"old.{name}")) + _or_zero(F.col(f"new.{name}")) for name in _SUMS}
    sums["gap_count"] += has_gap.cast("int")
    sums["gap_days_sum"] += gap_days
    sums["gap_days_sum_of_squares"] += gap_days * gap_days
    decayed = {
        name: _or_zero(F.col(f"old.{name}")) * 2.0 ** (-days_in(month) / half_life) + _or_zero(F.col(f"new.{name}"))
        for name, half_life in half_lives.items()
    }
    decayed["weighted_gap_count"] += gap_weight
    decayed["weighted_gap_days"] += gap_weight * gap_days
    bought = F.coalesce(F.col("new.orders") > 0, F.lit(False))
    state = joined.select(
        F.lit(month).alias("month"),
        *PAIR,
        *[column.alias(name) for name, column in {**sums, **decayed}.items()],
        (_or_zero(F.col("old.months_active")) + bought.cast("int")).alias("months_active"),
        _recent_months(F.col("old.recent_months"), bought).alias("recent_months"),
        F.coalesce(F.when(bought, F.col("new.last_units")), F.col("old.last_units"), F.lit(0)).alias("last_units"),
        F.coalesce("old.first_ordered_date", "new.first_ordered_date").alias("first_ordered_date"),
        F.coalesce("new.last_ordered_date", "old.last_ordered_date").alias("last_ordered_date"),
    )
    oldest = F.add_months(end, -params.expiry_months)
    return state.where(F.col("last_ordered_date") > oldest).withColumns(
        {
            "mean_gap_days": F.try_divide("weighted_gap_days", "weighted_gap_count"),
            "units_per_order": F.greatest(F.col("units"), F.lit(0)) / F.greatest(F.col("orders"), F.lit(1)),
        }
    )


def forecast(state: DataFrame, params: ForecastParams) -> DataFrame:
    """Adds each pair's next purchase to the state.

    Shape: rows in = rows out. In: ``gold/replenishment_state`` with ``type_gap_days`` and ``product_units_per_order``
    (``transforms.pair_features``). Adds ``probability`` of a purchase in the month after and ``gap_days``, expected
    days between purchases; ``units_per_order`` becomes what is expected of the next order. The dates that follow from
    a probability: ``transforms/due_dates.py``.

    Source: predictive probability of the Gamma-Poisson (NBD) model, ``1 - ((b + T) / (b + T + h)) ** (a + n)``
    (Ehrenberg 1959, "The Pattern of Consumer Purchases"), where ``n`` (repeat purchases) and ``T`` (days observed)
    are both exponentially forgotten. Gap: mean shrunk towards the product type's, as in empirical Bayes.
    """
    end = month_end()
    horizon = F.datediff(next_month_end(), end)
    half_life = params.half_life_days
    first_weight = recency_weight(F.datediff(end, "first_ordered_date"), half_life)
    observed_days = (half_life / log(2)) * (1 - first_weight)
    repeats = F.greatest(F.col("decayed_purchases") - first_weight, F.lit(0.0))
    base = params.prior_days + observed_days
    probability = 1 - F.pow(base / (base + horizon), params.prior_purchases + repeats)
    gap = (F.col("weighted_gap_days") + params.prior_gaps * F.col("type_gap_days")) / (
        F.col("weighted_gap_count") + params.prior_gaps
    )
    orders, prior = F.greatest(F.col("orders"), F.lit(1)), params.prior_orders
    units = (F.col("units_per_order") * orders + prior * F.col("product_units_per_order")) / (orders + prior)
    return state.withColumns(
        {"probability": probability, "gap_days": F.greatest(gap, F.lit(1.0)), "units_per_order": units}
    )


def _recent_months(before: Column, bought: Column) -> Column:
    """The last 24 months as bits, this month the lowest, one where the pair was bought."""
    return F.shiftleft(_or_zero(before), 1).bitwiseAND(F.lit(0xFFFFFF)).bitwiseOR(bought.cast("int"))


def _or_zero(column: Column) -> Column:
    return F.coalesce(column, F.lit(0))
