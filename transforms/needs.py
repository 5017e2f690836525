"""A list line answers a need: a product type, with the product that the customer prefers for it and what else would do.

Households switch brand and size within a need, so what is likely is the need rather than any one product of it. Why:
``docs/decisions/0010-need-lines.md``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from transforms.frequency import month_end
from warehouse.contracts.features import RANKER_HALF_LIVES_DAYS, decayed_name, need_days_name

MAX_ALTERNATES = 2
"""Products of the same need that a line names beside the preferred one."""

_NEARLY_ONE = 1 - 1e-9
_BEYOND_INT = 2**32


def need() -> Column:
    """The need that a product of the catalogue answers: its type, else its category, else the product by its name."""
    return F.coalesce("type", "category", "name")


def category() -> Column:
    """The needs that are of a kind: the product's category, else its department, else its need."""
    return F.coalesce(F.col("category"), F.col("department"), need())


def with_needs(lines: DataFrame, products: DataFrame, business_tz: str) -> DataFrame:
    """Order lines with the ``need`` of their product, as the catalogue knew it at the end of the line's month.

    Shape: rows in = rows out. A product that was not known by then is a need of its own.

    Args:
        lines: with ``month`` and ``product_id``.
        products: ``silver/products``.
        business_tz: IANA zone in which months end.
    """
    end = F.to_utc_timestamp(F.date_add(month_end(), 1).cast("timestamp"), business_tz)
    holds = (F.col("valid_from") < end) & (F.col("valid_to").isNull() | (F.col("valid_to") >= end))
    named = products.select("product_id", need().alias("known_need"), "valid_from", "valid_to").alias("product")
    same = F.col("line.product_id") == F.col("product.product_id")
    known = lines.alias("line").join(F.broadcast(named), on=same & holds, how="left")
    return known.select("line.*", F.coalesce("known_need", "line.product_id").alias("need"))


def any_of(probability: str) -> Column:
    """Aggregate: probability that at least one of a group's products is bought, each on its own (noisy-or)."""
    return 1 - F.exp(F.sum(F.log1p(-F.least(F.col(probability), F.lit(_NEARLY_ONE)))))


def need_probabilities(history: DataFrame) -> DataFrame:
    """Probability that a customer buys anything for a need in the month after, where no ranker of needs says it.

    Shape: in, one row a pair: ``customer_id``, ``need``, ``probability``; out, one row a (customer_id, need) with
    ``need_probability``.
    """
    return history.groupBy("customer_id", "need").agg(any_of("probability").alias("need_probability"))


def cohere(candidates: DataFrame) -> DataFrame:
    """The candidates with no need less likely than one of its products, which two rankers may say.

    Shape: rows in = rows out; ``need_probability`` changes, one value a (customer_id, need).
    """
    of_need = Window.partitionBy("customer_id", "need")
    return candidates.withColumn("need_probability", F.greatest("need_probability", F.max("probability").over(of_need)))


def as_needs(state: DataFrame) -> DataFrame:
    """A customer's needs as if each were one product, so that whatever is known of products can be known of needs.

    Shape: in, ``gold/replenishment_state`` with ``need`` and ``category`` (one for all products of a need); out, one
    row a (customer_id, need), what ``transforms.pair_features`` reads: the need stands in ``product_id`` and its
    category in ``need``. Two products bought on one day are one purchase day of the need; gaps are the time from first
    to last purchase over them. Orders are those of the products added up.
    """
    days = {decayed_name(days): F.sum(need_days_name(days)) for days in RANKER_HALF_LIVES_DAYS}
    # A day split in three comes back as .9999….
    days["purchase_days"] = F.round(F.sum("need_days")).cast("long")
    # One number, the day before the units: for the greatest of a struct Spark would sort the whole state.
    latest = F.max(F.unix_date("last_ordered_date") * F.lit(_BEYOND_INT) + F.col("last_units"))
    needs = state.groupBy("month", "customer_id", "need", "category").agg(
        *[column.alias(name) for name, column in days.items()],
        F.sum("orders").alias("orders"),
        F.sum("units").alias("units"),
        F.expr("bit_or(recent_months)").alias("recent_months"),
        F.min("first_ordered_date").alias("first_ordered_date"),
        F.max("last_ordered_date").alias("last_ordered_date"),
        F.pmod(latest, F.lit(_BEYOND_INT)).cast("int").alias("last_units"),
    )
    gaps = F.greatest(F.col("purchase_days") - 1, F.lit(0))
    days = F.datediff("last_ordered_date", "first_ordered_date")
    return needs.select(
        "*",
        F.col("purchase_days").cast("double").alias("need_days"),
        gaps.alias("gap_count"),
        days.alias("gap_days_sum"),
        gaps.cast("double").alias("weighted_gap_count"),
        days.cast("double").alias("weighted_gap_days"),
        F.try_divide(days, gaps).alias("mean_gap_days"),
        F.try_divide("units", "orders").alias("units_per_order"),
    ).withColumnsRenamed({"need": "product_id", "category": "need"})


def needs_of(candidates: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One customer's candidates as needs, the likeliest need first.

    Args:
        candidates: rows of ``gold/candidates``, the best first.

    Returns:
        For each need its best candidate, with ``alternates``: at most ``MAX_ALTERNATES`` others, best first.
    """
    needs: dict[str, dict[str, Any]] = {}
    for row in candidates:
        if row["need"] not in needs:
            needs[row["need"]] = {**row, "alternates": []}
        elif len(needs[row["need"]]["alternates"]) < MAX_ALTERNATES:
            needs[row["need"]]["alternates"].append(row)
    # Stable: of needs that are equally likely, the one with the better product stays first.
    return sorted(needs.values(), key=lambda need: -need["need_score"])


def new_needs(
    discoveries: Sequence[Mapping[str, Any]], offered: Sequence[Mapping[str, Any]], most: int
) -> list[dict[str, Any]]:
    """The first ``most`` discoveries of needs that are not offered yet, each a need without alternates.

    Args:
        discoveries: one customer's rows of ``gold/discoveries``, the best first.
        offered: the needs offered already (:func:`needs_of`).
        most: how many a list may carry.
    """
    taken = {need["need"] for need in offered}
    found: list[dict[str, Any]] = []
    for row in discoveries:
        if len(found) < most and row["need"] not in taken:
            taken.add(row["need"])
            found.append({**row, "alternates": []})
    return found
