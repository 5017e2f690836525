"""Customer profiles: one vector of tastes a customer, running from month to month.

A profile is the sum of the text vectors of a customer's purchases, each weighted by its purchase days and halved
every ``half_life_months``. It is kept as a direction, a length and a weight, so that a month is added to it without
reading the months before. Decay scales the whole sum: it leaves the direction as it is, and is therefore applied
only when a customer buys again.
Not here: where texts' vectors come from and where profiles are kept (``warehouse/vectors.py``).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from warehouse.months import parse_month


@dataclass(frozen=True)
class ProfileParameters:
    """How fast tastes fade. Three months: last quarter's purchases count half as much as today's.

    Attributes:
        half_life_months: months after which a purchase counts half; a choice, to be judged by the scorecard.
    """

    half_life_months: float = 3.0

    def __post_init__(self) -> None:
        if not self.half_life_months > 0:
            raise ValueError(f"half_life_months is {self.half_life_months}: it takes a number above 0")


@dataclass(frozen=True)
class Profiles:
    """Profiles of ``n`` customers, row by row.

    Attributes:
        vectors: float32 ``[n, dimensions]``, unit length; all 0 where ``norms`` is 0.
        norms: float64 ``[n]``, lengths of the weighted sums.
        weights: float64 ``[n]``, weighted purchase days; never below ``norms``.
    """

    vectors: np.ndarray
    norms: np.ndarray
    weights: np.ndarray


def purchases_by_text(frequency: DataFrame, products: DataFrame) -> DataFrame:
    """The month's purchase days of each customer and product text.

    Shape: ``gold/purchase_frequency`` of one month and the ``silver/products`` rows that hold at its end (one a
    product) → one row a (``customer_id``, ``text_hash``) with ``purchase_days`` above 0. Products of one text are
    added up.
    """
    texts = products.select("product_id", "text_hash")
    return (
        frequency.where(F.col("purchase_days") > 0)
        .join(texts, "product_id", "inner")
        .groupBy("customer_id", "text_hash")
        .agg(F.sum("purchase_days").alias("purchase_days"))
    )


def no_profiles(count: int, dimensions: int) -> Profiles:
    """``count`` profiles of customers who have bought nothing yet."""
    return Profiles(np.zeros((count, dimensions), np.float32), np.zeros(count), np.zeros(count))


def months_between(earlier: Sequence[str], later: str) -> np.ndarray:
    """Whole months from each ``earlier`` month to ``later``: float64 ``[earlier]``."""
    year, month = parse_month(later)
    parsed = [parse_month(value) for value in earlier]
    return np.array([(year - y) * 12 + month - m for y, m in parsed], dtype=np.float64)


def add_purchases(
    before: Profiles,
    elapsed_months: np.ndarray,
    customer_index: np.ndarray,
    text_vectors: np.ndarray,
    purchase_days: np.ndarray,
    parameters: ProfileParameters,
) -> Profiles:
    """Decays profiles to the end of a month and adds the month's purchases.

    ``sum = before · 2^(-elapsed / half life) + Σ purchase_days · text_vector``, and the same for the weight. Sums are
    float64 and in the order of the rows, so that the same input gives the same bits.

    Shape: ``n`` customers, ``r`` purchase rows, ``d`` dimensions.

    Args:
        before: ``n`` profiles; zeros (:func:`no_profiles`) for new customers.
        elapsed_months: float64 ``[n]``, months since the end of the month that ``before`` holds at.
        customer_index: int64 ``[r]``, not decreasing, from 0 to ``n - 1``, every customer at least once.
        text_vectors: float32 ``[r, d]``, unit length, of each row's text.
        purchase_days: float64 ``[r]``, days on which it was bought, above 0.
        parameters: the half-life.

    Raises:
        ValueError: ``customer_index`` is not as described.
    """
    count = len(before.norms)
    if not len(customer_index) and not count:
        return before
    starts = np.flatnonzero(np.diff(customer_index, prepend=-1))
    if not np.array_equal(customer_index[starts], np.arange(count)):
        raise ValueError("customer_index has to run from 0 to the last customer without a gap and without going back")
    decay = np.exp2(-elapsed_months / parameters.half_life_months)
    days = purchase_days.astype(np.float64)
    sums = np.add.reduceat(text_vectors * days[:, None], starts, axis=0)
    sums += before.vectors * (before.norms * decay)[:, None]
    weights = before.weights * decay + np.add.reduceat(days, starts)
    norms = np.linalg.norm(sums, axis=1)
    vectors = np.divide(sums, norms[:, None], out=np.zeros_like(sums), where=norms[:, None] > 0)
    return Profiles(vectors.astype(np.float32), norms, weights)
