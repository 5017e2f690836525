"""Discoveries: the item model on made-up tastes, the job's table, and how few of them reach a list."""

from datetime import UTC, date, datetime

import numpy as np
import pytest
from pyspark.sql import functions as F
from scipy import sparse

from jobs import discoveries, list_decisions, list_requests
from jobs.discoveries import find_discoveries
from tests.test_lists import candidate, content_of
from tests.test_ranking import row_of, write
from transforms.discovery import DiscoveryParams, discover, isotonic_knots, item_weights
from transforms.needs import new_needs
from transforms.policy import decide
from warehouse.contracts.gold import (
    CANDIDATES,
    DISCOVERIES,
    LIST_DECISIONS,
    LIST_REQUESTS,
    PURCHASE_FREQUENCY,
    REPLENISHMENT_STATE,
)
from warehouse.contracts.silver import CUSTOMERS_TABLE, PRODUCTS_TABLE
from warehouse.contracts.table import spark_schema
from warehouse.errors import MissingMonth
from warehouse.lake import Lake
from warehouse.settings import load_settings


def two_tastes(customers=60):
    """Products 0 to 2 go together, and 3 to 5; customer 0 lacks product 2, the last customer has nothing."""
    bought = np.zeros((customers, 6), np.float32)
    bought[::2, :3] = 1
    bought[1::2, 3:] = 1
    bought[0, 2] = 0
    bought[-1] = 0
    return bought


def test_weights_join_what_is_bought_by_the_same_people():
    weights = item_weights(sparse.csr_array(two_tastes()), ridge=5.0)
    assert np.diag(weights).tolist() == [0.0] * 6
    assert weights[0, 2] > 0.2
    assert abs(weights[0, 4]) < 0.05


def test_weights_solve_the_ridge_regression_of_each_product_on_the_others():
    bought = np.random.default_rng(1).random((40, 5)) < 0.4
    weights = item_weights(sparse.csr_array(bought.astype(np.float32)), ridge=3.0)
    others, target = bought[:, 1:].astype(float), bought[:, 0].astype(float)
    by_hand = np.linalg.solve(others.T @ others + 3.0 * np.eye(4), others.T @ target)
    assert weights[1:, 0] == pytest.approx(by_hand, abs=1e-5)


def test_nothing_bought_before_is_found_and_what_speaks_for_it_is_told():
    bought = sparse.csr_array(two_tastes())
    found = discover(bought, item_weights(bought, 5.0), np.ones(6), np.array([9, 9, 8, 1, 2, 3]), kept=2)
    assert found.product[0].tolist()[0] == 2
    assert found.related[0, 0] in (0, 1)
    assert found.product[-1].tolist() == [0, 1], "of whom nothing is known: the most popular"
    assert found.related[-1].tolist() == [-1, -1]
    everything = discover(bought, item_weights(bought, 5.0), np.ones(6), np.ones(6), kept=99)
    owned = bought.toarray()[0] > 0
    finite = np.isfinite(everything.score[0])
    assert sorted(everything.product[0][finite]) == np.flatnonzero(~owned).tolist()


def test_of_two_that_are_as_likely_the_one_that_sells_now_comes_first():
    bought = two_tastes()
    bought[0, 1] = 0
    cells = sparse.csr_array(bought)
    trend = np.array([1, 0.9, 0.3, 1, 1, 1])
    found = discover(cells, item_weights(cells, 5.0), trend, np.ones(6), kept=2)
    assert found.product[0].tolist() == [1, 2]


@pytest.fixture
def lake(spark, settings):
    return Lake(spark, settings.lake)


@pytest.fixture
def home(lake):
    """Two months of two tastes: customer c0 lacks p2 until June, when c2 buys what the others do."""
    bought = two_tastes(20)
    pairs = [(f"c{row}", f"p{column}") for row, column in zip(*np.nonzero(bought), strict=True)]
    for month, more in (("2017-05", []), ("2017-06", [("c2", "p3")])):
        end = date(2017, int(month[-2:]), 28)
        known = {"month": month, "last_ordered_date": end, "first_ordered_date": end, "recent_months": 1}
        rows = [row_of(REPLENISHMENT_STATE, customer_id=c, product_id=p, **known) for c, p in pairs + more]
        write(lake, REPLENISHMENT_STATE, rows, [month])
    seen = [row_of(PURCHASE_FREQUENCY, month="2017-06", customer_id="c0", product_id="p2")]
    write(lake, PURCHASE_FREQUENCY, seen, ["2017-06"])


def goods(lake):
    rows = [(f"p{number}", f"need {number}") for number in range(6)]
    return lake.spark.createDataFrame(rows, "product_id string, need string")


def test_every_customer_gets_what_they_never_bought(lake, home):
    found = find_discoveries(lake, "2017-05", goods(lake), DiscoveryParams(ridge=5.0, kept=3)).collect()
    best = {row.customer_id: row for row in found if row.place == 1}
    assert (best["c0"].product_id, best["c0"].source, best["c0"].need) == ("p2", "also_bought", "need 2")
    assert best["c0"].related_product_id in ("p0", "p1")
    owned = {(row.customer_id, row.product_id) for row in lake.read(REPLENISHMENT_STATE, ["2017-05"]).collect()}
    assert not owned & {(row.customer_id, row.product_id) for row in found}
    assert {row.probability for row in found} == {None}, "nothing says yet what a score means"


def test_a_later_month_changes_nothing(lake, home):
    def of_may():
        found = find_discoveries(lake, "2017-05", goods(lake), DiscoveryParams(kept=3))
        return sorted(map(tuple, found.collect()))

    before = of_may()
    lake.replace_months(REPLENISHMENT_STATE, lake.read(REPLENISHMENT_STATE, []), ["2017-06"])
    assert of_may() == before


def test_only_products_bought_lately_may_be_discovered(lake, home):
    old = F.lit(date(2017, 1, 1))
    state = lake.read(REPLENISHMENT_STATE, ["2017-05"])
    given_up = F.when(F.col("product_id") == "p2", old).otherwise(F.col("last_ordered_date"))
    lake.replace_months(REPLENISHMENT_STATE, state.withColumn("last_ordered_date", given_up), ["2017-05"])
    found = find_discoveries(lake, "2017-05", goods(lake), DiscoveryParams(kept=9))
    assert found.where("product_id = 'p2'").count() == 0


def test_none_are_looked_for_where_no_list_may_carry_any(lake, settings):
    report = discoveries.run(lake, settings, ["2017-05"])
    assert report.rows == {"2017-05": 0}
    assert "REPLENISH_DISCOVERIES" in report.details["note"]
    assert lake.read(DISCOVERIES, ["2017-05"]).count() == 0


def filled(table, **values):
    """A row of the contract: null where it may be, and what is given."""
    blank = {column.name: None for column in table.columns if column.nullable}
    moments = {c.name: datetime(1970, 1, 1, tzinfo=UTC) for c in table.columns if str(c.type).startswith("timestamp")}
    return row_of(table, **{**moments, **blank, **values})


def replace_all(lake, table, rows):
    ordered = [tuple(row[name] for name in table.column_names) for row in rows]
    lake.replace_all(table, lake.spark.createDataFrame(ordered, spark_schema(table)))


@pytest.fixture
def catalogue(lake, home):
    sold = [
        filled(PRODUCTS_TABLE, product_id=f"p{n}", name=f"Product {n}", type=f"need {n}", is_in_stock=True)
        | {"is_subscribable": n != 4}
        for n in range(6)
    ]
    replace_all(lake, PRODUCTS_TABLE, sold)
    people = [filled(CUSTOMERS_TABLE, customer_id=f"c{n}", consent_profiling=n != 3) for n in range(20)]
    people[0]["excluded_products"] = ["p5"]
    replace_all(lake, CUSTOMERS_TABLE, people)


def test_a_month_s_discoveries_are_allowed_and_tell_their_probability(lake, settings, catalogue):
    asked = settings.model_copy(update={"discoveries": 2})
    report = discoveries.run(lake, asked, ["2017-06"])
    rows = lake.read(DISCOVERIES, ["2017-06"]).collect()
    assert report.rows == {"2017-06": len(rows)}
    found = {(row.customer_id, row.product_id) for row in rows}
    assert not {pair for pair in found if pair[1] == "p4" or pair[0] == "c3" or pair == ("c0", "p5")}
    assert ("c19", "p0") in found, "who has bought nothing yet gets what most buy"
    assert all(0 < row.probability < 1 for row in rows)
    assert discoveries.run(lake, asked, ["2017-01"]).rows == {"2017-01": 0}, "nothing was there to learn from"


def test_a_request_offers_the_first_few_and_one_without_candidates_only_them(lake, settings, catalogue):
    known = {"customer_id": "c0", "product_id": "p0", "need": "need 0", "probability": 0.5, "need_probability": 0.6}
    known |= {"is_due": True}
    write(lake, CANDIDATES, [filled(CANDIDATES, month="2017-06", **known)], ["2017-06"])
    rows = [
        filled(DISCOVERIES, month="2017-06", customer_id=customer, product_id=f"p{n}", need=f"need {n}", place=n)
        | {"source": "also_bought", "related_product_id": "p0", "probability": 0.1}
        for customer in ("c0", "c19")
        for n in (1, 2, 3)
    ]
    asked = settings.model_copy(update={"discoveries": 2})
    with pytest.raises(MissingMonth, match="gold/discoveries does not exist"):
        list_requests.run(lake, asked, ["2017-06"])
    write(lake, DISCOVERIES, rows, ["2017-06"])
    assert list_requests.run(lake, asked, ["2017-06"]).details["without_discoveries"] == []
    offered = {row.customer_id: row.product_ids for row in lake.read(LIST_REQUESTS, ["2017-06"]).collect()}
    assert offered == {"c0": ["p0", "p1", "p2"], "c19": ["p1", "p2"]}
    list_decisions.run(lake, asked, ["2017-06"])
    decided = {row.customer_id: row["items"] for row in lake.read(LIST_DECISIONS, ["2017-06"]).collect()}
    lines = [(line.product_id, line.reason_code) for line in decided["c0"]]
    assert lines == [("p0", "due"), ("p1", "also_bought"), ("p2", "also_bought")]
    assert decided["c19"][0].reason == "New to you; chosen by customers who buy Product 0."


def discovery(product="p9", need="TEA", **changes):
    row = {
        "place": 1,
        "product_id": product,
        "name": "Green tea",
        "need": need,
        "source": "also_bought",
        "related_name": "Honey",
        "probability": 0.06,
        "need_due_date": date(2019, 5, 31),
    }
    return row | changes


def test_a_list_carries_few_of_them_and_only_of_new_needs():
    offered = [candidate() | {"need": "MILK"}]
    rows = [discovery(need="MILK"), discovery("a", "TEA"), discovery("b", "TEA"), discovery("c", "RICE")]
    assert [row["product_id"] for row in new_needs(rows, offered, 2)] == ["a", "c"]
    assert new_needs(rows, offered, 0) == []


def test_the_policy_puts_them_last_and_says_that_they_are_new():
    known = [candidate(name=f"Milk {n}", need=f"N{n}", need_probability=0.5 + n / 100) for n in range(5)]
    new = new_needs([discovery()], known, 1)
    items = decide(content_of(*known, *new, list_size=3))["items"]
    assert [item["id"] for item in items] == ["c05", "c04", "c06"]
    assert items[-1]["reason"] == "New to you; chosen by customers who buy Honey."
    assert (items[-1]["quantity"], items[-1]["cadence_days"]) == (1, 28)
    trending = new_needs([discovery(source="trending", related_name=None)], known, 1)
    assert "bought by many" in decide(content_of(*known, *trending))["items"][-1]["reason"]


def test_the_setting_is_bounded():
    assert load_settings(discoveries=2).discoveries == 2


def test_a_score_s_probability_rises_with_it_and_is_never_certain():
    rng = np.random.default_rng(3)
    score = rng.random(5000)
    is_bought = rng.random(5000) < 0.2 * score
    knots, probability = isotonic_knots(score, is_bought)
    assert len(knots) == len(probability) <= 200
    assert (np.diff(probability) >= 0).all()
    assert 0 < probability[0] < probability[-1] < 1
    assert np.interp(0.5, knots, probability) == pytest.approx(0.1, abs=0.03)
