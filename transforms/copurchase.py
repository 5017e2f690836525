"""Which products are bought together: monthly partial counts, summed over a window into support, confidence and lift.

A basket is a customer's day. Source of the measures: Agrawal, Imielinski and Swami 1993 (support, confidence);
Brin, Motwani, Ullman and Tsur 1997 (lift, there "interest").
"""

from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F


@dataclass(frozen=True)
class CopurchaseParams:
    """``min_baskets``: baskets of a month a product needs to be paired; ``min_pair_baskets``: of the window, a pair."""

    min_baskets: int = 15
    min_pair_baskets: int = 5
    top_n: int = 10


def count_pairs(lines: DataFrame, params: CopurchaseParams) -> DataFrame:
    """Partial counts of whole months.

    Shape: in, ``silver/order_lines``; out, one row a (month, product_a, product_b) with ``baskets``: pairs with
    product_a < product_b; product_a = product_b for the product's own baskets; ('', '') for all baskets. Returns are
    left out. The work grows with the square of a basket's products, which is bounded by ``min_baskets``.
    """
    items = (
        lines.where(F.col("quantity") > 0)
        .select("month", "customer_id", "ordered_date", "product_id")
        .dropDuplicates(["month", "customer_id", "ordered_date", "product_id"])
    )
    own = items.groupBy("month", "product_id").agg(F.count(F.lit(1)).alias("baskets"))
    frequent = own.where(F.col("baskets") >= params.min_baskets).select("month", "product_id")
    baskets = items.groupBy("month", "customer_id", "ordered_date").agg(F.lit(1).alias("one"))
    paired = (
        items.join(F.broadcast(frequent), on=["month", "product_id"], how="left_semi")
        .groupBy("month", "customer_id", "ordered_date")
        .agg(F.sort_array(F.collect_list("product_id")).alias("products"))
        .select("month", "products", F.posexplode("products").alias("place", "product_a"))
        .select(
            "month", "product_a", F.explode(F.expr("slice(products, place + 2, size(products))")).alias("product_b")
        )
        .groupBy("month", "product_a", "product_b")
        .agg(F.count(F.lit(1)).alias("baskets"))
    )
    singles = own.select(
        "month", F.col("product_id").alias("product_a"), F.col("product_id").alias("product_b"), "baskets"
    )
    every = baskets.groupBy("month").agg(F.count(F.lit(1)).alias("baskets"))
    every = every.select("month", F.lit("").alias("product_a"), F.lit("").alias("product_b"), "baskets")
    return paired.unionByName(singles).unionByName(every)


def windowed_copurchase(counts: DataFrame, month: str, params: CopurchaseParams) -> DataFrame:
    """Support, confidence and lift over the months in ``counts``, for the best partners of each product.

    Shape: in, ``gold/copurchase_counts`` of the window; out, one row a pair that is among the top N of either product,
    columns of ``gold/copurchase``. Partners rank by lift, then baskets, then id, so that results do not vary.
    """
    is_pair = F.col("product_a") < F.col("product_b")
    # Pairs below the floor in the whole window are most of the rows: drop them before anything is joined.
    summed = (
        counts.where(F.col("product_a") != "").groupBy("product_a", "product_b").agg(F.sum("baskets").alias("baskets"))
    )
    summed = summed.where(~is_pair | (F.col("baskets") >= params.min_pair_baskets))
    own = summed.where(~is_pair).select(F.col("product_a").alias("product"), F.col("baskets").alias("own"))
    total = counts.where(F.col("product_a") == "").agg(F.sum("baskets").alias("total"))
    pairs = (
        summed.where(is_pair)
        .join(own.select(F.col("product").alias("product_a"), F.col("own").alias("own_a")), on="product_a", how="inner")
        .join(own.select(F.col("product").alias("product_b"), F.col("own").alias("own_b")), on="product_b", how="inner")
        .crossJoin(F.broadcast(total))
    )
    measured = pairs.select(
        F.lit(month).alias("month"),
        "product_a",
        "product_b",
        "baskets",
        (F.col("baskets") / F.col("total")).alias("support"),
        (F.col("baskets") / F.col("own_a")).alias("confidence_a_to_b"),
        (F.col("baskets") / F.col("own_b")).alias("confidence_b_to_a"),
        (F.col("baskets") * F.col("total") / (F.col("own_a") * F.col("own_b"))).alias("lift"),
    )
    ranked = measured.withColumns(
        {
            "rank_of_b_for_a": _place("product_a", "product_b", params.top_n),
            "rank_of_a_for_b": _place("product_b", "product_a", params.top_n),
        }
    )
    return ranked.where(F.col("rank_of_b_for_a").isNotNull() | F.col("rank_of_a_for_b").isNotNull())


def _place(product: str, partner: str, top_n: int) -> Column:
    best_first = Window.partitionBy(product).orderBy(F.desc("lift"), F.desc("baskets"), partner)
    place = F.row_number().over(best_first)
    return F.when(place <= top_n, place)
