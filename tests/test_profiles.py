"""Customer profiles: the arithmetic on tiny arrays, and months over a real store and a real lake."""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyspark.sql import SparkSession

from jobs import customer_profiles
from jobs.customer_profiles import run, update_profiles
from transforms.profiles import (
    ProfileParameters,
    Profiles,
    add_purchases,
    months_between,
    no_profiles,
    purchases_by_text,
)
from warehouse.contracts.gold import PURCHASE_FREQUENCY
from warehouse.contracts.silver import CUSTOMERS_TABLE, PRODUCTS_TABLE
from warehouse.contracts.table import spark_schema
from warehouse.contracts.vectors import CUSTOMER_PROFILES, PRODUCT_EMBEDDINGS
from warehouse.errors import MissingMonth
from warehouse.lake import Lake
from warehouse.settings import Settings
from warehouse.text_index import publish_texts
from warehouse.vectors import VectorStore, merge_rows, open_vectors, read_rows, vector_array

FIRST, MODEL = "2017-01", "test"
TEXTS = [f"text-{number}" for number in range(12)]
ONE_MONTH = ProfileParameters(half_life_months=1)


def test_sum_is_decayed_and_added_to() -> None:
    before = Profiles(np.array([[1, 0], [0, 0]], np.float32), np.array([8.0, 0.0]), np.array([10.0, 0.0]))
    after = add_purchases(
        before,
        elapsed_months=np.array([2.0, 0.0]),
        customer_index=np.array([0, 1, 1]),
        text_vectors=np.array([[0, 1], [1, 0], [0.6, 0.8]], np.float32),
        purchase_days=np.array([2.0, 1.0, 5.0]),
        parameters=ONE_MONTH,
    )
    # customer 0: 8 / 4 · (1, 0) + 2 · (0, 1) = (2, 2); customer 1: (1, 0) + 5 · (0.6, 0.8) = (4, 4)
    np.testing.assert_allclose(after.norms, [8**0.5, 32**0.5], rtol=1e-6)
    np.testing.assert_allclose(after.vectors, np.full((2, 2), 0.5**0.5), rtol=1e-6)
    np.testing.assert_allclose(after.weights, [10 / 4 + 2, 6])
    assert after.vectors.dtype == np.float32


def test_opposite_tastes_leave_no_direction() -> None:
    texts = np.array([[1, 0], [-1, 0]], np.float32)
    after = add_purchases(no_profiles(1, 2), np.zeros(1), np.array([0, 0]), texts, np.array([1.0, 1.0]), ONE_MONTH)
    assert after.norms[0] == 0 and (after.vectors == 0).all() and after.weights[0] == 2


def test_customers_out_of_order_are_refused() -> None:
    texts = np.eye(2, dtype=np.float32)
    for index in ([1, 0], [0, 0], [0, 2]):
        with pytest.raises(ValueError, match="customer_index"):
            add_purchases(no_profiles(2, 2), np.zeros(2), np.array(index), texts, np.ones(2), ONE_MONTH)


def test_months_between_and_half_life() -> None:
    assert months_between(["2016-11", "2017-02", "2015-02"], "2017-02").tolist() == [3, 0, 24]
    with pytest.raises(ValueError, match="above 0"):
        ProfileParameters(half_life_months=0)


@pytest.fixture
def store(settings: Settings) -> VectorStore:
    """A store that holds the vectors of TEXTS."""
    store = open_vectors(settings)
    vectors = np.random.default_rng(3).normal(size=(len(TEXTS), 384))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = pa.table(
        {
            "text_hash": TEXTS,
            "model": [MODEL] * len(TEXTS),
            "text": TEXTS,
            "product_ids": pa.array([[]] * len(TEXTS), pa.list_(pa.string())),
            "vector": vector_array(vectors),
        }
    )
    merge_rows(store.newest(PRODUCT_EMBEDDINGS), PRODUCT_EMBEDDINGS, rows)
    publish_texts(store)
    return store


def text_vectors(store: VectorStore) -> dict[str, np.ndarray]:
    rows = read_rows(store.at(PRODUCT_EMBEDDINGS), ["text_hash", "vector"]).to_pylist()
    return {row["text_hash"]: np.array(row["vector"], np.float64) for row in rows}


def purchases_of(seed: int) -> pa.Table:
    """A month in which some of 40 customers buy."""
    random = np.random.default_rng(seed)
    pairs = sorted({(f"c{random.integers(40):02d}", TEXTS[random.integers(12)]) for _ in range(60)})
    random.shuffle(pairs)
    return pa.table(
        {
            "customer_id": [customer for customer, _ in pairs],
            "text_hash": [text for _, text in pairs],
            "purchase_days": pa.array(random.integers(1, 6, size=len(pairs)), pa.int64()),
        }
    )


def write(store: VectorStore, month: str, purchases: pa.Table, model: str = MODEL) -> list[str]:
    count, stale = update_profiles(
        store, month, purchases, first_month=FIRST, model=model, parameters=ProfileParameters(2.0)
    )
    assert count == len(set(purchases["customer_id"].to_pylist()))
    return stale


def rows_at(store: VectorStore, tag: str) -> list[dict]:
    rows = read_rows(store.at(CUSTOMER_PROFILES, tag), CUSTOMER_PROFILES.column_names).to_pylist()
    return sorted(rows, key=lambda row: row["customer_id"])


MONTHS = {
    "2017-01": purchases_of(1),
    "2017-02": purchases_of(2),
    "2017-03": purchases_of(3),
    "2017-04": purchases_of(4),
}


def test_running_months_equal_all_of_history_at_once(store: VectorStore) -> None:
    for month, purchases in MONTHS.items():
        write(store, month, purchases)
    vectors = text_vectors(store)
    sums: dict[str, np.ndarray] = {}
    weights: dict[str, float] = {}
    last = {row["customer_id"]: row["month"] for row in rows_at(store, "prod")}
    for month, purchases in MONTHS.items():
        for row in purchases.to_pylist():
            customer = row["customer_id"]
            decayed = row["purchase_days"] * 0.5 ** (months_between([month], last[customer])[0] / 2)
            sums[customer] = sums.get(customer, 0) + decayed * vectors[row["text_hash"]]
            weights[customer] = weights.get(customer, 0) + decayed
    assert set(last) == set(sums) and set(last.values()) > {"2017-04"}
    for row in rows_at(store, "prod"):
        expected = sums[row["customer_id"]]
        np.testing.assert_allclose(np.array(row["vector"]) * row["norm"], expected, atol=1e-5)
        assert np.linalg.norm(row["vector"]) == pytest.approx(1, abs=1e-6)
        assert row["weight"] == pytest.approx(weights[row["customer_id"]], rel=1e-12)


def test_months_computed_again_give_identical_rows(store: VectorStore) -> None:
    for month, purchases in MONTHS.items():
        write(store, month, purchases)
    before = {month: rows_at(store, month) for month in MONTHS}
    assert write(store, "2017-04", MONTHS["2017-04"]) == []
    assert write(store, "2017-02", MONTHS["2017-02"]) == ["2017-03", "2017-04"]
    assert {month: rows_at(store, month) for month in MONTHS} == before
    write(store, "2017-03", MONTHS["2017-03"])
    write(store, "2017-04", MONTHS["2017-04"])
    assert {month: rows_at(store, month) for month in MONTHS} == before


def test_sums_in_parts_equal_the_sum_at_once(store: VectorStore, monkeypatch: pytest.MonkeyPatch) -> None:
    write(store, FIRST, MONTHS[FIRST])
    at_once = rows_at(store, FIRST)
    monkeypatch.setattr(customer_profiles, "_ROWS_AT_ONCE", 7)
    write(store, FIRST, MONTHS[FIRST])
    assert rows_at(store, FIRST) == at_once


def test_vectors_of_two_models_are_not_added(store: VectorStore) -> None:
    write(store, FIRST, MONTHS[FIRST])
    with pytest.raises(MissingMonth, match=r"another embedding model than 'other'.*from 2017-01 on"):
        write(store, "2017-02", MONTHS["2017-02"], model="other")
    write(store, FIRST, MONTHS[FIRST], model="other")
    assert {row["model"] for row in rows_at(store, "prod")} == {"other"}


def test_who_withdraws_has_no_profile_and_begins_anew(store: VectorStore) -> None:
    write(store, FIRST, MONTHS[FIRST])
    one, other = (row["customer_id"] for row in rows_at(store, FIRST)[:2])
    february = MONTHS["2017-02"].filter(pc.not_equal(MONTHS["2017-02"]["customer_id"], one))
    update_profiles(store, "2017-02", february, first_month=FIRST, model=MODEL, withdrawn=[one, "never bought"])
    left = {row["customer_id"] for row in rows_at(store, "2017-02")}
    assert one not in left and other in left
    assert one in {row["customer_id"] for row in rows_at(store, FIRST)}  # a month that is past stays as it was
    again = pa.table({"customer_id": [one], "text_hash": [TEXTS[3]], "purchase_days": [1]})
    write(store, "2017-03", again)
    begun = next(row for row in rows_at(store, "2017-03") if row["customer_id"] == one)
    assert begun["weight"] == 1
    np.testing.assert_allclose(begun["vector"], text_vectors(store)[TEXTS[3]], atol=1e-6)


def test_missing_month_before_and_missing_text(store: VectorStore) -> None:
    with pytest.raises(MissingMonth, match="no version '2017-01'"):
        write(store, "2017-02", MONTHS["2017-02"])
    unknown = pa.table({"customer_id": ["c1"], "text_hash": ["unknown"], "purchase_days": [1]})
    with pytest.raises(MissingMonth, match="lacks 1 of 1 texts"):
        write(store, FIRST, unknown)


def frequency_rows(spark: SparkSession, month: str, pairs: dict[tuple[str, str], int]):
    schema = "month string, customer_id string, product_id string, purchase_days int"
    rows = [(month, customer, product, days) for (customer, product), days in pairs.items()]
    return spark.createDataFrame(rows, schema)


def test_products_of_one_text_are_added_up(spark: SparkSession) -> None:
    frequency = frequency_rows(spark, FIRST, {("c1", "p1"): 2, ("c1", "p2"): 3, ("c1", "p3"): 1, ("c2", "p1"): 0})
    products = spark.createDataFrame([("p1", "x"), ("p2", "x"), ("p3", "y")], "product_id string, text_hash string")
    rows = purchases_by_text(frequency, products).collect()
    assert {(row.customer_id, row.text_hash, row.purchase_days) for row in rows} == {("c1", "x", 5), ("c1", "y", 1)}


def test_job_computes_months_from_the_lake(spark: SparkSession, settings: Settings, store: VectorStore) -> None:
    settings = settings.model_copy(update={"embedding_model": MODEL})
    lake = Lake(spark, settings.lake)
    changed = datetime(2017, 2, 1, 5, tzinfo=UTC)  # midnight in New York: January sees the text before
    start = datetime(1970, 1, 1, tzinfo=UTC)
    products = [("p1", TEXTS[0], start, changed), ("p1", TEXTS[1], changed, None), ("p2", TEXTS[2], start, None)]
    rows = [
        tuple(
            {
                "product_id": product,
                "name": text,
                "text": text,
                "text_hash": text,
                "is_subscribable": True,
                "is_in_stock": True,
                "valid_from": valid_from,
                "valid_to": valid_to,
            }.get(name)
            for name in PRODUCTS_TABLE.column_names
        )
        for product, text, valid_from, valid_to in products
    ]
    lake.replace_all(PRODUCTS_TABLE, spark.createDataFrame(rows, spark_schema(PRODUCTS_TABLE)))
    withdrawn = [
        tuple(
            {
                "customer_id": "c2",
                "consent_email": False,
                "consent_profiling": given,
                "valid_from": valid_from,
                "valid_to": valid_to,
            }.get(name)
            for name in CUSTOMERS_TABLE.column_names
        )
        for given, valid_from, valid_to in ((True, start, changed), (False, changed, None))
    ]
    lake.replace_all(CUSTOMERS_TABLE, spark.createDataFrame(withdrawn, spark_schema(CUSTOMERS_TABLE)))
    for month in ("2017-01", "2017-02"):
        frame = frequency_rows(spark, month, {("c1", "p1"): 2, ("c2", "p2"): 1})
        others = [f for f in spark_schema(PURCHASE_FREQUENCY) if f.name not in frame.columns]
        zeros = [f"CAST({'NULL' if f.nullable else '0'} AS {f.dataType.simpleString()}) AS {f.name}" for f in others]
        lake.replace_months(PURCHASE_FREQUENCY, frame.selectExpr("*", *zeros), [month])
    report = run(lake, settings, ["2017-02", "2017-01"])
    assert report.table == "gold/customer_profiles" and report.rows == {"2017-01": 2, "2017-02": 1}
    customers = {month: [row["customer_id"] for row in rows_at(store, month)] for month in ("2017-01", "2017-02")}
    assert customers == {"2017-01": ["c1", "c2"], "2017-02": ["c1"]}
    vectors = text_vectors(store)
    january, february = (np.array(rows_at(store, month)[0]["vector"]) for month in ("2017-01", "2017-02"))
    np.testing.assert_allclose(january, vectors[TEXTS[0]], atol=1e-6)
    both = 2 * 0.5 ** (1 / 3) * vectors[TEXTS[0]] + 2 * vectors[TEXTS[1]]
    np.testing.assert_allclose(february, both / np.linalg.norm(both), atol=1e-6)
