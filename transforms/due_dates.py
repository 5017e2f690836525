"""When a pair is bought next: the dates by which one in ten, half and nine in ten of such pairs are bought.

Here: dates from a probability that is already known. Not here: the probability itself (``transforms/ranking.py``,
``transforms/replenishment.py``), and how many true dates the intervals hold (``transforms/interval_coverage.py``).
"""

from dataclasses import dataclass

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.frequency import month_end, next_month_end


@dataclass(frozen=True)
class DueDateParams:
    """Constants of the due dates.

    ``odds_growth``: the odds that a pair has been bought grow with days ** this. Of steps of .05, the one whose
    intervals held most nearly 80 % of the next purchases after the ends of 2017-05 to 2017-08 of Complete Journey,
    followed to 2017-09-30; see ``docs/decisions/0009-due-dates.md``.
    ``longest_days``: no date is later than this after the month's end, two years, after which a pair leaves the state.
    ``least_odds_probability``: probabilities closer to 0 or 1 than this are taken as this, so that odds stay finite.
    """

    odds_growth: float = 1.05
    longest_days: int = 730
    least_odds_probability: float = 1e-4


def due_dates(frame: DataFrame, params: DueDateParams) -> DataFrame:
    """Adds, or replaces, ``due_date`` and its interval ``due_date_p10`` to ``due_date_p90``.

    Given that a pair is bought within the next month with ``probability`` p, the odds that it has been bought by the
    end of day t after the month's end are ``p / (1 - p) * (t / h) ** odds_growth``, h being the next month's days. Each
    date is the first by whose end .1, .5 or .9 is reached. A due date inside the next month thus says p >= .5.

    Shape: rows in = rows out. In: ``month`` (``YYYY-MM``) and ``probability`` (double in 0 to 1) of a purchase in the
    month after. The dates are at least one day and at most ``longest_days`` after the month's end, in order, and null
    where the probability is.

    Source: log-logistic survival with proportional odds (Bennett 1983, "Analysis of survival data by the proportional
    odds model"); with an exponent of 1 it is an exponential waiting time mixed over exponential rates, the
    Gamma-Poisson of ``docs/decisions/0004-forecast.md`` with shape 1.
    """
    shares = {"due_date": 0.5, "due_date_p10": 0.1, "due_date_p90": 0.9}
    return frame.withColumns({name: due_date(F.col("probability"), share, params) for name, share in shares.items()})


def due_date(probability: Column, share: float, params: DueDateParams) -> Column:
    """The date by whose end ``share`` of what has this probability is bought; as in :func:`due_dates`.

    Shape: for rows with ``month``.
    """
    end = month_end()
    horizon = F.datediff(next_month_end(), end)
    least = params.least_odds_probability
    clipped = F.least(F.greatest(probability, F.lit(least)), F.lit(1.0 - least))
    odds_ratio = F.lit(share / (1.0 - share)) * (1.0 - clipped) / clipped
    days = horizon * F.pow(odds_ratio, F.lit(1.0 / params.odds_growth))
    # Rounded first: where a share is reached at the end of a day, the last digits must not make it the day after.
    whole = F.ceil(F.round(days, 6))
    capped = F.least(F.greatest(whole, F.lit(1)), F.lit(params.longest_days))
    # Least and greatest skip nulls, so that a date would come of a probability that is not known.
    return F.date_add(end, F.when(probability.isNotNull(), capped.cast("int")))


def share_bought_by(
    days: np.ndarray, probability: np.ndarray, horizon_days: float, params: DueDateParams
) -> np.ndarray:
    """The probability that a pair has been bought by then: the distribution whose quantiles :func:`due_dates` gives.

    Shape: ``days`` (after the month's end, 0 or more) and ``probability`` (of a purchase in the ``horizon_days`` of the
    next month) are one value a pair; so is what comes out, float in 0 to 1.
    """
    least = params.least_odds_probability
    clipped = np.clip(probability, least, 1.0 - least)
    odds = clipped / (1.0 - clipped) * (np.asarray(days, dtype=float) / horizon_days) ** params.odds_growth
    return odds / (1.0 + odds)
