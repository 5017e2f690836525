"""Volume and distribution drift."""

import math

import pytest

from quality.measures import is_loss
from transforms.drift import distribution_drift, stability_index, volume_ratio


def test_volume_is_measured_against_the_median() -> None:
    assert volume_ratio(50, [100, 90, 1000]) == 0.5
    assert volume_ratio(0, [100, 90]) == 0


def test_volume_cannot_be_told_from_one_month_or_from_empty_ones() -> None:
    assert volume_ratio(50, [100]) is None
    assert volume_ratio(50, [0, 0, 0]) is None


def test_stability_index_of_equal_shapes_is_zero_whatever_their_size() -> None:
    assert stability_index([10, 20, 70], [1, 2, 7]) == pytest.approx(0)


def test_stability_index_of_a_known_shift() -> None:
    expected = (0.2 - 0.5) * math.log(0.2 / 0.5) + (0.8 - 0.5) * math.log(0.8 / 0.5)
    assert stability_index([50, 50], [20, 80]) == pytest.approx(expected)
    assert stability_index([20, 80], [50, 50]) == pytest.approx(expected)


def test_an_empty_bin_is_finite() -> None:
    assert 0.2 < stability_index([50, 50], [0, 100]) < 10


def test_histograms_must_match() -> None:
    with pytest.raises(ValueError, match="same bins"):
        stability_index([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="same bins"):
        stability_index([1, 2], [0, 0])


def numbers(spark, *values: float | None):
    return spark.createDataFrame([(None if value is None else float(value),) for value in values], "value double")


def test_drift_of_the_same_month_is_zero_and_nulls_do_not_count(spark) -> None:
    before = numbers(spark, *range(100))
    assert distribution_drift(numbers(spark, *range(100), None, None), before, "value") == pytest.approx(0)


def test_drift_counts_what_lies_above_the_highest_decile(spark) -> None:
    before = numbers(spark, *range(100))
    drift = distribution_drift(numbers(spark, *[1000] * 50), before, "value")
    # nine deciles of one tenth each are empty, the tenth holds everything
    least = 1e-4
    expected = 9 * (least - 0.1) * math.log(least / 0.1) + (1 - 0.1) * math.log(1 / 0.1)
    assert drift == pytest.approx(expected, rel=0.05)


def test_ties_share_a_bin(spark) -> None:
    before = numbers(spark, *[1] * 90, *[2] * 10)
    assert distribution_drift(numbers(spark, *[1] * 9, 2), before, "value") == pytest.approx(0)
    assert distribution_drift(numbers(spark, *[1] * 5, *[2] * 5), before, "value") > 0.2


def test_drift_cannot_be_told_from_a_month_without_values(spark) -> None:
    some, none = numbers(spark, 1, 2), numbers(spark, None)
    assert distribution_drift(some, none, "value") is None
    assert distribution_drift(none, some, "value") is None
    assert distribution_drift(some.where("false"), some, "value") is None


def test_a_loss_is_one_of_two_standard_errors() -> None:
    assert is_loss(-0.03, 0.01)
    assert not is_loss(-0.015, 0.01)
    assert not is_loss(0.03, 0.01)
    assert not is_loss(None, None)
