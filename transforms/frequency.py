"""How often each customer bought each product in a month: the increments from which the running state is built."""

from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from warehouse.contracts.features import RANKER_HALF_LIVES_DAYS, decayed_name, need_days_name

HALF_LIFE_DAYS = 75.0
"""Age in days at which a purchase counts half. Where it comes from: ``docs/decisions/0004-forecast.md``."""


@dataclass(frozen=True)
class FrequencyParams:
    """``high_frequency_min_orders``: orders of a month that make a pair high frequency (seed note B)."""

    high_frequency_min_orders: int = 2
    half_life_days: float = HALF_LIFE_DAYS


def monthly_frequency(lines: DataFrame, params: FrequencyParams) -> DataFrame:
    """Purchase frequency of whole months.

    Shape: in, ``silver/order_lines`` of one or more months with ``need``; out, one row a (month, customer_id,
    product_id), columns of ``gold/purchase_frequency``. An order counts if more of the product was bought than taken
    back in it; units and spend are net of all returns of the month, also those under another order. A day on which
    several products of a need were bought counts in part for each in ``need_days``, so that they add up to the need's.

    Units: gaps in days between purchase days inside the month; weights are 1 at the month's end and halve every
    ``half_life_days``.
    """
    pair = ("month", "customer_id", "product_id")
    orders = lines.groupBy(*pair, "need", "order_id").agg(
        F.sum("quantity").alias("units"),
        F.sum("line_amount_usd").alias("spend_usd"),
        F.min(F.when(F.col("quantity") > 0, F.col("ordered_date"))).alias("ordered_date"),
    )
    is_order = F.col("units") > 0
    days = orders.withColumn("day", F.when(is_order, F.col("ordered_date"))).groupBy(*pair, "need", "day")
    days = days.agg(
        F.sum(is_order.cast("int")).alias("orders"),
        F.sum("units").alias("units"),
        F.sum("spend_usd").alias("spend_usd"),
    )
    age = F.datediff(month_end(), F.col("day"))
    # Rows without a day are returns alone; they sort last and have no gap.
    in_order = Window.partitionBy(*pair).orderBy(F.col("day").asc_nulls_last())
    same_day = Window.partitionBy("month", "customer_id", "need", "day")
    days = days.withColumns(
        {
            "gap": F.datediff("day", F.lag("day").over(in_order)),
            "weight": recency_weight(age, params.half_life_days),
            **{decayed_name(days): recency_weight(age, days) for days in RANKER_HALF_LIVES_DAYS},
            "share": F.when(F.col("day").isNotNull(), 1 / F.count(F.lit(1)).over(same_day)),
        }
    )
    gap_weight = F.when(F.col("gap").isNotNull(), F.col("weight"))
    pairs = days.groupBy(*pair).agg(
        F.sum("orders").cast("int").alias("orders"),
        F.count("day").cast("int").alias("purchase_days"),
        F.sum("units").cast("int").alias("units"),
        F.sum("spend_usd").alias("spend_usd"),
        F.min("day").alias("first_ordered_date"),
        F.max("day").alias("last_ordered_date"),
        F.count("gap").cast("int").alias("gap_count"),
        _sum(F.col("gap")).cast("long").alias("gap_days_sum"),
        _sum(F.col("gap") * F.col("gap")).cast("long").alias("gap_days_sum_of_squares"),
        _sum(gap_weight).alias("weighted_gap_count"),
        _sum(gap_weight * F.col("gap")).alias("weighted_gap_days"),
        _sum(F.col("weight")).alias("decayed_purchases"),
        *[_sum(F.col(name)).alias(name) for name in map(decayed_name, RANKER_HALF_LIVES_DAYS)],
        _sum(F.col("share")).alias("need_days"),
        *[
            _sum(F.col("share") * F.col(decayed_name(days))).alias(need_days_name(days))
            for days in RANKER_HALF_LIVES_DAYS
        ],
        F.coalesce(F.max_by(F.when(F.col("day").isNotNull(), F.col("units")), "day"), F.lit(0))
        .cast("int")
        .alias("last_units"),
    )
    return pairs.withColumn("is_high_frequency", F.col("orders") >= params.high_frequency_min_orders)


def month_end() -> Column:
    """The last day of the row's ``month``.

    Read from the row although a caller may know it: a date written into a query is written into its compiled code, and
    Spark would compile every month's queries anew.
    """
    return F.last_day(F.col("month").cast("date"))


def next_month_end() -> Column:
    """The last day of the month after the row's ``month``; read from the row as :func:`month_end` is."""
    return F.last_day(F.add_months(month_end(), 1))


def recency_weight(age_days: Column, half_life_days: float) -> Column:
    """``2 ** (-age / half_life)``: 1 for today, ½ a half-life ago (exponential forgetting)."""
    return F.pow(F.lit(2.0), -age_days / F.lit(half_life_days))


def _sum(column: Column) -> Column:
    return F.coalesce(F.sum(column), F.lit(0))
