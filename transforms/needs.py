"""A list line answers a need: a product type, with the product that the customer prefers for it and what else would do.

Households switch brand and size within a need, so what is likely is the need rather than any one product of it. Why:
``docs/decisions/0010-need-lines.md``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

MAX_ALTERNATES = 2
"""Products of the same need that a line names beside the preferred one."""

_NEARLY_ONE = 1 - 1e-9


def need() -> Column:
    """The need that a product of the catalogue answers: its type, else its category, else the product by its name."""
    return F.coalesce("type", "category", "name")


def any_of(probability: str) -> Column:
    """Aggregate: probability that at least one of a group's products is bought, each on its own (noisy-or)."""
    return 1 - F.exp(F.sum(F.log1p(-F.least(F.col(probability), F.lit(_NEARLY_ONE)))))


def need_probabilities(history: DataFrame) -> DataFrame:
    """Probability that a customer buys anything for a need in the month after.

    Shape: in, one row a pair: ``customer_id``, ``need``, ``probability``; out, one row a (customer_id, need) with
    ``need_probability``.
    """
    return history.groupBy("customer_id", "need").agg(any_of("probability").alias("need_probability"))


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
    return sorted(needs.values(), key=lambda need: -need["need_probability"])
