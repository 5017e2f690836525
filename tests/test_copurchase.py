"""Co-purchase counts and measures on baskets small enough to count by hand."""

from datetime import date

import pytest
from pyspark.sql import functions as F

from transforms.copurchase import CopurchaseParams, count_pairs, windowed_copurchase

LINES = "month string, customer_id string, ordered_date date, product_id string, quantity int"


def basket(customer, day, *products, month="2017-05", quantity=1):
    return [(month, customer, date(2017, 5, day), product, quantity) for product in products]


@pytest.fixture
def counts(spark):
    lines = basket("x", 1, "a", "b", "a") + basket("x", 2, "a", "b", "c") + basket("y", 1, "a") + basket("y", 2, "c")
    lines += basket("z", 9, "b", "c", quantity=-1)
    return count_pairs(spark.createDataFrame(lines, LINES), CopurchaseParams(min_baskets=1))


def test_counts_pairs_own_baskets_and_all_baskets_once_a_day(counts):
    found = {(row.product_a, row.product_b): row.baskets for row in counts.collect()}
    assert found == {
        ("a", "b"): 2, ("a", "c"): 1, ("b", "c"): 1, ("a", "a"): 3, ("b", "b"): 2, ("c", "c"): 2, ("", ""): 4,
    }  # fmt: skip


def test_rare_products_are_not_paired_but_their_baskets_count(spark):
    lines = basket("x", 1, "a", "b") + basket("y", 1, "a")
    counts = count_pairs(spark.createDataFrame(lines, LINES), CopurchaseParams(min_baskets=2))
    assert {(r.product_a, r.product_b) for r in counts.collect()} == {("a", "a"), ("b", "b"), ("", "")}


def test_support_confidence_lift(counts):
    rows = windowed_copurchase(counts, "2017-05", CopurchaseParams(min_pair_baskets=1)).collect()
    pair = next(row for row in rows if (row.product_a, row.product_b) == ("a", "b"))
    assert pair.support == pytest.approx(2 / 4)
    assert pair.confidence_a_to_b == pytest.approx(2 / 3)
    assert pair.confidence_b_to_a == pytest.approx(1.0)
    assert pair.lift == pytest.approx((2 / 4) / ((3 / 4) * (2 / 4)))
    assert pair.rank_of_a_for_b == 1


def test_window_sums_months_and_keeps_the_best_partners(spark, counts):
    both = counts.unionByName(counts.withColumn("month", F.lit("2017-06")))
    rows = windowed_copurchase(both, "2017-06", CopurchaseParams(min_pair_baskets=3, top_n=1)).collect()
    assert [(row.product_a, row.product_b, row.baskets, row.support) for row in rows] == [("a", "b", 4, 0.5)]
