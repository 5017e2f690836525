"""Due dates from a probability: what each date says, its bounds, and that the distribution agrees with it."""

from datetime import date

import numpy as np
import pytest

from transforms.due_dates import DueDateParams, due_dates, share_bought_by

LINEAR = DueDateParams(odds_growth=1.0)


@pytest.fixture(scope="module")
def dated(spark):
    def run(probabilities, params=LINEAR, month="2017-05"):
        rows = [(place, month, probability) for place, probability in enumerate(probabilities)]
        frame = spark.createDataFrame(rows, "place int, month string, probability double")
        found = due_dates(frame, params).orderBy("place").collect()
        return [(row.due_date_p10, row.due_date, row.due_date_p90) for row in found]

    return run


def test_a_date_at_the_months_end_says_what_the_probability_says(dated):
    half, one_in_ten, nine_in_ten = dated([0.5, 0.1, 0.9])
    assert half[1] == one_in_ten[0] == nine_in_ten[2] == date(2017, 6, 30)


def test_the_odds_grow_with_the_days(dated):
    # Odds of 1 after 30 days: of 1/9 after 3.33 days, of 9 after 270.
    assert dated([0.5]) == [(date(2017, 6, 4), date(2017, 6, 30), date(2018, 2, 25))]


def test_dates_lie_between_the_next_day_and_two_years(dated):
    certain, impossible = dated([1.0, 0.0])
    assert set(certain) == {date(2017, 6, 1)}
    assert set(impossible) == {date(2019, 5, 31)}


def test_dates_are_in_order_and_none_where_the_probability_is_unknown(dated):
    *known, unknown = dated([0.02, 0.2, 0.7, None], DueDateParams())
    assert all(low <= middle <= high for low, middle, high in known)
    assert known == sorted(known, reverse=True)
    assert unknown == (None, None, None)


def test_the_next_months_length_counts(dated):
    assert dated([0.5], month="2017-01")[0][1] == date(2017, 2, 28)


def test_dates_that_were_there_are_replaced(spark):
    frame = spark.createDataFrame(
        [("2017-05", 0.5, date(2020, 1, 1))], "month string, probability double, due_date date"
    )
    assert due_dates(frame, LINEAR).first().due_date == date(2017, 6, 30)


def test_each_date_is_the_first_by_which_its_share_is_reached(dated):
    params, probability = DueDateParams(), np.array([0.15, 0.33, 0.6, 0.9])
    dates = np.array(dated(probability.tolist(), params), dtype="datetime64[D]")
    days = (dates - np.datetime64("2017-05-31")).astype(int)
    for place, share in enumerate((0.1, 0.5, 0.9)):
        free = days[:, place] < params.longest_days
        by_then, a_day_before = (share_bought_by(days[:, place] - back, probability, 30, params) for back in (0, 1))
        assert np.all(by_then[free] >= share - 1e-6)
        assert np.all(a_day_before[free] < share)


def test_the_share_bought_by_the_months_end_is_the_probability():
    probability = np.array([0.01, 0.4, 0.99])
    assert share_bought_by(np.full(3, 30.0), probability, 30, DueDateParams()) == pytest.approx(probability)
    assert share_bought_by(np.zeros(3), probability, 30, DueDateParams()).tolist() == [0, 0, 0]
