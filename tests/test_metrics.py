"""Ranking metrics against figures worked out by hand."""

from math import log2

import pytest
from pyspark.sql import functions as F

from transforms.baselines import global_top
from transforms.metrics import judge_lists, mean_metrics, monthly_units_error, paired_differences, rank_by


def judge(spark, listed, bought, k=2):
    lists = spark.createDataFrame(listed, "customer_id string, product_id string, rank int")
    truth = spark.createDataFrame(bought, "customer_id string, product_id string, is_repeat boolean")
    return judge_lists({"ours": lists}, truth, k)


def test_one_customer(spark):
    listed = [("c", "a", 1), ("c", "b", 2), ("c", "x", 3)]
    bought = [("c", "b", True), ("c", "x", True), ("c", "n", False), ("c", "m", False)]
    row = judge(spark, listed, bought).first()
    assert row.recall == pytest.approx(1 / 4)
    assert row.precision == pytest.approx(1 / 2)
    assert row.hit_rate == 1.0
    # The ideal sums over all four bought products, not over k.
    assert row.ndcg == pytest.approx((1 / log2(3)) / sum(1 / log2(i + 1) for i in (1, 2, 3, 4)))
    assert (row.repeat_recall, row.discovery_recall) == (pytest.approx(1 / 2), 0.0)


def test_customers_without_a_list_score_zero_and_without_repeats_do_not_count(spark):
    judged = judge(spark, [("c", "a", 1)], [("c", "a", True), ("d", "n", False)])
    means = {row.metric: (row.value, row.customers) for row in mean_metrics(judged, 2).collect()}
    assert means["recall@2"] == (0.5, 2)
    assert means["repeat_recall@2"] == (1.0, 1)
    assert means["discovery_recall@2"] == (0.0, 1)


def test_rank_breaks_ties_by_product(spark):
    frame = spark.createDataFrame(
        [("c", "b", 1), ("c", "a", 1), ("c", "z", 5)], "customer_id string, product_id string, n int"
    )
    ranked = {row.product_id: row.rank for row in rank_by(frame, F.desc("n")).collect()}
    assert ranked == {"z": 1, "a": 2, "b": 3}


def test_differences_are_paired_by_customer(spark):
    columns = "method string, customer_id string, recall double, precision double, ndcg double, hit_rate double, "
    columns += "repeat_recall double, discovery_recall double"
    rows = [("ours", "c", 0.5), ("ours", "d", 0.9), ("theirs", "c", 0.4), ("theirs", "d", 0.6)]
    judged = spark.createDataFrame([(*row, 0.0, 0.0, 0.0, None, 0.0) for row in rows], columns)
    found = {row.metric: row for row in paired_differences(judged, "theirs", 2).collect()}
    assert found["recall@2"].difference == pytest.approx(0.2)
    assert found["recall@2"].difference_se == pytest.approx(0.1)  # 0.1 and 0.3: deviation 0.1414, over √2
    assert found["repeat_recall@2"].customers == 0


def test_global_top_is_the_same_for_everybody(spark):
    state = spark.createDataFrame(
        [("c", "a", 1.0), ("d", "a", 1.0), ("d", "b", 1.5), ("d", "z", 0.1)],
        "customer_id string, product_id string, decayed_purchases_120d double",
    )
    customers = spark.createDataFrame([("c",), ("e",)], "customer_id string")
    ranked = sorted(tuple(row) for row in global_top(state, customers, 2).collect())
    assert ranked == [("c", "a", 1), ("c", "b", 2), ("e", "a", 1), ("e", "b", 2)]


def test_units_of_lines_are_held_against_the_month_s(spark):
    lines = spark.createDataFrame(
        [("c", "a", 2, 14), ("c", "b", 1, 28), ("d", "a", 3, 28)],
        "customer_id string, product_id string, quantity int, cadence_days int",
    )
    bought = spark.createDataFrame(
        [("c", "a", 3), ("c", "a", 2), ("d", "a", 4), ("d", "a", -4), ("e", "b", 9)],
        "customer_id string, product_id string, quantity int",
    )
    row = monthly_units_error(lines, bought, 28, "ours").first()
    assert (row.method, row.metric, row.value, row.customers) == ("ours", "monthly_units_error", 1.0, 1)
