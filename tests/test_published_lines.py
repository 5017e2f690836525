"""Published lines are judged once more by what is known when they are published."""

from datetime import UTC, date, datetime

import pytest

from jobs import publish
from jobs.champion import POLICY, Champion
from tests.test_discovery import filled, replace_all
from tests.test_ranking import write
from warehouse.contracts.gold import LIST_DECISIONS
from warehouse.contracts.silver import CUSTOMERS_TABLE, PRODUCTS_TABLE
from warehouse.lake import Lake
from warehouse.serving.store import open_store

MARCH = datetime(2017, 3, 1, 8, tzinfo=UTC)


def line(rank, product, alternate):
    return {
        "rank": rank,
        "product_id": product,
        "quantity": 1,
        "cadence_days": 28,
        "next_due_date": date(2017, 3, 9),
        "probability": 0.5,
        "reason_code": "due",
        "reason": "Due.",
        "need": product,
        "need_probability": 0.5,
        "alternates": [{"product_id": alternate, "probability": 0.1}],
    }


@pytest.fixture
def lake(spark, settings):
    """Lists decided at the end of February for four customers; in March one withdraws, and one excludes a product."""
    lake = Lake(spark, settings.lake)
    always = {"is_subscribable": True, "is_in_stock": True}
    products = [filled(PRODUCTS_TABLE, product_id=p, name=p.upper(), **always) for p in ("p1", "p2", "p3", "p4")]
    products[3] |= {"valid_to": MARCH}
    products.append(products[3] | {"valid_from": MARCH, "valid_to": None, "is_in_stock": False})
    replace_all(lake, PRODUCTS_TABLE, products)
    agreed = {"consent_profiling": True, "consent_email": True}
    people = [filled(CUSTOMERS_TABLE, customer_id=c, valid_to=MARCH, **agreed) for c in ("c0", "c1", "c2")]
    changes = ({"consent_profiling": False}, {"excluded_products": ["p1", "p3"]}, {"consent_email": False})
    people += [
        row | {"valid_from": MARCH, "valid_to": None} | change for row, change in zip(people, changes, strict=True)
    ]
    replace_all(lake, CUSTOMERS_TABLE, people)
    items = [line(1, "p1", "p3"), line(2, "p2", "p3"), line(3, "p4", "p3")]
    decided = {"month": "2017-02", "decided_by": "policy", "finish_reason": "stop", "repairs": [], "items": items}
    rows = [filled(LIST_DECISIONS, customer_id=c, **decided) for c in ("c0", "c1", "c2", "unknown")]
    write(lake, LIST_DECISIONS, rows, ["2017-02"])
    return lake


def test_consent_exclusions_and_stock_count_as_known_when_published(lake, settings):
    lines = publish.list_lines(lake, settings, "2017-02", Champion(POLICY, "")).collect()
    kept = {(row.customer_id, row.product_id): row for row in lines if row.drop_reason is None}
    assert set(kept) == {("c1", "p2"), ("c2", "p1"), ("c2", "p2"), ("unknown", "p1"), ("unknown", "p2")}
    assert kept["c1", "p2"].alternates == [], "excluded since"
    assert [other.product_id for other in kept["c2", "p1"].alternates] == ["p3"]
    mail = {customer: row.has_consent_email for (customer, _), row in kept.items()}
    assert mail == {"c1": True, "c2": False, "unknown": False}


def test_what_is_dropped_is_counted_and_ranks_have_no_gaps(lake, settings):
    report = publish.run(lake, settings, ["2017-02"])
    assert report.details["dropped"] == {"no_consent": 3, "excluded": 1, "out_of_stock": 3}
    store = open_store(settings.serving_store)
    assert store.get("c0") is None
    assert store.live().customers == 3
    recorded = {(row.customer_id, row.product_id): row["rank"] for row in _recorded(lake)}
    assert recorded["c1", "p2"] == 1


def _recorded(lake):
    from warehouse.contracts.serving import SUBSCRIBE_SAVE_LISTS

    return lake.read(SUBSCRIBE_SAVE_LISTS).collect()
