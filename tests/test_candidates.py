"""Candidates from a customer's own history: each source, its evidence, its bounds, and what may not stand on a list."""

from datetime import date

import pytest
from pyspark.sql import functions as F

from transforms.baselines import decayed_frequency, personal_top, simple_lists
from transforms.candidates import CandidateParams, anchors, flag_history, leads, propose, with_leads
from transforms.needs import cohere, need_probabilities

HISTORY = (
    "customer_id string, product_id string, text_key long, need string, score double, probability double, "
    "gap_days double, units_per_order double, orders long, "
    "last_ordered_date date"
)
NEEDS = "customer_id string, need string, need_probability double, need_score double"
MILK, SKIM, BREAD, SOAP = "a" * 64, "b" * 64, "c" * 64, "d" * 64


def pair(product, text, probability, due="2017-06-03", customer="c"):
    last = date(2017, 5, 24)
    gap_days = float((date.fromisoformat(due) - last).days)
    return (customer, product, text, probability, probability, gap_days, 1.0, 3, last)


@pytest.fixture
def proposed(spark):
    def run(rows, frequent=(), near=(), together=(), likely=0.0, **bounds):
        params = CandidateParams(**{"min_needs": 0} | bounds)
        frequency = spark.createDataFrame(
            [("c", product, 2, True) for product in frequent],
            "customer_id string, product_id string, orders int, is_high_frequency boolean",
        )
        keyed = [(customer, product, int(text[:15], 16), "need", *rest) for customer, product, text, *rest in rows]
        scored = spark.createDataFrame(keyed, HISTORY)
        needs = spark.createDataFrame([("c", "need", likely, likely)], NEEDS)
        looked_at = with_leads(scored, leads(scored, needs, params))
        history = flag_history(looked_at, frequency, "2017-05", params)
        neighbours = spark.createDataFrame(list(near), "text_hash string, neighbour_hash string, similarity double")
        copurchase = spark.createDataFrame(
            list(together),
            "product_a string, product_b string, lift double, rank_of_b_for_a int, rank_of_a_for_b int",
        )
        found = propose(history, anchors(history, params), neighbours, copurchase, params)
        return {row.product_id: row for row in found.collect()}

    return run


def test_due_is_expected_by_the_end_of_next_month_and_likely_enough(proposed):
    rows = [pair("p1", MILK, 0.5), pair("p2", SOAP, 0.1, due="2017-07-01"), pair("p3", BREAD, 0.001)]
    found = proposed(rows)
    assert set(found) == {"p1"}
    assert (found["p1"].is_due, found["p1"].is_high_frequency, found["p1"].score) == (True, False, 0.5)


def test_what_is_likely_is_due_whatever_its_date(proposed):
    assert set(proposed([pair("p1", MILK, 0.4, due="2017-07-01")])) == {"p1"}


def test_the_best_product_of_a_likely_need_is_due_and_stays_within_the_bound(proposed):
    rows = [pair(f"p{n}", str(n) * 64, 0.01 + n / 1000, due="2017-09-01") for n in range(5)]
    assert set(proposed(rows, likely=0.1)) == set()
    assert set(proposed(rows, likely=0.1, min_needs=1)) == {"p4"}, "everybody has a list"
    found = proposed([*rows, pair("soon", SOAP, 0.001)], likely=0.3, max_candidates=1)
    assert set(found) == {"p4"}
    assert found["p4"].is_due


def test_high_frequency_items_stand_whatever_their_date(proposed):
    found = proposed([pair("p1", MILK, 0.1, due="2017-09-01")], frequent=["p1"])
    assert (found["p1"].is_due, found["p1"].is_high_frequency, found["p1"].orders_in_month) == (False, True, 2)


def test_similar_items_come_from_the_customers_own_history_only(proposed):
    rows = [pair("milk", MILK, 0.5), pair("skim", SKIM, 0.01), pair("milk2", MILK, 0.01), pair("soap", SOAP, 0.01)]
    rows.append(pair("skim", SKIM, 0.01, customer="other"))
    near = [(MILK, MILK, 1.0), (MILK, SKIM, 0.9), (MILK, SOAP, 0.3), (MILK, BREAD, 0.8)]
    found = proposed(rows, near=near)
    assert set(found) == {"milk", "skim", "milk2"}
    assert (found["skim"].related_product_id, found["skim"].similarity) == ("milk", 0.9)
    assert (found["milk2"].related_product_id, found["milk2"].similarity) == ("milk", 1.0)
    assert found["skim"].is_similar_in_history and not found["skim"].is_due
    assert not found["milk"].is_similar_in_history, "an item is not similar to itself"


def test_copurchased_items_are_found_in_both_directions(proposed):
    rows = [pair("m", MILK, 0.5), pair("a", SKIM, 0.01), pair("z", SOAP, 0.01), pair("k", BREAD, 0.01)]
    together = [("a", "m", 2.0, None, 1), ("m", "z", 3.0, 1, None), ("k", "m", 9.0, 1, None)]
    found = proposed(rows, together=together)
    assert {product: row.lift for product, row in found.items()} == {"m": None, "a": 2.0, "z": 3.0}
    assert found["a"].is_copurchased and found["a"].related_product_id == "m"


def test_candidates_and_anchors_are_bounded_by_probability(proposed):
    rows = [pair(f"p{n}", f"{n:064d}", 0.1 + n / 100) for n in range(6)]
    assert set(proposed(rows, max_candidates=2)) == {"p5", "p4"}
    near = [(f"{n:064d}", MILK, 0.9) for n in range(6)]
    found = proposed([*rows, pair("milk", MILK, 0.01)], near=near, max_anchors=1)
    assert found["milk"].related_product_id == "p5"


def test_a_need_is_as_likely_as_any_of_its_products(spark):
    rows = [("c", "MILK", 0.5), ("c", "MILK", 0.2), ("c", "SOAP", 1.0), ("d", "MILK", 0.0)]
    found = need_probabilities(spark.createDataFrame(rows, "customer_id string, need string, probability double"))
    known = {(row.customer_id, row.need): row.need_probability for row in found.collect()}
    assert known[("c", "MILK")] == pytest.approx(1 - 0.5 * 0.8)
    assert 0.999 < known[("c", "SOAP")] <= 1
    assert known[("d", "MILK")] == 0


def test_no_need_is_less_likely_than_one_of_its_products(spark):
    rows = [("c", "MILK", 0.5, 0.4), ("c", "MILK", 0.1, 0.4), ("c", "SOAP", 0.1, 0.3)]
    frame = spark.createDataFrame(rows, "customer_id string, need string, probability double, need_probability double")
    assert sorted((row.need, row.need_probability) for row in cohere(frame).collect()) == [
        ("MILK", 0.5),
        ("MILK", 0.5),
        ("SOAP", 0.3),
    ]


def test_baselines(spark):
    rows = [
        ("c", "often", 5, 0.5, date(2017, 1, 9)),
        ("c", "lately", 3, 2.5, date(2017, 1, 8)),
        ("c", "first", 3, 0.1, date(2017, 1, 2)),
    ]
    state = spark.createDataFrame(
        rows,
        "customer_id string, product_id string, purchase_days long, decayed_purchases_120d double, "
        "first_ordered_date date",
    )
    top = {row["rank"]: row.product_id for row in personal_top(state).collect()}
    assert top == {1: "often", 2: "first", 3: "lately"}
    decayed = decayed_frequency(state).where(F.col("rank") == 1).first()
    assert decayed.product_id == "lately"
    both = {row.product_id: (row.personal_top, row.decayed_frequency) for row in simple_lists(state, 1).collect()}
    assert both == {"often": (1, 2), "lately": (3, 1)}


def test_the_best_product_of_a_likely_need_leads_it(spark):
    rows = [("c", "p1", "milk", 0.5), ("c", "p2", "milk", 0.4), ("c", "p3", "milk", 0.3), ("c", "p4", "soap", 0.1)]
    history = spark.createDataFrame(rows, "customer_id string, product_id string, need string, score double")
    needs = spark.createDataFrame([("c", "soap", 0.9, 0.9), ("c", "milk", 0.1, 0.1)], NEEDS)
    found = with_leads(history, leads(history, needs, CandidateParams(min_needs=0))).collect()
    assert {row.product_id: row.lead_score for row in found} == {"p1": None, "p2": None, "p3": None, "p4": 0.9}
    found = with_leads(history, leads(history, needs, CandidateParams(min_needs=2))).collect()
    assert {row.product_id: row.lead_score for row in found} == {"p1": 0.1, "p2": None, "p3": None, "p4": 0.9}
