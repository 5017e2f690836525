"""What is known of every live pair at the end of a month, as numbers for the ranker.

All of it comes from the running state of that month, so no feature can see a later purchase. Names, units and meaning:
``warehouse/contracts/features.py``.
"""

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from transforms.frequency import month_end
from transforms.replenishment import PAIR
from transforms.thinning import hashed, thin
from warehouse.contracts.features import FEATURE_NAMES, RANKER_HALF_LIVES_DAYS, decayed_name

_LAST_SIX_MONTHS = 0b111111
_PRIOR_GAPS = 2.0
"""Gaps of the type's mean with which a pair's own mean gap is shrunk (empirical Bayes)."""
_ENOUGH_GAPS = 20
"""Gaps from which a type's own mean stands; below, the mean of all types, and a month before there is any gap."""
_FIRST_GAP_DAYS = 30.0
_PRODUCT_PRIOR_GAPS = 5.0
"""Gaps of the type's mean with which a product's own mean gap is shrunk."""
_NEWCOMER_DAYS = 45
_DAYS_A_MONTH = 30.0
_LEAST = 1e-9
"""Purchases that a share is at least taken of: what was bought long ago weighs next to nothing."""


def pair_features(state: DataFrame, most: int | None = None) -> DataFrame:
    """Adds the features and ``product_units_per_order`` (median over its buyers) to the state.

    Shape: in, ``gold/replenishment_state`` of one month with ``need`` (not null). Out, the same columns and
    ``FEATURE_NAMES`` as doubles, null only where the contract says so, by customer. One row a pair; of each customer
    the ``most`` that they bought most by recency, or all. What is known of a need, or of a product, is that of all
    pairs, those left out among them.

    Args:
        state: the pairs.
        most: pairs kept of a customer.
    """
    need = Window.partitionBy("customer_id", "need")
    with_need = state.repartition("customer_id").withColumns(
        {
            **{f"need_purchases_{days}d": F.sum(decayed_name(days)).over(need) for days in RANKER_HALF_LIVES_DAYS},
            "need_since_last_days": F.min(_since("last_ordered_date")).over(need),
            "need_products": F.count(F.lit(1)).over(need).cast("double"),
            "need_favourite_purchases_45d": F.max(decayed_name(45)).over(need),
            # A day split among three products comes back as .9999….
            "need_purchase_days": F.round(F.sum("need_days").over(need)),
        }
    )
    if most is not None:
        # In the half-life that the ranker looks at most. A pair far down this order is on no list of twenty.
        order = Window.partitionBy("customer_id").orderBy(F.desc(decayed_name(120)), "product_id")
        with_need = (
            with_need.withColumn("place", F.row_number().over(order)).where(F.col("place") <= most).drop("place")
        )
    known = with_need.join(F.broadcast(_product_features(state)), on="product_id", how="inner")
    share = _share(F.col(decayed_name(45)), "need_purchases_45d")
    return known.withColumns({**_of_pair(), "pair_share_of_need_45d": share})


def _since(date_column: str) -> Column:
    """Days from the date to the month's end."""
    return F.datediff(month_end(), date_column).cast("double")


def _share(part: Column, whole: str) -> Column:
    return part / F.greatest(F.col(whole), F.lit(_LEAST))


def _product_features(state: DataFrame) -> DataFrame:
    """What all customers' purchases say of each product and of its need: one row a product."""
    is_newcomer = F.datediff(month_end(), "first_ordered_date") < _NEWCOMER_DAYS
    products = state.groupBy("month", "need", "product_id").agg(
        *[F.sum(decayed_name(days)).alias(f"product_purchases_{days}d") for days in RANKER_HALF_LIVES_DAYS],
        F.count(F.lit(1)).cast("double").alias("product_buyers"),
        F.count_if(is_newcomer).alias("newcomers"),
        F.count_if(F.col("purchase_days") > 1).alias("repeaters"),
        F.median("units_per_order").alias("product_units_per_order"),
        F.sum("gap_count").alias("gaps"),
        F.sum("gap_days_sum").alias("gap_days"),
    )
    of_type, of_all = Window.partitionBy("month", "need"), Window.partitionBy("month")
    gaps, gap_days = F.sum("gaps"), F.sum("gap_days")
    enough = F.when(gaps.over(of_type) >= _ENOUGH_GAPS, gap_days.over(of_type) / gaps.over(of_type))
    overall = F.try_divide(gap_days.over(of_all), gaps.over(of_all))
    with_type = products.withColumns(
        {
            "type_gap_days": F.coalesce(enough, overall, F.lit(_FIRST_GAP_DAYS)),
            "type_purchases_45d": F.sum("product_purchases_45d").over(of_type),
        }
    )
    known_gaps = F.col("gap_days") + _PRODUCT_PRIOR_GAPS * F.col("type_gap_days")
    of_product = {
        "product_repeat_share": F.col("repeaters") / F.col("product_buyers"),
        "product_newcomer_share": F.col("newcomers") / F.col("product_buyers"),
        "product_trend": _share(F.col("product_purchases_15d"), "product_purchases_45d"),
        "product_share_of_need": _share(F.col("product_purchases_45d"), "type_purchases_45d"),
        "product_gap_days": known_gaps / (F.col("gaps") + _PRODUCT_PRIOR_GAPS),
    }
    helpers = ("month", "need", "repeaters", "newcomers", "gaps", "gap_days", "type_purchases_45d")
    return with_type.withColumns(of_product).drop(*helpers)


def feature_columns() -> list[Column]:
    """The features in the model's order, single precision: what a tree needs and half of what has to move."""
    return [F.col(name).cast("float").alias(name) for name in FEATURE_NAMES]


def label_examples(features: DataFrame, bought: DataFrame, negative_share: float, seed: int) -> DataFrame:
    """Training examples: every item that was bought in the month after, and a share of those that were not.

    Shape: in, what is known of each pair at the end of M-1, and one row a (``customer_id``, ``product_id``) bought in
    M; out, the pairs kept with ``is_bought`` and ``weight`` (1, or 1 / ``negative_share``). The share is taken by a
    hash of the pair, so that a re-run keeps the same rows.
    """
    labelled = features.join(bought.select(*PAIR, F.lit(True).alias("is_bought")), on=list(PAIR), how="left")
    return thin(labelled, negative_share, hashed(*PAIR, F.lit(seed)))


def _of_pair() -> dict[str, Column]:
    since_last, since_first = _since("last_ordered_date"), _since("first_ordered_date")
    expected_gap = (F.col("weighted_gap_days") + _PRIOR_GAPS * F.col("type_gap_days")) / (
        F.col("weighted_gap_count") + _PRIOR_GAPS
    )
    return {
        **{f"pair_purchases_{days}d": F.col(decayed_name(days)) for days in RANKER_HALF_LIVES_DAYS},
        "pair_purchase_days": F.col("purchase_days").cast("double"),
        "pair_months_in_6": F.bit_count(F.col("recent_months").bitwiseAND(F.lit(_LAST_SIX_MONTHS))).cast("double"),
        "pair_since_last_days": since_last,
        "pair_since_first_days": since_first,
        "pair_gap_days": F.col("mean_gap_days"),
        "pair_gap_share": since_last / expected_gap,
        "pair_last_units": F.col("last_units").cast("double"),
        "pair_units_per_order": F.col("units_per_order"),
        "pair_purchases_a_month": F.col("purchase_days") * _DAYS_A_MONTH / (since_first + 1),
        "pair_span_days": since_first - since_last,
        "pair_bought_this_month": F.getbit("recent_months", F.lit(0)).cast("double"),
    }
