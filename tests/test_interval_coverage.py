"""Coverage of intervals under censoring: known cases by hand, and data simulated from known distributions."""

import numpy as np
import pytest

from transforms.due_dates import DueDateParams, share_bought_by
from transforms.interval_coverage import coverage, interval_position

PAIRS = 20_000


def test_without_censoring_it_is_the_share_inside_both_ends_included():
    found = coverage(np.array([0.05, 0.1, 0.5, 0.85, 0.95]), np.ones(5, dtype=bool))
    assert (found.below, found.inside, found.above) == pytest.approx((0.2, 0.6, 0.2))
    assert (found.unplaced, found.followed) == (0.0, 1)


def test_censored_pairs_are_counted_as_those_followed_further():
    # One of four left at .2: its quarter goes in equal parts to the two that were followed further.
    found = coverage(np.array([0.05, 0.2, 0.5, 0.95]), np.array([True, False, True, True]))
    assert (found.below, found.inside, found.above) == pytest.approx((0.25, 0.375, 0.375))


def test_what_nobody_was_followed_to_is_unplaced():
    found = coverage(np.array([0.05, 0.3, 0.6, 0.6]), np.array([True, True, False, False]))
    assert (found.below, found.inside, found.above, found.unplaced) == pytest.approx((0.25, 0.25, 0.0, 0.5))
    assert coverage(np.array([0.3]), np.array([False])).unplaced == 1.0


def test_nothing_to_judge_is_an_error():
    with pytest.raises(ValueError, match="one value"):
        coverage(np.array([]), np.array([], dtype=bool))


def test_coverage_of_simulated_purchases_is_found_although_most_are_not_seen():
    cut, true_share = judge_simulated(DueDateParams(), followed_days=60)
    # Whole days: the likeliest pairs' intervals begin on the first day, so that a little less than .1 lies below.
    assert 0.8 <= true_share < 0.85
    assert cut.inside == pytest.approx(true_share, abs=0.015)
    whole, true_share = judge_simulated(DueDateParams(), followed_days=np.inf)
    assert whole.inside == pytest.approx(true_share)


@pytest.mark.parametrize(("stated", "holds_too_much"), [(0.6, True), (1.5, False)])
def test_intervals_that_are_too_wide_or_too_narrow_are_found_out(stated, holds_too_much):
    cut, true_share = judge_simulated(DueDateParams(odds_growth=stated), followed_days=60)
    assert (true_share > 0.87) == (cut.inside > 0.87) == holds_too_much
    assert (true_share < 0.77) == (cut.inside < 0.77) == (not holds_too_much)


def judge_simulated(stated, followed_days, horizon=30):
    """Coverage of the stated intervals as found by the follow-up, and the share of all purchases they really hold."""
    random = np.random.default_rng(3)
    probability = random.beta(1.2, 1.2, PAIRS)
    share = random.uniform(size=PAIRS)

    def day_of(share, params):
        odds_ratio = share / (1 - share) * (1 - probability) / probability
        return np.maximum(np.ceil(horizon * odds_ratio ** (1 / params.odds_growth)), 1)

    days, low, high = day_of(share, DueDateParams()), day_of(0.1, stated), day_of(0.9, stated)
    is_observed = days <= followed_days
    seen = np.where(is_observed, days, followed_days)
    position = interval_position(
        seen, is_observed, low, high, lambda at: share_bought_by(at, probability, horizon, stated)
    )
    return coverage(position, is_observed), np.mean((days >= low) & (days <= high))


def test_a_purchase_on_the_last_day_is_inside_and_no_purchase_by_then_is_after():
    days, is_observed = np.array([9, 9, 10, 8, 2, 3]), np.array([True, False, True, False, True, True])
    low, high = np.full(6, 3), np.full(6, 9)
    position = interval_position(days, is_observed, low, high, lambda at: at / 12)
    assert (position >= 0.9).tolist() == [False, True, True, False, False, False]
    assert (position < 0.1).tolist() == [False, False, False, False, True, False]
