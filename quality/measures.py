"""Figures about a table that no single row shows: volume and distribution drift, and the accounting of rows.

Each is a value with bounds; :func:`quality.validation.validate` makes expectations of them. Not here: the arithmetic
(``transforms/drift.py``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from transforms.drift import distribution_drift, volume_ratio

# Wide on purpose: a blocking bound must let a holiday month through and stop half a month of data.
VOLUME_BOUNDS = (0.5, 2.0)
VOLUME_MONTHS = 6
# Tables whose months are alike. State grows, co-purchase is cut by thresholds, interactions come with campaigns.
VOLUME_TABLES = frozenset({"silver/order_lines", "gold/purchase_frequency"})

# The common reading of the population stability index: above 0.2 the shape has shifted.
SHIFT_LIMIT = 0.2
# The main figure of a table, whose distribution is compared with the month before.
SHIFT_COLUMNS = {
    "silver/order_lines": "line_amount_usd",
    "gold/purchase_frequency": "spend_usd",
    # Not the probability: calibration makes steps of it, which differ from month to month.
    "gold/candidates": "score",
}


@dataclass(frozen=True)
class Measure:
    """One figure about a table and the bounds in which it passes (inclusive). ``value`` ``None``: cannot be told yet.

    ``rule`` is ``volume``, ``shift`` or ``accounting``; ``name`` is unique among the measures of one validation.
    """

    rule: str
    name: str
    value: float | None
    text: str
    minimum: float
    maximum: float
    is_blocking: bool = True


def volume_drift(rows: Mapping[str, int], months: Sequence[str]) -> list[Measure]:
    """A measure a month: its rows over the median of up to six months before it; untold with fewer than two. Blocks.

    Args:
        rows: rows by month, of the months judged and those before; a month that is missing
            has no rows if it is judged, and is no month before.
        months: the months to judge.
    """
    low, high = VOLUME_BOUNDS
    measures = []
    for month in months:
        before = [rows[earlier] for earlier in sorted(rows) if earlier < month][-VOLUME_MONTHS:]
        ratio = volume_ratio(rows.get(month, 0), before)
        text = f"rows of {month} are {low:g} to {high:g} times the median of the {len(before)} months before"
        measures.append(Measure("volume", f"volume {month}", ratio, text, low, high))
    return measures


def distribution_shift(now: DataFrame, before: DataFrame, column: str, month: str) -> Measure:
    """Population stability index of ``column`` in ``month`` against the month before; warns, never blocks.

    Args:
        now: rows of the month.
        before: rows of the month before; empty: the measure is untold.
        column: numeric column, see :data:`SHIFT_COLUMNS`.
        month: the month judged, for the text.
    """
    index = distribution_drift(now, before, column)
    text = f"{column} of {month} is spread as in the month before: stability index at most {SHIFT_LIMIT:g}"
    return Measure("shift", f"shift of {column} {month}", index, text, 0.0, SHIFT_LIMIT, is_blocking=False)


def fallback_share(decisions: DataFrame, limit: float) -> Measure:
    """Share of customers whose answer did not stand, so that the policy decided. Blocks above the limit."""
    share = decisions.agg(F.avg(F.col("fallback_reason").isNotNull().cast("double"))).first()[0]
    text = f"answers of at most {limit:.0%} of the customers fall back (REPLENISH_LLM_MAX_FALLBACK_SHARE)"
    return Measure("fallbacks", "fallback share", share, text, 0.0, limit, is_blocking=True)


def balanced(rows_in: int, kept: int, quarantined: int, duplicates: int) -> Measure:
    """The accounting rule: rows in = rows kept + rows quarantined + duplicates. Blocks."""
    text = f"{rows_in:,} rows in = {kept:,} kept + {quarantined:,} quarantined + {duplicates:,} duplicates"
    return Measure("accounting", "rows unaccounted for", float(rows_in - kept - quarantined - duplicates), text, 0, 0)


def is_loss(difference: float | None, standard_error: float | None) -> bool:
    """Whether a paired difference lies below zero by more than two standard errors; untold: no."""
    return difference is not None and standard_error is not None and difference + 2 * standard_error < 0
