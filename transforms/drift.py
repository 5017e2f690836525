"""Volume and distribution drift between months: pure measures, no verdicts.

What counts as too much stands in ``quality/suites.py``, which turns these figures into expectations.
"""

import math
from collections.abc import Sequence
from statistics import median

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

DECILES = tuple(tenth / 10 for tenth in range(1, 10))
# A bin that is empty in one month would make the index infinite: it counts as this share instead.
_LEAST_SHARE = 1e-4


def volume_ratio(rows_now: int, rows_before: Sequence[int]) -> float | None:
    """Rows of a month over the median of the months before.

    Args:
        rows_now: rows of the month judged.
        rows_before: rows of the months before it, in any order.

    Returns:
        The ratio, 1.0 being no change; ``None`` with fewer than two months before, or where their median is 0.
    """
    if len(rows_before) < 2 or not (usual := median(rows_before)):
        return None
    return rows_now / usual


def stability_index(expected: Sequence[float], actual: Sequence[float]) -> float:
    """Population stability index of two histograms over the same bins.

    Args:
        expected: counts or shares by bin, of the month before.
        actual: counts or shares by bin, of the month judged.

    Returns:
        ``sum((a - e) * ln(a / e))`` over the bins' shares: 0 for equal shapes; 0.1 is commonly read as a small shift
        and 0.2 as a large one.

    Raises:
        ValueError: the histograms differ in length, or one of them counts nothing.

    Source:
        Siddiqi, Credit Risk Scorecards (2006); the symmetric Kullback-Leibler divergence of Jeffreys (1946).
    """
    if len(expected) != len(actual) or sum(expected) <= 0 or sum(actual) <= 0:
        raise ValueError("a stability index takes two histograms over the same bins, none of them empty")
    index = 0.0
    for before, now in zip(expected, actual, strict=True):
        e = max(before / sum(expected), _LEAST_SHARE)
        a = max(now / sum(actual), _LEAST_SHARE)
        index += (a - e) * math.log(a / e)
    return index


def distribution_drift(now: DataFrame, before: DataFrame, column: str) -> float | None:
    """Population stability index of a numeric column between two months, over the deciles of the month before.

    Shape: any two frames that have ``column``; nulls are left out. Where values tie, equal deciles become one bin.
    Two Spark jobs: the deciles, then one pass over both months.

    Returns:
        The index of :func:`stability_index`; ``None`` where a month has no value.
    """
    deciles = before.select(F.percentile_approx(F.col(column).cast("double"), list(DECILES), 10_000).alias("at"))
    at = deciles.first()["at"]
    if not at:
        return None
    edges = sorted(set(at))
    values = F.col(column).cast("double")
    both = before.select(values.alias("value"), F.lit(False).alias("is_now")).unionByName(
        now.select(values.alias("value"), F.lit(True).alias("is_now"))
    )
    up_to = [F.count_if(F.col("value") <= edge).alias(f"up_to_{i}") for i, edge in enumerate(edges)]
    rows = both.groupBy("is_now").agg(*up_to, F.count("value").alias("all")).collect()
    shapes = {row["is_now"]: _bins([*row[1:]]) for row in rows}
    if True not in shapes or not sum(shapes[True]):
        return None
    return stability_index(shapes[False], shapes[True])


def _bins(cumulative: list[int]) -> list[int]:
    """Counts by bin from counts up to each bin's end."""
    return [upper - lower for lower, upper in zip([0, *cumulative[:-1]], cumulative, strict=True)]
