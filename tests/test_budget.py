"""The monthly budget: what a line costs, the best choice within it, and which lines it leaves no room for."""

import random
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.optimize

from transforms.budget import DAYS_A_MONTH, allowed_by_budget, fit_budget, monthly_cost, within_budget


def draw(seed: int, lines: int = 10) -> tuple[list[float], list[float | None], float, int]:
    """Lines, a budget and a list size; some prices unknown, many ties."""
    made = random.Random(seed)
    probabilities = [made.choice([made.random(), 0.2, 0.5]) for _ in range(lines)]
    costs = [None if made.random() < 0.1 else made.choice([5.0, round(made.uniform(0, 20), 2)]) for _ in range(lines)]
    return probabilities, costs, round(made.uniform(0, 50), 2), made.randint(1, 6)


def spent(costs: list[float | None], places) -> float:
    return round(sum(costs[place] or 0.0 for place in places), 2)


def best_worth(worths: list[float], costs: list[float | None], budget: float, list_size: int) -> float:
    choices = (c for size in range(list_size + 1) for c in combinations(range(len(worths)), size))
    return max(sum(worths[place] for place in choice) for choice in choices if spent(costs, choice) <= budget)


@pytest.mark.parametrize(
    ("price", "units", "gap", "cost"),
    [
        (2.0, 1.0, DAYS_A_MONTH, 2.0),
        (2.0, 3.0, DAYS_A_MONTH / 2, 12.0),
        (1.0, 1.0, 0.0, DAYS_A_MONTH),
        (1.0, 1.0, 0.5, DAYS_A_MONTH),
        (0.0, 1.0, 7.0, 0.0),
        (5.0, 0.0, 7.0, 0.0),
        (None, 1.0, 7.0, None),
        (float("nan"), 1.0, 7.0, None),
        (1.0, None, 7.0, None),
        (1.0, 1.0, None, None),
    ],
)
def test_a_lines_cost_in_a_month(price, units, gap, cost):
    assert monthly_cost(price, units, gap) == (None if cost is None else pytest.approx(cost))


class TestWithinBudget:
    @pytest.mark.parametrize("seed", range(40))
    def test_is_the_best_of_all_choices(self, seed):
        probabilities, costs, budget, list_size = draw(seed)
        chosen = within_budget(probabilities, costs, budget, list_size)
        assert chosen == sorted(set(chosen))
        assert len(chosen) <= list_size and spent(costs, chosen) <= budget
        worth = sum(probabilities[place] for place in chosen)
        assert worth == pytest.approx(best_worth(probabilities, costs, budget, list_size), abs=1e-5)

    def test_values_weigh_the_probabilities(self):
        assert within_budget([0.5, 0.4], [10.0, 10.0], 10.0, 5) == [0]
        assert within_budget([0.5, 0.4], [10.0, 10.0], 10.0, 5, values=[1.0, 2.0]) == [1]

    def test_one_dear_line_gives_way_to_two_cheap_ones(self):
        assert within_budget([0.9, 0.6, 0.5], [10.0, 5.0, 5.0], 10.0, 5) == [1, 2]
        assert within_budget([0.9, 0.6, 0.5], [10.0, 5.0, 5.0], 10.0, 1) == [0]

    def test_no_budget_keeps_only_what_costs_nothing(self):
        assert within_budget([0.9, 0.8, 0.7, 0.6], [1.0, None, 0.0, float("nan")], 0.0, 5) == [1, 2, 3]

    def test_an_unknown_price_does_not_forbid(self):
        assert within_budget([0.9, 0.8, 0.1], [10.0, 10.0, None], 10.0, 5) == [0, 2]

    def test_ties_go_to_the_earlier_place(self):
        assert within_budget([0.5] * 6, [10.0] * 6, 30.0, 5) == [0, 1, 2]
        assert within_budget([0.5] * 6, [1.0] * 6, 30.0, 2) == [0, 1]
        assert within_budget([0.0] * 4, [10.0] * 4, 20.0, 4) == [0, 1]

    def test_a_budget_may_be_spent_to_the_cent(self):
        assert within_budget([0.5, 0.5, 0.5], [0.1, 0.2, 0.01], 0.3, 5) == [0, 1]
        assert within_budget([0.5, 0.4], [10.01, 9.99], 10.0, 5) == [1]

    def test_the_solver_is_left_alone_where_the_best_lines_fit(self, monkeypatch):
        monkeypatch.setattr(scipy.optimize, "milp", None)
        assert within_budget([0.1, 0.9, 0.5], [10.0, 10.0, 10.0], 20.0, 2) == [1, 2]
        assert within_budget([], [], 10.0, 5) == []
        assert within_budget([0.5], [1.0], 10.0, 0) == []

    @pytest.mark.parametrize("answer", [None, np.ones(3), np.zeros(3)])
    def test_a_solver_that_fails_cannot_break_the_budget(self, monkeypatch, answer):
        monkeypatch.setattr(scipy.optimize, "milp", lambda *_, **__: SimpleNamespace(x=answer))
        assert within_budget([0.9, 0.6, 0.5], [10.0, 5.0, 5.0], 10.0, 5) == [0]

    def test_lines_and_costs_must_agree(self):
        with pytest.raises(ValueError, match="shorter"):
            within_budget([0.5, 0.4], [1.0, 1.0], 10.0, 5, values=[1.0])

    def test_lines_made_to_be_hard_end_soon(self):
        made = random.Random(3)
        costs = [round(made.uniform(5, 15), 2) for _ in range(60)]
        chosen = within_budget([(cost + 1) / 20 for cost in costs], costs, 64.44, 20)
        assert 60 < spent(costs, chosen) <= 64.44


class TestAllowedByBudget:
    @pytest.mark.parametrize("seed", range(40))
    def test_any_list_of_them_fits_and_the_likeliest_is_the_best(self, seed):
        probabilities, costs, budget, list_size = draw(seed)
        allowed = allowed_by_budget(probabilities, costs, budget, list_size)
        chosen = within_budget(probabilities, costs, budget, list_size)
        assert set(chosen) <= set(allowed)
        assert spent(costs, sorted(allowed, key=lambda place: -(costs[place] or 0.0))[:list_size]) <= budget
        likeliest = sorted((probabilities[place] for place in allowed), reverse=True)[:list_size]
        assert sum(likeliest) == pytest.approx(sum(probabilities[place] for place in chosen), abs=1e-5)

    def test_a_line_beyond_the_list_is_not_over_budget(self):
        assert allowed_by_budget([0.9, 0.8, 0.7, 0.6], [5.0, 5.0, 5.0, 5.0], 10.0, 2) == [0, 1, 2, 3]
        assert allowed_by_budget([0.9, 0.8, 0.7, 0.6], [5.0, 5.0, 6.0, 4.0], 10.0, 2) == [0, 1, 3]

    def test_a_line_of_unknown_price_is_never_over_budget(self):
        assert allowed_by_budget([0.9, 0.8, 0.1], [5.0, 5.0, None], 5.0, 1) == [0, 1, 2]
        assert allowed_by_budget([0.9, 0.8, 0.1], [9.0, 9.0, None], 5.0, 1) == [2]


def test_a_customer_without_a_budget_keeps_every_line():
    lines = [{"need_probability": 0.5, "price_usd": 9.0, "units_per_order": 1.0, "gap_days": 30.0}]
    assert fit_budget(lines, None, 5) == (lines, 0)
    assert fit_budget(lines, float("nan"), 5) == (lines, 0), "as pandas has it"


def test_lines_that_the_budget_has_no_room_for_are_counted():
    def line(probability, price, units=1.0, gap=DAYS_A_MONTH):
        return {"need_probability": probability, "price_usd": price, "units_per_order": units, "gap_days": gap}

    dear, cheap, often, unknown = line(0.9, 10.0), line(0.6, 2.5, 2.0), line(0.5, 2.5, gap=15.2), line(0.1, None)
    assert fit_budget([dear, cheap, often, unknown], 10.1, 5) == ([cheap, often, unknown], 1)
