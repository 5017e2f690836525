"""How often each customer bought each product in a month: the increments from which the running state is built."""

from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

HALF_LIFE_DAYS = 75.0
"""Age in days at which a purchase counts half. Chosen on 2017-08 and 2017-09 of Complete Journey (recall@10 and
Brier score are flat from 60 to 90); the months that docs report were not looked at."""


@dataclass(frozen=True)
class FrequencyParams:
    """``high_frequency_min_orders``: orders of a month that make a pair high frequency (seed note B)."""

    high_frequency_min_orders: int = 2
    half_life_days: float = HALF_LIFE_DAYS


def monthly_frequency(lines: DataFrame, params: FrequencyParams) -> DataFrame:
    """Purchase frequency of whole months.

    Shape: in, ``silver/order_lines`` of one or more months; out, one row a (month, customer_id, product_id), columns
    of ``gold/purchase_frequency``. An order counts if more of the product was bought than taken back in it; units and
    spend are net of all returns of the month, also those under another order.

    Units: gaps in days between purchase days inside the month; weights are 1 at the month's end and halve every
    ``half_life_days``.
    """
    pair = ("month", "customer_id", "product_id")
    orders = lines.groupBy(*pair, "order_id").agg(
        F.sum("quantity").alias("units"),
        F.sum("line_amount_usd").alias("spend_usd"),
        F.min(F.when(F.col("quantity") > 0, F.col("ordered_date"))).alias("ordered_date"),
    )
    bought = F.when(F.col("units") > 0, F.col("ordered_date"))
    pairs = orders.groupBy(*pair).agg(
        F.count(bought).alias("orders"),
        F.sum("units").alias("units"),
        F.sum("spend_usd").alias("spend_usd"),
        F.sort_array(F.collect_set(bought)).alias("days"),
    )
    end = F.last_day(F.to_date(F.concat("month", F.lit("-01"))))
    pairs = pairs.withColumns(
        {
            "gaps": F.expr("transform(slice(days, 2, greatest(size(days), 1)), (day, i) -> datediff(day, days[i]))"),
            "weights": F.transform("days", lambda day: recency_weight(F.datediff(end, day), params.half_life_days)),
        }
    ).withColumn("gap_weights", F.slice("weights", 2, F.greatest(F.size("weights"), F.lit(1))))
    return pairs.select(
        *pair,
        "orders",
        F.size("days").alias("purchase_days"),
        "units",
        "spend_usd",
        F.array_min("days").alias("first_ordered_date"),
        F.array_max("days").alias("last_ordered_date"),
        F.size("gaps").alias("gap_count"),
        _sum("gaps").cast("long").alias("gap_days_sum"),
        _sum(F.transform("gaps", lambda gap: gap * gap)).cast("long").alias("gap_days_sum_of_squares"),
        _sum("gap_weights").alias("weighted_gap_count"),
        _sum(F.zip_with("gaps", "gap_weights", lambda gap, weight: gap * weight)).alias("weighted_gap_days"),
        _sum("weights").alias("decayed_purchases"),
        (F.col("orders") >= params.high_frequency_min_orders).alias("is_high_frequency"),
    )


def recency_weight(age_days: Column, half_life_days: float) -> Column:
    """``2 ** (-age / half_life)``: 1 for today, ½ a half-life ago (exponential forgetting)."""
    return F.pow(F.lit(2.0), -age_days / F.lit(half_life_days))


def _sum(array: Column | str) -> Column:
    return F.aggregate(F.transform(array, lambda x: x.cast("double")), F.lit(0.0), lambda total, x: total + x)
