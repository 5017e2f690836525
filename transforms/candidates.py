"""Which products may stand on a customer's list next month, each with its sources and evidence.

All candidates of this version come from the customer's own history: what is due, what was bought often this month,
and what was bought before and is similar to, or bought together with, one of those. Sources are the first seed's
criteria (a) and (b), with co-purchase beside them. Discovery of new products is not here.
"""

from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from warehouse.contracts.gold import CANDIDATES
from warehouse.months import add_months, last_date

PAIR = ["customer_id", "product_id"]


@dataclass(frozen=True)
class CandidateParams:
    """Bounds and thresholds.

    ``min_due_probability``: an item less likely than this is not due, whatever its date says (it was given up, or
    tried once). ``likely``: an item as likely as this is due, whatever its date says.
    ``min_similarity``: cosine below which two texts are not similar. ``max_anchors``: due or high-frequency items of a
    customer that lead to others. ``min_needs``: needs of a customer that are offered a line however unlikely they are:
    as many as a list has lines. ``max_candidates``: candidates kept of a customer.
    """

    min_due_probability: float = 0.02
    likely: float = 0.15
    min_similarity: float = 0.7
    min_needs: int = 20
    max_anchors: int = 20
    max_candidates: int = 60


def text_key(text_hash: str) -> Column:
    """The first 60 bits of the SHA-256 in the column, as a number: cheaper to move and to join than 64 characters."""
    return F.conv(F.substring(text_hash, 1, 15), 16, 10).cast("long")


def leads(history: DataFrame, needs: DataFrame, params: CandidateParams) -> DataFrame:
    """The best product of each need that may take a line: ``customer_id, product_id, lead_score``.

    Those of needs that are likely in the month after: where a household switches among many products, the need is
    likely and none of them is. And those of the customer's likeliest needs, so that everybody has a list.

    Args:
        history: ``customer_id, product_id, need, score``, one row a pair.
        needs: ``customer_id, need, need_probability, need_score``.
        params: ``likely``, ``min_needs``.
    """
    best = history.groupBy("customer_id", "need").agg(F.max(F.struct("score", "product_id")).alias("best"))
    place = F.row_number().over(Window.partitionBy("customer_id").orderBy(F.desc("need_score"), "need"))
    wanted = (F.col("need_probability") >= params.likely) | (F.col("place") <= params.min_needs)
    found = best.join(needs.withColumn("place", place).where(wanted), on=["customer_id", "need"], how="inner")
    return found.select("customer_id", "best.product_id", F.col("need_score").alias("lead_score"))


def with_leads(history: DataFrame, lead_items: DataFrame) -> DataFrame:
    """The history with ``lead_score`` of :func:`leads`, null where the product leads no need; rows in = rows out."""
    return history.join(lead_items.hint("shuffle_hash"), on=PAIR, how="left")


def flag_history(history: DataFrame, frequency: DataFrame, month: str, params: CandidateParams) -> DataFrame:
    """Marks the due and the high-frequency items of each customer's history.

    Shape: one row a pair in (:func:`with_leads`), one out, with ``is_due``, ``is_high_frequency`` and
    ``orders_in_month``. Due: likely in the month after, the best product of a need that may take a line, or expected by
    the month's end and not too unlikely.
    """
    next_end = F.lit(last_date(add_months(month, 1)))
    this_month = frequency.select(*PAIR, F.col("orders").alias("orders_in_month"), "is_high_frequency")
    by_rhythm = F.date_add("last_ordered_date", F.round("gap_days").cast("int"))
    is_expected = (by_rhythm <= next_end) & (F.col("probability") >= params.min_due_probability)
    is_due = is_expected | (F.col("probability") >= params.likely) | F.col("lead_score").isNotNull()
    return history.join(this_month, on=PAIR, how="left").withColumns(
        {
            "orders_in_month": F.coalesce("orders_in_month", F.lit(0)),
            "is_high_frequency": F.coalesce("is_high_frequency", F.lit(False)),
            "is_due": is_due,
        }
    )


def anchors(history: DataFrame, params: CandidateParams) -> DataFrame:
    """The due and high-frequency items that lead to others: ``customer_id, anchor_id, text_key, anchor_probability``.

    At most ``max_anchors`` a customer, the likeliest first.
    """
    best_first = Window.partitionBy("customer_id").orderBy(F.desc("probability"), "product_id")
    return (
        history.where(F.col("is_due") | F.col("is_high_frequency"))
        .withColumn("place", F.row_number().over(best_first))
        .where(F.col("place") <= params.max_anchors)
        .select(
            "customer_id",
            F.col("product_id").alias("anchor_id"),
            "text_key",
            F.col("probability").alias("anchor_probability"),
        )
    )


def propose(
    history: DataFrame,
    anchor_items: DataFrame,
    neighbours: DataFrame,
    copurchase: DataFrame,
    params: CandidateParams,
) -> DataFrame:
    """Candidates with flags, evidence and score.

    Shape: one row a (customer_id, product_id), columns of ``gold/candidates`` but for ``month``,
    ``need_probability`` and ``need_score``; at most ``max_candidates`` a customer.

    Args:
        history: from :func:`flag_history`, with ``text_key``.
        anchor_items: from :func:`anchors`.
        neighbours: ``text_hash, neighbour_hash, similarity``: nearest texts of the anchors' texts.
        copurchase: ``gold/copurchase`` of the month.
        params: bounds.
    """
    similar = _similar_in_history(history, anchor_items, neighbours, params)
    together = _copurchased_in_history(history, anchor_items, copurchase)
    related = similar.join(together, on=PAIR, how="full_outer")
    flagged = (
        history.join(related.hint("shuffle_hash"), on=PAIR, how="left")
        .withColumns(
            {
                "is_similar_in_history": F.col("similar_to").isNotNull(),
                "is_copurchased": F.col("bought_with").isNotNull(),
                "related_product_id": F.coalesce("similar_to", "bought_with"),
            }
        )
        .where("is_due OR is_high_frequency OR is_similar_in_history OR is_copurchased")
    )
    # The best product of a likely need stays, however many products of other needs are likelier.
    worth = F.greatest("score", F.coalesce("lead_score", F.lit(0.0)))
    best_first = Window.partitionBy("customer_id").orderBy(worth.desc(), "product_id")
    bounded = flagged.withColumn("place", F.row_number().over(best_first))
    kept = bounded.where(F.col("place") <= params.max_candidates)
    return kept.select(*[name for name in CANDIDATES.column_names if name in kept.columns])


def _similar_in_history(
    history: DataFrame, anchor_items: DataFrame, neighbours: DataFrame, params: CandidateParams
) -> DataFrame:
    near = neighbours.where(F.col("similarity") >= params.min_similarity).select(
        text_key("text_hash").alias("text_key"), text_key("neighbour_hash").alias("neighbour_key"), "similarity"
    )
    sought = anchor_items.select("customer_id", "anchor_id", "anchor_probability", "text_key")
    same_text = sought.withColumns({"neighbour_key": F.col("text_key"), "similarity": F.lit(1.0)})
    others = near.where(F.col("neighbour_key") != F.col("text_key"))
    wanted = sought.join(others, on="text_key", how="inner").unionByName(same_text).drop("text_key")
    own = history.select("customer_id", "product_id", F.col("text_key").alias("neighbour_key"))
    found = wanted.join(own.hint("shuffle_hash"), on=["customer_id", "neighbour_key"], how="inner").where(
        F.col("product_id") != F.col("anchor_id")
    )
    # Of several anchors the nearest one is the evidence; ties go to the likelier, then to the greater id.
    best = F.max_by("anchor_id", F.struct("similarity", "anchor_probability", "anchor_id"))
    return found.groupBy(*PAIR).agg(best.alias("similar_to"), F.max("similarity").alias("similarity"))


def _copurchased_in_history(history: DataFrame, anchor_items: DataFrame, copurchase: DataFrame) -> DataFrame:
    forward = copurchase.where(F.col("rank_of_b_for_a").isNotNull()).select(
        F.col("product_a").alias("anchor_id"), F.col("product_b").alias("product_id"), "lift"
    )
    backward = copurchase.where(F.col("rank_of_a_for_b").isNotNull()).select(
        F.col("product_b").alias("anchor_id"), F.col("product_a").alias("product_id"), "lift"
    )
    found = (
        anchor_items.select("customer_id", "anchor_id")
        .join(forward.unionByName(backward), on="anchor_id", how="inner")
        .join(history.select(*PAIR).hint("shuffle_hash"), on=PAIR, how="inner")
    )
    best = F.max_by("anchor_id", F.struct("lift", "anchor_id"))
    return found.groupBy(*PAIR).agg(best.alias("bought_with"), F.max("lift").alias("lift"))
