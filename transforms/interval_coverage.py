"""How many true dates stated intervals hold, where many dates are not known yet because the data ends before them.

Arrays in, numbers out; one value a pair. Not here: how the intervals are made (``transforms/due_dates.py``).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Coverage:
    """Where the true values fall: shares ``below``, ``inside``, ``above`` and ``unplaced``, which sum to 1.

    ``unplaced`` is above zero only where nobody was followed to the upper end: that share is inside or above, and the
    data cannot say which. ``followed``: pairs known to reach the upper end, on which the share ``above`` rests.
    """

    below: float
    inside: float
    above: float
    unplaced: float
    followed: int


def coverage(u: np.ndarray, is_observed: np.ndarray, low: float = 0.1, high: float = 0.9) -> Coverage:
    """Shares of the true values below, inside and above the interval from ``low`` to ``high``, both ends inside.

    Shape: ``u`` is float in 0 to 1, where each pair's true value lies in the distribution that was stated for it
    (probability integral transform), or, where ``is_observed`` (bool) is false, where it stood when the data ended: its
    true value lies further up. If the distributions are right, ``inside`` is ``high - low``.

    Pairs whose purchase is not known yet are counted as those of the same ``u`` that were followed further.

    Raises:
        ValueError: no value is given.

    Source: Kaplan and Meier (1958), "Nonparametric estimation from incomplete observations", by ``scipy.stats.ecdf``.
    """
    from scipy.stats import CensoredData, ecdf

    if not len(u):
        raise ValueError("coverage needs one value at least")
    is_observed = np.asarray(is_observed, dtype=bool)
    followed = int((u >= high).sum())
    if not is_observed.any():
        return Coverage(0.0, 0.0, 0.0, 1.0, followed)
    survival = ecdf(CensoredData(uncensored=u[is_observed], right=u[~is_observed])).sf
    # The curve at a value counts what lies on it as passed; what lies on the lower end is inside.
    at_low, at_high = (float(survival.evaluate(at)) for at in (np.nextafter(low, -np.inf), high))
    above, unplaced = (at_high, 0.0) if followed else (0.0, at_high)
    return Coverage(1.0 - at_low, at_low - at_high, above, unplaced, followed)


def interval_position(
    days: np.ndarray,
    is_observed: np.ndarray,
    low_days: np.ndarray,
    high_days: np.ndarray,
    share_by: Callable[[np.ndarray], np.ndarray],
    low: float = 0.1,
    high: float = 0.9,
) -> np.ndarray:
    """Where each pair's next purchase lies in its stated distribution, for :func:`coverage`.

    Intervals are of whole days, so the distribution alone does not say whether the day of the purchase is inside: the
    stated days do, and the distribution orders the pairs within each part.

    Shape: ``days`` to the purchase, or to the data's end where it is not known (``is_observed`` false); ``low_days``
    and ``high_days``, first and last day of the interval; all in days after the month's end. ``share_by`` gives the
    stated probability of a purchase by then for days of that shape; a purchase lies in the middle of its day.
    """
    share = share_by(np.where(is_observed, days - 0.5, days))
    # Not bought by the end of the interval's last day means after it; a purchase on that day is inside.
    is_above = np.where(is_observed, days > high_days, days >= high_days)
    inside = np.clip(share, low, np.nextafter(high, low))
    below = np.minimum(share, np.nextafter(low, -np.inf))
    return np.where(is_above, np.maximum(share, high), np.where(days < low_days, below, inside))
