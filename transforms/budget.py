"""Which of a customer's candidate lines fit their monthly budget: a 0/1 knapsack for each customer that has one.

Pure Python on one customer's lines. Not here: rules that judge a line alone (``transforms/eligibility.py``), and the
list itself.
"""

from collections.abc import Sequence
from math import isnan
from typing import Any

DAYS_A_MONTH = 365.25 / 12
"""Mean length of a calendar month: 30.4375 days."""

_STEPS = 1_000_000
"""The best line's worth in whole steps. Lines closer than a step are a tie, so that the solver's tolerance (1e-6) lies
far below what separates two choices."""

_MOST_NODES = 1000
"""Branches that the solver follows. Realistic lines need fewer than 50; made-up ones, whose worth follows their cost
exactly, would go on for minutes. A count, not a time, so that every machine makes the same choice."""


def monthly_cost(price_usd: float | None, units_per_order: float | None, gap_days: float | None) -> float | None:
    """What a line costs in a mean month, in USD; ``None`` where the price, the units or the gap is not known.

    ``price_usd`` is a unit's, ``gap_days`` the days between orders; orders come at most once a day.
    """
    if is_unknown(price_usd) or is_unknown(units_per_order) or is_unknown(gap_days):
        return None
    return price_usd * units_per_order * DAYS_A_MONTH / max(gap_days, 1.0)


def within_budget(
    probabilities: Sequence[float],
    costs: Sequence[float | None],
    budget: float,
    list_size: int,
    values: Sequence[float] | None = None,
) -> list[int]:
    """Places of the lines that are worth most together, of those choices that the budget and the list can hold.

    Maximises the sum of probability × value with a sum of costs of at most ``budget`` and at most ``list_size`` lines:
    with the default values, the expected number of lines that are needed. Among equal choices earlier places win. The
    same input always gives the same choice. It is the best one, unless the solver needs more than ``_MOST_NODES``.

    Shape: sequences of equal length, one entry a line; out, places in ascending order.

    Units: costs and budget in USD, counted in whole cents.

    Args:
        probabilities: of each line being needed.
        costs: of each line in a month; ``None`` or NaN where the price is not known. Such a line cannot be judged and
            counts as free: what is not known does not forbid.
        budget: of the month.
        list_size: most lines.
        values: of each line, if it is needed, not negative; 1 each by default. A shop may pass its margins.

    Source: 0/1 knapsack with a cardinality bound, solved as an integer program by HiGHS (``scipy.optimize.milp``).
    """
    worths = _worths(probabilities, values)
    cents = [_cents(cost) for cost in costs]
    limit = _cents(budget)
    affordable = [place for place in range(len(worths)) if cents[place] <= limit]
    best = sorted(affordable, key=lambda place: (-worths[place], place))
    if sum(cents[place] for place in best[:list_size]) <= limit:
        return sorted(best[:list_size])
    solved = _solve([worths[place] for place in affordable], [cents[place] for place in affordable], limit, list_size)
    chosen = {affordable[index] for index in solved}
    # Where the solver kept to its bounds and found the best choice, this is that choice.
    return sorted(_fill(sorted(best, key=lambda place: place not in chosen), cents, limit, list_size))


def allowed_by_budget(
    probabilities: Sequence[float], costs: Sequence[float | None], budget: float, list_size: int
) -> list[int]:
    """Places of the lines of which every list can be made without exceeding the budget.

    These are :func:`within_budget`'s and, in order of place, each further line beside which the ``list_size`` dearest
    still fit: a line that no list needs to do without is not over budget. Lines of unknown cost are always among them.
    A list of the likeliest of these lines is as good as :func:`within_budget`'s.

    Shape and units: as :func:`within_budget`.
    """
    cents = [_cents(cost) for cost in costs]
    limit = _cents(budget)
    allowed = set(within_budget(probabilities, costs, budget, list_size))
    for place in range(len(cents)):
        dearest = sorted((cents[other] for other in allowed | {place}), reverse=True)[:list_size]
        if sum(dearest) <= limit or cents[place] == 0:
            allowed.add(place)
    return sorted(allowed)


def fit_budget(
    lines: Sequence[dict[str, Any]], budget: float | None, list_size: int
) -> tuple[list[dict[str, Any]], int]:
    """One customer's lines that their budget has room for, in their order, and how many it has not.

    Args:
        lines: needs (``transforms.needs.needs_of``) with ``need_probability``, and the preferred product's
            ``price_usd``, ``units_per_order`` and ``gap_days``.
        budget: USD a month; ``None``: no bound.
        list_size: most lines of a list.
    """
    if is_unknown(budget):
        return list(lines), 0
    costs = [monthly_cost(line["price_usd"], line["units_per_order"], line["gap_days"]) for line in lines]
    allowed = allowed_by_budget([line["need_probability"] for line in lines], costs, budget, list_size)
    return [lines[place] for place in allowed], len(lines) - len(allowed)


def _solve(worths: Sequence[int], cents: Sequence[int], limit: int, list_size: int) -> list[int]:
    """Places of the best choice by HiGHS: within its tolerance of the bounds, and none where it found none.

    HiGHS as in SciPy 1.17 writes a line about ``tmpSolver.run()`` to stdout now and then; it means nothing.
    """
    # SciPy takes a while to load, and most customers have no budget.
    import numpy as np
    from scipy.optimize import Bounds, LinearConstraint, milp

    count = len(worths)
    # Less than one step in all, so that it settles ties and nothing else.
    earlier_first = (count - np.arange(count)) / (count * (count + 1))
    answer = milp(
        -(np.array(worths, dtype=float) + earlier_first),
        integrality=np.ones(count),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(np.array([cents, [1] * count], dtype=float), ub=[limit, list_size]),
        options={"mip_rel_gap": 0.0, "node_limit": _MOST_NODES},
    )
    return [] if answer.x is None else [int(place) for place in np.flatnonzero(answer.x > 0.5)]


def _fill(order: Sequence[int], cents: Sequence[int], limit: int, list_size: int) -> list[int]:
    """The places, taken in this order, that still fit."""
    taken: list[int] = []
    for place in order:
        if len(taken) < list_size and cents[place] <= limit:
            taken.append(place)
            limit -= cents[place]
    return taken


def _worths(probabilities: Sequence[float], values: Sequence[float] | None) -> list[int]:
    each = [1.0] * len(probabilities) if values is None else values
    worths = [probability * value for probability, value in zip(probabilities, each, strict=True)]
    most = max(worths, default=0.0) or 1.0
    return [round(worth / most * _STEPS) for worth in worths]


def _cents(usd: float | None) -> int:
    return 0 if is_unknown(usd) else round(usd * 100)


def is_unknown(number: float | None) -> bool:
    """Whether a number is not there: null, or NaN as pandas has it."""
    return number is None or isnan(number)
