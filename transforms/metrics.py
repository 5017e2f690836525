"""Ranking quality of lists against what was bought: one row a customer, then means with standard errors.

Protocol: a global cutoff. Lists use data before the month; truth is the set of products bought in it. Source of the
definitions: Li, Jullien, Ariannezhad and de Rijke 2023, "A Next Basket Recommendation Reality Check" (NDCG's ideal
sums over the whole truth, not capped at k).
"""

from functools import reduce

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

METRICS = ("recall", "precision", "ndcg", "hit_rate", "repeat_recall", "discovery_recall")


def judge_lists(lists: dict[str, DataFrame], truth: DataFrame, k: int) -> DataFrame:
    """Metrics at ``k`` of each method's list for each customer.

    Shape: out, one row a method and customer of ``truth``: ``method``, ``customer_id`` and one double for each of
    ``METRICS``; ``repeat_recall`` and ``discovery_recall`` are null where the customer bought no such item. A customer
    without a list scores 0.

    Args:
        lists: method → ``customer_id, product_id, rank`` (1 first, unique a customer).
        truth: ``customer_id, product_id, is_repeat`` (bought before the month), one row a pair.
        k: how many lines count.
    """
    pair = ["method", "customer_id", "product_id"]
    cut = [
        ranked.where(F.col("rank") <= k).select(F.lit(method).alias("method"), "customer_id", "product_id", "rank")
        for method, ranked in lists.items()
    ]
    for_each = truth.select("*", F.explode(F.array(*map(F.lit, lists))).alias("method"))
    hits = for_each.join(reduce(DataFrame.unionByName, cut), on=pair, how="left")
    is_hit = F.col("rank").isNotNull().cast("int")
    gain = F.coalesce(1 / F.log2(F.col("rank") + 1), F.lit(0.0))
    repeat, new = F.col("is_repeat").cast("int"), (~F.col("is_repeat")).cast("int")
    sums = hits.groupBy("method", "customer_id").agg(
        F.count(F.lit(1)).alias("bought"),
        F.sum(is_hit).alias("hits"),
        F.sum(gain).alias("dcg"),
        F.sum(is_hit * repeat).alias("repeat_hits"),
        F.sum(repeat).alias("repeats"),
        F.sum(is_hit * new).alias("new_hits"),
        F.sum(new).alias("news"),
    )
    ideal = F.aggregate(F.sequence(F.lit(1), F.col("bought")), F.lit(0.0), lambda total, i: total + 1 / F.log2(i + 1))
    return sums.select(
        "method",
        "customer_id",
        (F.col("hits") / F.col("bought")).alias("recall"),
        (F.col("hits") / F.lit(k)).alias("precision"),
        (F.col("dcg") / ideal).alias("ndcg"),
        (F.col("hits") > 0).cast("double").alias("hit_rate"),
        F.try_divide("repeat_hits", "repeats").alias("repeat_recall"),
        F.try_divide("new_hits", "news").alias("discovery_recall"),
    )


def mean_of(one: Column, value: str = "value", standard_error: str = "standard_error") -> list[Column]:
    """Aggregates: the mean of a column, its standard error (null with fewer than two) and ``customers`` counted."""
    error = F.stddev_samp(one) / F.sqrt(F.count(one))
    return [F.avg(one).alias(value), error.alias(standard_error), F.count(one).alias("customers")]


def mean_metrics(judged: DataFrame, k: int) -> DataFrame:
    """Mean and standard error of each metric.

    Shape: in, :func:`judge_lists`; out, one row a method and metric: ``method``, ``metric`` (``recall@10`` …),
    ``value``, ``standard_error`` (of the mean over customers; both null where nobody counts) and ``customers`` counted.
    """
    return (
        judged.unpivot(["method"], [F.col(name) for name in METRICS], "metric", "one")
        .groupBy("method", "metric")
        .agg(
            *mean_of(F.col("one")),
        )
        .withColumn("metric", F.concat("metric", F.lit(f"@{k}")))
    )


def paired_differences(judged: DataFrame, against: str, k: int) -> DataFrame:
    """Mean difference of each method from the method ``against``, customer by customer.

    A month's own standard error hides gains that nearly every customer shares; the paired one does not.

    Shape: in, :func:`judge_lists`; out, one row a method and metric: ``method``, ``metric``, ``difference``,
    ``difference_se`` (null with fewer than two customers), ``customers``. The method ``against`` itself is left out.
    """
    pair = ["customer_id", "metric"]
    each = judged.unpivot(["method", "customer_id"], [F.col(name) for name in METRICS], "metric", "one")
    base = each.where(F.col("method") == against).select(*pair, F.col("one").alias("base"))
    difference = F.col("one") - F.col("base")
    return (
        each.where(F.col("method") != against)
        .join(base, on=pair, how="inner")
        .groupBy("method", "metric")
        .agg(
            *mean_of(difference, "difference", "difference_se"),
        )
        .withColumn("metric", F.concat("metric", F.lit(f"@{k}")))
    )


def monthly_units_error(lines: DataFrame, bought: DataFrame, days: int, method: str) -> DataFrame:
    """How well quantity and cadence fit: mean absolute error of the month's units, over lines that were bought at all.

    Shape: in, list lines (``customer_id, product_id, quantity, cadence_days``) and ``silver/order_lines`` of the month
    with its ``days``; out, one row as :func:`mean_metrics` gives them, metric ``monthly_units_error``, where
    ``customers`` counts lines.
    """
    units = bought.groupBy("customer_id", "product_id").agg(F.sum("quantity").alias("units")).where("units > 0")
    listed = F.col("quantity") * F.lit(days) / F.col("cadence_days")
    errors = lines.join(units, on=["customer_id", "product_id"], how="inner").select(
        F.abs(listed - F.col("units")).alias("error")
    )
    return errors.agg(
        F.lit(method).alias("method"),
        F.lit("monthly_units_error").alias("metric"),
        *mean_of(F.col("error")),
    )


def rank_by(frame: DataFrame, *best_first: Column) -> DataFrame:
    """``customer_id, product_id, rank`` by the order given, ties broken by product id."""
    order = Window.partitionBy("customer_id").orderBy(*best_first, "product_id")
    return frame.select("customer_id", "product_id", F.row_number().over(order).alias("rank"))
