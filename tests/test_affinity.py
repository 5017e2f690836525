"""Affinities: the item model on made-up tastes, and the job's table."""

import shutil
from datetime import date

import numpy as np
import pytest
from scipy import sparse

from jobs import affinities
from jobs.affinities import read_affinities
from tests.test_discovery import filled, replace_all, two_tastes
from tests.test_ranking import write
from transforms.affinity import AffinityParams, Purchases, item_weights, learn
from warehouse.contracts.gold import AFFINITIES, REPLENISHMENT_STATE
from warehouse.contracts.silver import PRODUCTS_TABLE
from warehouse.errors import MissingMonth
from warehouse.lake import Lake
from warehouse.settings import load_settings


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


def purchases_of(bought, decayed=1.0):
    customer, item = np.nonzero(bought)
    return Purchases(*bought.shape, customer, item, np.full(len(item), decayed))


def test_what_is_bought_by_the_same_people_speaks_for_each_other():
    purchases = purchases_of(two_tastes())
    model = learn(purchases, AffinityParams(ridge=5.0, ridge_lately=5.0))
    of_all, lately = model.affinities(purchases)
    weights = item_weights(purchases.bought(), 5.0)
    pair = np.flatnonzero((purchases.customer == 0) & (purchases.item == 0))[0]
    assert of_all[pair] == pytest.approx(weights[1, 0]), "customer 0 has item 1 beside it, and not item 2"
    assert lately[pair] < of_all[pair], "log 2 of each purchase counts"
    assert of_all.shape == lately.shape == purchases.item.shape


def test_the_model_does_not_hang_on_the_order_of_rows():
    drawn = np.random.default_rng(5).random((50, 8)) < 0.5
    purchases = purchases_of(drawn)
    purchases = Purchases(50, 8, purchases.customer, purchases.item, np.random.default_rng(6).random(drawn.sum()))
    order = np.random.default_rng(7).permutation(drawn.sum())
    shuffled = Purchases(50, 8, purchases.customer[order], purchases.item[order], purchases.decayed[order])
    one, other = (learn(each, AffinityParams()) for each in (purchases, shuffled))
    assert np.array_equal(one.weights_lately, other.weights_lately)
    assert np.array_equal(one.affinities(purchases)[1][order], other.affinities(shuffled)[1])


def settings_of(home):
    return load_settings(home=str(home), first_month="2017-05")


@pytest.fixture(scope="module")
def built(spark, tmp_path_factory):
    """The home of :func:`lake`, made once."""
    home = tmp_path_factory.mktemp("affinity")
    lake = Lake(spark, settings_of(home).lake)
    types = {0: "Tea", 1: "Milk", 2: "Milk", 3: "Rice", 4: "Soap", 5: "Oil", 9: "Fax paper"}
    sold = [filled(PRODUCTS_TABLE, product_id=f"p{n}", name=f"Product {n}", type=type) for n, type in types.items()]
    replace_all(lake, PRODUCTS_TABLE, sold)
    rows, long_ago = [], date(2017, 1, 3)
    for month in ("2017-05", "2017-06"):
        day = date.fromisoformat(f"{month}-20")
        pairs = [*np.argwhere(two_tastes()), *[(customer, 9) for customer in range(60)]]
        for customer, product in pairs:
            known = {"month": month, "customer_id": f"c{customer}", "product_id": f"p{product}", "need_days_45d": 0.5}
            dates = {"first_ordered_date": long_ago, "last_ordered_date": long_ago if product == 9 else day}
            rows.append(filled(REPLENISHMENT_STATE, **known, **dates))
    write(lake, REPLENISHMENT_STATE, rows, ["2017-05", "2017-06"])
    return home


@pytest.fixture(scope="module")
def june(spark, built, tmp_path_factory):
    """A lake like :func:`lake` after a first run for June, its settings, and the run's report."""
    settings = settings_of(tmp_path_factory.mktemp("affinity-june"))
    shutil.copytree(built, settings.home, dirs_exist_ok=True)
    lake = Lake(spark, settings.lake)
    return lake, settings, affinities.run(lake, settings, ["2017-06"])


@pytest.fixture
def settings(tmp_path):
    return settings_of(tmp_path)


@pytest.fixture
def lake(spark, built, settings):
    """60 customers of two tastes; products 1 and 2 are of one need, and product 9 was given up by all."""
    shutil.copytree(built, settings.home, dirs_exist_ok=True)
    return Lake(spark, settings.lake)


def test_every_pair_of_an_item_bought_lately_has_affinities(june):
    lake, _, report = june
    assert list(report.rows) == ["2017-05", "2017-06"], "the month before is filled in"
    products = {(row.customer_id, row.product_id): row for row in read_affinities(lake, "2017-06", "product").collect()}
    assert {product for _, product in products} == {f"p{n}" for n in range(6)}, "nobody buys the seventh any more"
    assert len(products) == int(two_tastes().sum())
    assert products["c2", "p0"].affinity > products["c0", "p0"].affinity > 0, "customer 0 lacks one of the three"
    needs = {(row.customer_id, row.product_id) for row in read_affinities(lake, "2017-06", "need").collect()}
    assert {need for _, need in needs} == {"Tea", "Milk", "Rice", "Soap", "Oil"}
    assert ("c0", "Milk") in needs and len(needs) < len(products)


def test_a_month_run_again_gives_the_same_affinities(june):
    lake, settings, _ = june
    before = sorted(map(str, lake.read(AFFINITIES).collect()))
    report = affinities.run(lake, settings, ["2017-06"])
    assert list(report.rows) == ["2017-06"], "what is there is not made again"
    assert sorted(map(str, lake.read(AFFINITIES).collect())) == before


def test_affinities_see_no_later_month(lake, settings, june):
    before = sorted(map(str, june[0].read(AFFINITIES, ["2017-05"]).collect()))
    lake.replace_months(REPLENISHMENT_STATE, lake.read(REPLENISHMENT_STATE, ["2017-06"]).limit(5), ["2017-06"])
    affinities.run(lake, settings, ["2017-05"])
    assert sorted(map(str, lake.read(AFFINITIES, ["2017-05"]).collect())) == before


def test_a_month_without_state_or_without_affinities_is_named(lake, settings):
    with pytest.raises(MissingMonth, match=REPLENISHMENT_STATE.name):
        affinities.run(lake, settings, ["2017-07"])
    with pytest.raises(MissingMonth, match=AFFINITIES.name):
        read_affinities(lake, "2017-04", "product")
