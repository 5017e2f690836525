"""The vector store over a real LanceDB: search, the recall gate, and the months of a running table."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import warehouse.text_index as text_index
from warehouse.contracts.vectors import CUSTOMER_PROFILES, PRODUCT_EMBEDDINGS
from warehouse.errors import MissingMonth, QualityGateError, StoreUnavailable
from warehouse.settings import load_settings
from warehouse.text_index import nearest_texts, publish_texts, read_text_vectors
from warehouse.vectors import (
    EMPTY,
    PROD,
    VectorStore,
    merge_rows,
    month_before,
    open_vectors,
    read_rows,
    vector_array,
    write_month,
)

FIRST = "2017-01"


def unit_vectors(count: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, 384))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def hashes_of(count: int) -> list[str]:
    return [hashlib.sha256(str(number).encode()).hexdigest() for number in range(count)]


def text_rows(hashes: list[str], vectors: np.ndarray) -> pa.Table:
    return pa.table(
        {
            "text_hash": hashes,
            "model": ["test"] * len(hashes),
            "text": hashes,
            "product_ids": pa.array([[f"p-{text_hash[:6]}"] for text_hash in hashes], pa.list_(pa.string())),
            "vector": vector_array(vectors),
        }
    )


@pytest.fixture
def store(tmp_path: Path) -> VectorStore:
    return open_vectors(load_settings(home=tmp_path))


def fill(store: VectorStore, vectors: np.ndarray, start: int = 0) -> list[str]:
    """Merges the vectors from ``start`` on, without publishing them; returns all hashes."""
    hashes = hashes_of(len(vectors))
    merge_rows(store.newest(PRODUCT_EMBEDDINGS), PRODUCT_EMBEDDINGS, text_rows(hashes[start:], vectors[start:]))
    return hashes


def test_tables_are_created_by_contract_with_a_declared_key(store: VectorStore) -> None:
    schema = store.newest(PRODUCT_EMBEDDINGS).schema
    assert schema.names == list(PRODUCT_EMBEDDINGS.column_names)
    assert not any(field.nullable for field in schema)
    assert schema.field("text_hash").metadata == {b"lance-schema:unenforced-primary-key:position": b"1"}
    assert store.tags(PRODUCT_EMBEDDINGS) == {EMPTY: store.newest(PRODUCT_EMBEDDINGS).version}
    assert store.tags(CUSTOMER_PROFILES) == {}


def test_a_small_table_is_searched_exactly(store: VectorStore) -> None:
    vectors = unit_vectors(600)
    hashes = fill(store, vectors)
    published = publish_texts(store)
    assert (published.texts, published.is_indexed, published.recall_at_10) == (600, False, 1.0)

    asked = [hashes[number] for number in range(0, 600, 7)][::-1]
    found = nearest_texts(store, asked, k=5)
    assert found.schema.types == [pa.string(), pa.string(), pa.float64(), pa.int32()]
    assert found["text_hash"].to_pylist() == [text_hash for text_hash in asked for _ in range(5)]
    assert found["rank"].to_pylist() == [1, 2, 3, 4, 5] * len(asked)
    similarities = vectors @ vectors.T
    for start, text_hash in enumerate(asked):
        row = similarities[hashes.index(text_hash)]
        best = np.argsort(-row)[:5]
        part = found.slice(start * 5, 5)
        assert part["neighbour_hash"].to_pylist() == [hashes[number] for number in best]
        np.testing.assert_allclose(part["similarity"].to_numpy(), row[best], atol=1e-5)
    assert nearest_texts(store, asked[:1], k=1)["neighbour_hash"].to_pylist() == asked[:1]
    assert nearest_texts(store, [], k=5).num_rows == 0
    np.testing.assert_array_equal(read_text_vectors(store, hashes[5:2:-1]), vectors[5:2:-1])


def test_asking_for_a_text_that_is_not_there_says_what_to_do(store: VectorStore) -> None:
    with pytest.raises(MissingMonth, match="no version 'prod'"):
        nearest_texts(store, ["x"], k=5)
    fill(store, unit_vectors(10))
    publish_texts(store)
    with pytest.raises(MissingMonth, match="lacks 1 of 1 texts"):
        nearest_texts(store, ["o'no"], k=5)


def test_index_has_to_pass_the_recall_gate_before_prod_moves(
    store: VectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    centres = unit_vectors(40, seed=1)
    vectors = centres[np.arange(5_200) % 40] + 1.2 * unit_vectors(5_200)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    hashes = fill(store, vectors[:5_100])
    first = publish_texts(store)
    assert first.is_indexed and first.recall_at_10 >= 0.95
    assert store.tags(PRODUCT_EMBEDDINGS)[PROD] == first.version
    approximate, exact = (nearest_texts(store, hashes[:700], k=10, exact=exact) for exact in (False, True))
    assert np.isclose(approximate["similarity"], exact["similarity"]).mean() > 0.95

    fill(store, vectors, start=5_100)
    monkeypatch.setattr(text_index, "_probes", lambda handle: 1)
    with pytest.raises(QualityGateError, match=r"recall@10 of the index is 0\.\d+ and has to be 0.999"):
        publish_texts(store, min_recall=0.999)
    assert store.tags(PRODUCT_EMBEDDINGS)[PROD] == first.version
    assert store.at(PRODUCT_EMBEDDINGS).count_rows() == 5_100

    monkeypatch.undo()
    second = publish_texts(store)
    assert second.texts == 5_200 and store.at(PRODUCT_EMBEDDINGS).count_rows() == 5_200
    assert all(index.num_unindexed_rows == 0 for index in store.at(PRODUCT_EMBEDDINGS).list_indices())


def profile_rows(month: str, weights: dict[str, float]) -> pa.Table:
    count = len(weights)
    return pa.table(
        {
            "customer_id": list(weights),
            "month": [month] * count,
            "model": ["test"] * count,
            "weight": list(weights.values()),
            "norm": list(weights.values()),
            "vector": vector_array(unit_vectors(count)),
        }
    )


def weights_at(store: VectorStore, tag: str) -> dict[str, tuple[str, float]]:
    rows = read_rows(store.at(CUSTOMER_PROFILES, tag), ["customer_id", "month", "weight"]).to_pylist()
    return {row["customer_id"]: (row["month"], row["weight"]) for row in rows}


def test_each_month_is_a_tagged_version_and_prod_the_newest(store: VectorStore) -> None:
    assert write_month(store, CUSTOMER_PROFILES, "2017-01", FIRST, profile_rows("2017-01", {"a": 1, "b": 2})) == []
    assert write_month(store, CUSTOMER_PROFILES, "2017-02", FIRST, profile_rows("2017-02", {"b": 3, "c": 4})) == []
    assert write_month(store, CUSTOMER_PROFILES, "2017-03", FIRST, profile_rows("2017-03", {})) == []
    january = {"a": ("2017-01", 1), "b": ("2017-01", 2)}
    february = {"a": ("2017-01", 1), "b": ("2017-02", 3), "c": ("2017-02", 4)}
    assert weights_at(store, "2017-01") == january
    assert weights_at(store, "2017-02") == weights_at(store, "2017-03") == weights_at(store, PROD) == february
    assert {index.columns[0] for index in store.at(CUSTOMER_PROFILES).list_indices()} == {"customer_id"}


def test_an_older_month_computed_again_starts_from_the_month_before_it(store: VectorStore) -> None:
    for month, weights in (("2017-01", {"a": 1}), ("2017-02", {"b": 2}), ("2017-03", {"a": 3})):
        write_month(store, CUSTOMER_PROFILES, month, FIRST, profile_rows(month, weights))
    stale = write_month(store, CUSTOMER_PROFILES, "2017-01", FIRST, profile_rows("2017-01", {"d": 9}))
    assert stale == ["2017-02", "2017-03"]
    assert weights_at(store, "2017-01") == {"d": ("2017-01", 9)}
    assert weights_at(store, PROD) == {"a": ("2017-03", 3), "b": ("2017-02", 2)}  # until they are computed again
    write_month(store, CUSTOMER_PROFILES, "2017-02", FIRST, profile_rows("2017-02", {"b": 2}))
    write_month(store, CUSTOMER_PROFILES, "2017-03", FIRST, profile_rows("2017-03", {"a": 3}))
    assert weights_at(store, PROD) == {"d": ("2017-01", 9), "b": ("2017-02", 2), "a": ("2017-03", 3)}


def test_a_write_that_broke_off_is_undone_by_the_next(store: VectorStore) -> None:
    write_month(store, CUSTOMER_PROFILES, "2017-01", FIRST, profile_rows("2017-01", {"a": 1}))
    merge_rows(store.newest(CUSTOMER_PROFILES), CUSTOMER_PROFILES, profile_rows("2017-02", {"a": 7, "x": 7}))
    assert weights_at(store, PROD) == {"a": ("2017-01", 1)}
    write_month(store, CUSTOMER_PROFILES, "2017-02", FIRST, profile_rows("2017-02", {"b": 2}))
    assert weights_at(store, PROD) == {"a": ("2017-01", 1), "b": ("2017-02", 2)}


def test_a_month_without_its_month_before_is_refused(store: VectorStore) -> None:
    with pytest.raises(MissingMonth, match="no version '2017-01'"):
        write_month(store, CUSTOMER_PROFILES, "2017-02", FIRST, profile_rows("2017-02", {"a": 1}))
    with pytest.raises(MissingMonth, match="starts with 2017-01"):
        month_before(store, CUSTOMER_PROFILES, "2016-12", FIRST)
    assert month_before(store, CUSTOMER_PROFILES, FIRST, FIRST).count_rows() == 0


def test_an_unreachable_s3_store_is_a_transient_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    settings = load_settings(home=tmp_path, vectors_uri="s3://bucket/vectors", s3_endpoint="http://127.0.0.1:9")
    with pytest.raises(
        StoreUnavailable, match=r"REPLENISH_VECTORS_URI is .s3://bucket/vectors.: http://127.0.0.1:9 does not answer"
    ):
        open_vectors(settings).exists(PRODUCT_EMBEDDINGS)
