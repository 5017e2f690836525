"""The long tail by hand, and the floor that gives it a place."""

import pytest

from transforms.diversity import hold_floor, long_tail


def is_tail(line):
    return line.startswith("t")


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.0, ["a", "b", "t1", "c"]),
        (0.25, ["a", "b", "t1", "c"]),
        (0.5, ["a", "b", "t1", "t2"]),
        (0.75, ["a", "t1", "t2", "t3"]),
        (1.0, ["a", "t1", "t2", "t3"]),
    ],
)
def test_the_last_lines_give_way_and_the_order_stays(share, expected):
    assert hold_floor(["a", "b", "t1", "c", "d", "t2", "t3"], 4, share, is_tail) == expected


def test_a_short_list_stays_as_it_is():
    assert hold_floor(["a"], 4, 1.0, is_tail) == ["a"]
    assert hold_floor([], 4, 1.0, is_tail) == []


def test_the_long_tail_makes_the_last_fifth(spark):
    rows = [("c", "big", 5.0), ("d", "big", 2.0), ("c", "middle", 1.5), ("c", "small", 1.0), ("d", "least", 0.5)]
    state = spark.createDataFrame(rows, "customer_id string, product_id string, decayed_purchases_45d double")
    assert {row.product_id for row in long_tail(state).collect()} == {"small", "least"}
