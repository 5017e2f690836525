"""Discoveries: the item model on made-up tastes, the job's table, and how few of them reach a list."""

import shutil
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import functions as F
from scipy import sparse

from jobs import discoveries, list_decisions, list_requests
from jobs.discoveries import find_discoveries, learn_trees
from jobs.proposals import draw, take_stock
from tests.test_lists import candidate, content_of
from tests.test_ranking import row_of, write
from tests.test_vectors import text_rows
from transforms.discovery import FEATURES, DiscoveryParams, Histories, Peers, Proposals, Shelf
from transforms.ease import item_weights
from transforms.needs import new_needs
from transforms.policy import decide
from transforms.ranking import Ranker
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
from warehouse.contracts.vectors import CUSTOMER_PROFILES, PRODUCT_EMBEDDINGS
from warehouse.errors import MissingMonth
from warehouse.lake import Lake
from warehouse.settings import load_settings
from warehouse.text_index import publish_texts
from warehouse.vectors import merge_rows, open_vectors, vector_array, write_month


def two_tastes(customers=60):
    """Products 0 to 2 go together, and 3 to 5; customer 0 lacks product 2, the last customer has nothing."""
    bought = np.zeros((customers, 6), np.float32)
    bought[::2, :3] = 1
    bought[1::2, 3:] = 1
    bought[0, 2] = 0
    bought[-1] = 0
    return bought


def shelf_of(bought, weights=None, **figures):
    """A shelf on which every product is a need and a category of its own."""
    count = bought.shape[1]
    ones = np.ones(count)
    known = {name: ones for name in ("newcomers", "purchases_15d", "purchases_45d")}
    known |= {"need_purchases_15d": ones, "need_newcomers": ones, "buyers": bought.sum(axis=0)}
    weights = item_weights(sparse.csr_array(bought), 5.0) if weights is None else weights
    known |= {"weights": weights, "similarity": np.zeros((count, count - len(weights)))}
    return Shelf(**{"need": np.arange(count), "category": np.arange(count), **known} | figures)


def histories_of(bought, **values):
    row, product = np.nonzero(bought)
    known = {name: np.full(len(row), 10.0) for name in ("since_last", "since_first", "purchases_15d", "purchases_45d")}
    return Histories(len(bought), row, **{"product": product, "need": product, "category": product, **known} | values)


NOTHING = {"alike": 0, "newcomers": 0, "of_needs": 0, "of_neighbours": 0, "of_arrivals": 0}


def propose(histories, shelf, peers_buy=None, **bounds):
    nobody = np.zeros((histories.customers, len(shelf.need)))
    return Proposals(histories, shelf, nobody if peers_buy is None else peers_buy, DiscoveryParams(**bounds))


def proposed(proposals, row):
    return proposals.product[proposals.row == row].tolist()


def test_what_is_proposed_was_not_bought_and_is_alike_new_to_many_or_new_to_many_of_a_need():
    bought = two_tastes()
    figures = {
        "newcomers": np.array([0, 0, 2, 1, 0, 9]),
        "need": np.array([0, 0, 1, 0, 2, 2]),
        "need_newcomers": np.array([1, 1, 2, 1, 9, 9]),
    }
    shelf, histories = shelf_of(bought, **figures), histories_of(bought, need=figures["need"][np.nonzero(bought)[1]])
    for kind, wanted in (("alike", 2), ("newcomers", 5), ("of_needs", 3)):
        assert proposed(propose(histories, shelf, **NOTHING | {kind: 1}), 0) == [wanted]
    everything = propose(histories, shelf)
    owned = bought[everything.row, everything.product]
    assert not owned.any() and len(everything.row) == (bought == 0).sum()


def test_what_speaks_for_a_proposal_is_told_and_of_whom_nothing_is_known_gets_what_most_buy():
    bought = two_tastes()
    proposals = propose(histories_of(bought), shelf_of(bought), **NOTHING | {"alike": 1})
    related = proposals.related(np.arange(len(proposals.row)))
    assert proposed(proposals, 0) == [2] and related[proposals.row == 0][0] in (0, 1)
    assert proposed(proposals, len(bought) - 1) == [0] and related[-1] == -1


def test_features_tell_of_the_proposal_its_need_and_the_customer():
    bought = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0]], np.float32)
    weights = np.array([[0, 0.2, 0.4], [0.2, 0, 0.1], [0.4, 0.1, 0]], np.float32)
    same_need = {"need": np.array([0, 1, 1]), "category": np.array([0, 0, 0])}
    sales = {"purchases_15d": np.array([1.0, 2.0, 3.0]), "purchases_45d": np.array([4.0, 4.0, 4.0])}
    shelf = shelf_of(bought, weights, **same_need, **sales, need_purchases_15d=np.array([1.0, 5.0, 5.0]))
    pairs = {"need": np.array([0, 1, 0]), "category": np.array([0, 0, 0])}
    pairs |= {"since_last": np.array([3.0, 7.0, 90.0]), "since_first": np.array([80.0, 20.0, 90.0])}
    pairs |= {"purchases_15d": np.array([0.8, 0.7, 0.1]), "purchases_45d": np.array([1.8, 0.9, 0.3])}
    proposals = propose(histories_of(bought, **pairs), shelf)
    found = dict(zip(FEATURES, proposals.features()[(proposals.row == 0) & (proposals.product == 2)][0], strict=True))
    assert found["alike"] == pytest.approx(0.5, abs=1e-5)
    assert found["trending"] == pytest.approx(0.5 * 3 / 4, abs=1e-5)
    assert found["alike_share_of_best"] == 1
    assert found["need_purchases_15d"] == pytest.approx(0.7)
    assert (found["need_products"], found["need_new_products"], found["need_since_last_days"]) == (1, 1, 7)
    assert found["category_purchases_45d"] == pytest.approx(2.7)
    assert found["product_share_of_need"] == pytest.approx(3 / 5)
    assert (found["customer_products"], found["customer_new_products"], found["customer_since_last_days"]) == (2, 1, 3)
    unknown = proposals.features()[proposals.row == 2]
    assert np.isfinite(unknown).all(), "of whom nothing is known"


def test_an_arrival_is_proposed_to_those_who_bought_what_it_reads_like_and_tells_so():
    bought = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]], np.float32)
    similarity = np.array([[0.0, 0.9], [0.8, 0.0], [1.0, 0.0], [0.0, 1.0]])
    shelf = shelf_of(bought, np.zeros((2, 2)), similarity=similarity, buyers=np.array([9, 9, 2, 3]))
    histories = histories_of(bought, purchases_45d=np.array([2.0, 1.0, 1.0]))
    proposals = propose(histories, shelf, **NOTHING | {"of_arrivals": 2})
    assert [proposed(proposals, row) for row in range(3)] == [[3], [2], []], "none is near to what they bought"
    near = proposals.features()[:, FEATURES.index("near")]
    assert near == pytest.approx([2.0 * 0.9 * 3, 0.8 * 2])
    related = proposals.related(np.arange(2))
    assert related.tolist() == [0, 1]
    assert proposals.sources(np.arange(2), related).tolist() == ["new_arrival", "new_arrival"]


def test_one_customer_more_takes_the_place_of_one_peer_at_most():
    customers = np.array([f"c{number:03d}" for number in range(200)])
    drawn = set(customers[draw(customers, 50)])
    more = np.sort(np.append(customers, "c0995"))
    assert len(drawn) == 50 and len(drawn - set(more[draw(more, 50)])) <= 1
    assert draw(customers, 500).tolist() == list(range(200))


def test_those_of_like_profiles_speak_for_what_they_bought():
    east, north = [1.0, 0.0], [0.0, 1.0]
    cells = np.array([[5.0, 0, 0], [3.0, 1.0, 0], [0, 0, 7.0]])
    peers = Peers(np.array([east, [0.6, 0.8], north]), sparse.csr_array(cells))
    buy = peers.buy(np.array([east, north, [0.0, 0.0]]), neighbours=2)
    assert buy == pytest.approx(np.array([[5 + 0.6 * 3, 0.6, 0], [0.8 * 3, 0.8, 7.0], [0, 0, 0]]))
    histories, shelf = histories_of(np.array([[1, 0, 0], [0, 0, 0], [0, 0, 0]])), shelf_of(cells, np.zeros((3, 3)))
    proposals = propose(histories, shelf, buy, **NOTHING | {"of_neighbours": 5})
    assert [proposed(proposals, row) for row in range(3)] == [[1], [0, 1, 2], []]
    every = np.arange(len(proposals.row))
    assert set(proposals.sources(every, proposals.related(every))) == {"profile_neighbour"}


@pytest.fixture
def lake(spark, settings):
    return Lake(spark, settings.lake)


def put_profiles(settings, tastes):
    """Profiles of May and June: customers of one taste are of one direction."""
    for month in ("2017-05", "2017-06"):
        rows = pa.table(
            {
                "customer_id": list(tastes),
                "month": [month] * len(tastes),
                "model": ["test"] * len(tastes),
                "weight": [1.0] * len(tastes),
                "norm": [1.0] * len(tastes),
                "vector": vector_array(np.eye(384)[list(tastes.values())]),
            }
        )
        write_month(open_vectors(settings), CUSTOMER_PROFILES, month, "2017-05", rows)


def put_texts(settings, hashes, seventh_like):
    """Vectors of the texts, each of a direction of its own, and of ``text 6``, which reads like another."""
    place = hashes.index(seventh_like)
    vectors = np.vstack([np.eye(384)[: len(hashes)], np.eye(384)[place]])
    store = open_vectors(settings)
    merge_rows(store.newest(PRODUCT_EMBEDDINGS), PRODUCT_EMBEDDINGS, text_rows([*hashes, "text 6"], vectors))
    publish_texts(store)


def filled(table, **values):
    """A row of the contract: null where it may be, and what is given."""
    blank = {column.name: None for column in table.columns if column.nullable}
    moments = {c.name: datetime(1970, 1, 1, tzinfo=UTC) for c in table.columns if str(c.type).startswith("timestamp")}
    return row_of(table, **{**moments, **blank, **values})


def replace_all(lake, table, rows):
    ordered = [tuple(row[name] for name in table.column_names) for row in rows]
    lake.replace_all(table, lake.spark.createDataFrame(ordered, spark_schema(table)))


def put_catalogue(lake):
    sold = [
        filled(PRODUCTS_TABLE, product_id=f"p{n}", name=f"Product {n}", type=f"need {n}", is_in_stock=True)
        | {"is_subscribable": n != 4}
        for n in range(6)
    ]
    replace_all(lake, PRODUCTS_TABLE, sold)
    names = ["late0", "late1", "late2", "late3", "new"]
    people = [filled(CUSTOMERS_TABLE, customer_id=name, consent_profiling=name != "late3") for name in names]
    people[0]["excluded_products"] = ["p5"]
    replace_all(lake, CUSTOMERS_TABLE, people)


@pytest.fixture(scope="module")
def built(spark, tmp_path_factory):
    """The home of :func:`home`, made once."""
    settings = load_settings(home=tmp_path_factory.mktemp("discovery"), business_tz="America/New_York")
    lake = Lake(spark, settings.lake)
    put_catalogue(lake)
    tastes = (("p0", "p1", "p2"), ("p3", "p4", "p5"))
    pairs = {"2017-05": [], "2017-06": []}
    third = []
    for number in range(480):
        own = tastes[number % 2]
        lacks = number % 4 < 2
        pairs["2017-05"] += [(f"c{number}", product) for product in (own[:2] if lacks else own)]
        if lacks:
            third.append((f"c{number}", own[2]))
    late = [(f"late{number}", product) for number in range(4) for product in tastes[number % 2][:2]]
    pairs["2017-05"] += [("fan", product) for taste in tastes for product in taste]
    pairs["2017-06"] = [*pairs["2017-05"], *third, *late]
    for month, bought in pairs.items():
        end = date(2017, int(month[-2:]), 28)
        known = {"month": month, "last_ordered_date": end, "first_ordered_date": end, "recent_months": 1}
        rows = [row_of(REPLENISHMENT_STATE, customer_id=c, product_id=p, **known) for c, p in bought]
        write(lake, REPLENISHMENT_STATE, rows, [month])
    put_profiles(settings, {f"c{number}": number % 2 for number in range(480)})
    seen = [row_of(PURCHASE_FREQUENCY, month="2017-06", customer_id=c, product_id=p) for c, p in third]
    write(lake, PURCHASE_FREQUENCY, seen, ["2017-06"])
    return settings.home


@pytest.fixture
def home(built, settings):
    """Two tastes of three products: half lack the third until June, when they buy it; some come in June and lack it."""
    shutil.copytree(built, settings.home)


def goods(lake):
    rows = [(f"p{number}", f"need {number}", "all", f"text {number}") for number in range(6)]
    return lake.spark.createDataFrame(rows, "product_id string, need string, category string, text_hash string")


def of_june(lake, settings):
    params = DiscoveryParams()
    trees = learn_trees(lake, settings, "2017-06", goods(lake), params)
    return sorted(map(tuple, find_discoveries(lake, settings, "2017-06", goods(lake), trees, params).collect()))


@pytest.fixture(scope="module")
def found(spark, built):
    """What :func:`of_june` finds in :func:`built`."""
    settings = load_settings(home=built, business_tz="America/New_York")
    return of_june(Lake(spark, settings.lake), settings)


def test_the_trees_learn_from_what_became_of_earlier_proposals(lake, home, found):
    best = {row[0]: row for row in found if row[3] == 1}
    assert [(best[f"late{n}"][1], best[f"late{n}"][4]) for n in (0, 1)] == [
        ("p2", "also_bought"),
        ("p5", "also_bought"),
    ]
    assert best["late0"][5] in ("p0", "p1"), "what speaks for it"
    owned = {(row.customer_id, row.product_id) for row in lake.read(REPLENISHMENT_STATE, ["2017-06"]).collect()}
    assert not owned & {row[:2] for row in found}
    assert "fan" not in best, "has bought all there is"
    assert all(row[6] == row[7] for row in found), "not calibrated by anything yet"


def test_a_product_new_in_the_shop_is_found_by_its_text(lake, home, settings):
    few = [row_of(REPLENISHMENT_STATE, month="2017-06", customer_id=f"c{n}", product_id="p6") for n in (4, 8)]
    dates = {"last_ordered_date": date(2017, 6, 28), "first_ordered_date": date(2017, 6, 28)}
    state = lake.read(REPLENISHMENT_STATE, ["2017-06"]).collect()
    write(lake, REPLENISHMENT_STATE, [row.asDict() for row in state] + [row | dates for row in few], ["2017-06"])
    put_texts(settings, ["text 0", "text 1", "text 2", "text 3", "text 4", "text 5"], seventh_like="text 0")
    rows = [*goods(lake).collect(), ("p6", "need 6", "all", "text 6")]
    shelf = lake.spark.createDataFrame(rows, goods(lake).schema)
    stock = take_stock(lake, settings, "2017-06", shelf, DiscoveryParams(products=6))
    assert stock.products["product_id"].to_pylist()[6:] == ["p6"] and stock.shelf.known == 6
    place = stock.products["product_id"].to_pylist().index("p0")
    assert np.flatnonzero(stock.shelf.similarity[:, 0]).tolist() == [place, 6]


def test_a_later_month_changes_nothing_and_a_re_run_finds_the_same(lake, home, settings, found):
    rows = [row_of(REPLENISHMENT_STATE, month="2017-07", customer_id="late0", product_id="p2")]
    write(lake, REPLENISHMENT_STATE, rows, ["2017-07"])
    later = [row_of(PURCHASE_FREQUENCY, month="2017-07", customer_id="late0", product_id="p2")]
    write(lake, PURCHASE_FREQUENCY, later, ["2017-07"])
    assert of_june(lake, settings) == found


def test_only_products_bought_lately_may_be_discovered(lake, home, settings):
    old = F.lit(date(2017, 1, 1))
    state = lake.read(REPLENISHMENT_STATE, ["2017-06"])
    given_up = F.when(F.col("product_id") == "p2", old).otherwise(F.col("last_ordered_date"))
    lake.replace_months(REPLENISHMENT_STATE, state.withColumn("last_ordered_date", given_up), ["2017-06"])
    assert "p2" not in {row[1] for row in of_june(lake, settings)}


def test_with_too_little_to_learn_from_there_are_none(lake, settings, home):
    few = lake.read(PURCHASE_FREQUENCY, ["2017-06"]).limit(199)
    lake.replace_months(PURCHASE_FREQUENCY, few, ["2017-06"])
    report = discoveries.run(lake, settings.model_copy(update={"discoveries": 2}), ["2017-06"])
    assert report.rows == {"2017-06": 0} and "too few" in report.details["note"]


def test_a_machine_without_lightgbm_has_none_and_says_what_to_install(lake, settings, home, monkeypatch):
    monkeypatch.setattr(discoveries, "lightgbm_problem", lambda: "LightGBM cannot be loaded (libgomp)")
    report = discoveries.run(lake, settings.model_copy(update={"discoveries": 2}), ["2017-06"])
    assert report.rows == {"2017-06": 0} and "libgomp1" in report.details["note"]


def test_none_are_looked_for_where_no_list_may_carry_any(lake, settings):
    report = discoveries.run(lake, settings, ["2017-05"])
    assert report.rows == {"2017-05": 0}
    assert "REPLENISH_DISCOVERIES" in report.details["note"]
    assert lake.read(DISCOVERIES, ["2017-05"]).count() == 0


def test_a_month_s_discoveries_are_allowed_and_tell_their_probability(lake, settings, home):
    asked = settings.model_copy(update={"discoveries": 2})
    report = discoveries.run(lake, asked, ["2017-06"])
    rows = lake.read(DISCOVERIES, ["2017-06"]).collect()
    assert report.rows == {"2017-06": len(rows)}
    found = {(row.customer_id, row.product_id) for row in rows}
    assert ("late0", "p2") in found
    assert not {pair for pair in found if pair[1] == "p4" or pair[0] == "late3" or pair == ("late0", "p5")}
    assert {"p0", "p2"} <= {product for customer, product in found if customer == "new"}, "who has bought nothing yet"
    assert all(0 < row.probability < 1 for row in rows)
    assert discoveries.run(lake, asked, ["2017-01"]).rows == {"2017-01": 0}, "nothing was there to learn from"


def test_a_probability_is_what_became_of_last_month_s_discoveries(lake, settings, home):
    pairs = (
        lake.read(PURCHASE_FREQUENCY, ["2017-06"]).select("customer_id", "product_id").orderBy("customer_id").collect()
    )
    said = [filled(DISCOVERIES, month="2017-05", customer_id=c, product_id=p, score=0.5) for c, p in pairs[:60]]
    said += [filled(DISCOVERIES, month="2017-05", customer_id=f"x{n}", product_id="p1", score=0.4) for n in range(240)]
    said += [filled(DISCOVERIES, month="2017-05", customer_id=f"y{n}", product_id="p1", score=0.5) for n in range(40)]
    write(lake, DISCOVERIES, [row | {"need": "n", "source": "trending"} for row in said], ["2017-05"])
    report = discoveries.run(lake, settings.model_copy(update={"discoveries": 2}), ["2017-06"])
    learned = Ranker("", report.details["slope"], report.details["intercept"])
    assert learned.calibrated(np.array([0.5]))[0] == pytest.approx(0.6, abs=0.01), "60 of 100 such were bought"
    rows = lake.read(DISCOVERIES, ["2017-06"]).collect()
    said = learned.calibrated(np.array([row.score for row in rows]))
    assert [row.probability for row in rows] == pytest.approx(said)


def test_a_request_offers_the_first_few_and_one_without_candidates_only_them(lake, settings, home):
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
    arrival = new_needs([discovery(source="new_arrival")], known, 1)
    assert decide(content_of(*known, *arrival))["items"][-1]["reason"] == "New in the shop, and similar to Honey."
    of_peers = new_needs([discovery(source="profile_neighbour", related_name=None)], known, 1)
    assert "buy much the same" in decide(content_of(*known, *of_peers))["items"][-1]["reason"]
    trending = new_needs([discovery(source="trending", related_name=None)], known, 1)
    assert "bought by many" in decide(content_of(*known, *trending))["items"][-1]["reason"]


def test_the_setting_is_bounded():
    assert load_settings(discoveries=2).discoveries == 2
