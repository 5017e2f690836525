"""The embedding model itself, and the refresh of product embeddings: what is computed, kept, and published."""

import hashlib
import socket
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from jobs.product_embeddings import catalogue_texts, refresh_embeddings, run
from warehouse import embeddings
from warehouse.contracts.silver import PRODUCTS_TABLE
from warehouse.contracts.table import spark_schema
from warehouse.contracts.vectors import PRODUCT_EMBEDDINGS
from warehouse.embeddings import BUNDLED_MODEL, Embedder
from warehouse.errors import MissingMonth, SettingsError
from warehouse.lake import Lake
from warehouse.settings import Settings
from warehouse.text_index import nearest_texts
from warehouse.vectors import VectorStore, open_vectors, read_rows

MILK, CHEESE, MOTOR_OIL = "Whole Milk, 1 Gallon, Dairy", "Cheddar Cheese, 8 Oz, Dairy", "Motor Oil 5W-30, 1 Quart"


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder()


class CountingEmbedder:
    """The real model, with a record of what it was asked."""

    def __init__(self, embedder: Embedder, model_name: str = BUNDLED_MODEL) -> None:
        self.model_name = model_name
        self.asked: list[str] = []
        self._embedder = embedder

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        return self._embedder.encode(texts)


def text_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def text_table(products: dict[str, list[str]]) -> pa.Table:
    """Texts with the products that carry them."""
    return pa.table(
        {
            "text_hash": [text_hash(text) for text in products],
            "text": list(products),
            "product_ids": pa.array(list(products.values()), pa.list_(pa.string())),
        }
    )


def product_row(
    product_id: str,
    text: str,
    valid_from: datetime = datetime(1970, 1, 1, tzinfo=UTC),
    valid_to: datetime | None = None,
) -> tuple:
    """A row of silver/products."""
    known = {
        "product_id": product_id,
        "name": text,
        "is_subscribable": True,
        "is_in_stock": True,
        "text": text,
        "text_hash": text_hash(text),
        "valid_from": valid_from,
        "valid_to": valid_to,
    }
    return tuple(known.get(name) for name in PRODUCTS_TABLE.column_names)


def stored(store: VectorStore) -> dict[str, dict]:
    rows = read_rows(store.at(PRODUCT_EMBEDDINGS), ["text", "model", "product_ids", "vector"])
    return {row["text"]: row for row in rows.to_pylist()}


def test_bundled_model_knows_groceries_and_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the bundled model went to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    vectors = Embedder().encode([MILK, CHEESE, MOTOR_OIL])
    assert vectors.shape == (3, 384) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2


def test_vectors_come_back_in_the_order_of_the_texts(embedder: Embedder) -> None:
    texts = [MILK, "A " + "very " * 300 + "long description", "Tea", CHEESE]
    together = embedder.encode(texts)
    alone = np.vstack([embedder.encode([text]) for text in texts])
    assert ((together * alone).sum(axis=1) > 0.999).all()
    assert embedder.encode([]).shape == (0, 384)


def test_fast_arithmetic_turns_vectors_by_less_than_a_hundredth(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [MILK, CHEESE, MOTOR_OIL, "Tea"]
    fast = embedder.encode(texts)
    monkeypatch.setattr(embeddings, "_fast_arithmetic", lambda device: nullcontext())
    assert np.linalg.norm(fast - embedder.encode(texts), axis=1).max() < 0.01


def test_unusable_model_is_an_error_that_names_the_variable(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(SettingsError, match=r"REPLENISH_EMBEDDING_MODEL is .*It takes"):
        Embedder(str(tmp_path / "model")).encode(["milk"])


def test_only_new_texts_are_embedded_and_no_change_makes_no_version(tmp_path: Path, embedder: Embedder) -> None:
    store, model = VectorStore(str(tmp_path / "vectors")), CountingEmbedder(embedder)
    first = refresh_embeddings(store, text_table({MILK: ["p1", "p2"], CHEESE: ["p3"]}), model)
    assert model.asked == [MILK, CHEESE]
    assert first.details["recall_at_10"] == 1.0 and not first.details["is_indexed"]

    version = store.newest(PRODUCT_EMBEDDINGS).version
    again = refresh_embeddings(store, text_table({CHEESE: ["p3"], MILK: ["p1", "p2"]}), model)
    assert again.row_count == 0 and again.details["version"] == version
    assert store.newest(PRODUCT_EMBEDDINGS).version == version

    model.asked.clear()
    milk_before = stored(store)[MILK]["vector"]
    third = refresh_embeddings(store, text_table({MILK: ["p1", "p2", "p4"], MOTOR_OIL: ["p5"], CHEESE: []}), model)
    assert model.asked == [MOTOR_OIL]
    assert third.details["embedded"] == 1 and third.details["relabelled"] == 2
    rows = stored(store)
    assert {text: row["product_ids"] for text, row in rows.items()} == {
        MILK: ["p1", "p2", "p4"],
        MOTOR_OIL: ["p5"],
        CHEESE: [],
    }
    assert rows[MILK]["vector"] == milk_before


def test_another_model_computes_everything_again(tmp_path: Path, embedder: Embedder) -> None:
    store = VectorStore(str(tmp_path / "vectors"))
    refresh_embeddings(store, text_table({MILK: ["p1"], MOTOR_OIL: ["p2"]}), CountingEmbedder(embedder))
    other = CountingEmbedder(embedder, model_name="our/model's next")
    refresh_embeddings(store, text_table({MILK: ["p1"], CHEESE: ["p3"]}), other)
    assert sorted(other.asked) == sorted([MILK, CHEESE])
    assert {text: row["model"] for text, row in stored(store).items()} == dict.fromkeys(
        [MILK, CHEESE], "our/model's next"
    )


def test_a_run_that_broke_off_is_published_by_the_next(tmp_path: Path, embedder: Embedder) -> None:
    store, model = VectorStore(str(tmp_path / "vectors")), CountingEmbedder(embedder)
    texts = text_table({MILK: ["p1"], CHEESE: ["p3"]})
    refresh_embeddings(store, texts, model)
    first = store.tags(PRODUCT_EMBEDDINGS)["prod"]
    handle = store.newest(PRODUCT_EMBEDDINGS)
    handle.delete(f"text_hash = '{text_hash(CHEESE)}'")  # a write whose publication never came
    model.asked.clear()
    refresh_embeddings(store, texts, model)
    assert model.asked == [CHEESE]
    assert store.tags(PRODUCT_EMBEDDINGS)["prod"] == store.newest(PRODUCT_EMBEDDINGS).version > first


def test_job_reads_the_catalogue_and_publishes(spark: SparkSession, settings: Settings) -> None:
    lake = Lake(spark, settings.lake)
    with pytest.raises(MissingMonth, match="silver/products"):
        run(lake, settings, ["2017-01"])
    rows = [
        product_row("p2", MILK),
        product_row("p1", MILK),
        product_row("p3", CHEESE, valid_to=datetime(2017, 2, 1, tzinfo=UTC)),
        product_row("p3", "Aged " + CHEESE, valid_from=datetime(2017, 2, 1, tzinfo=UTC)),
    ]
    lake.replace_all(PRODUCTS_TABLE, spark.createDataFrame(rows, spark_schema(PRODUCTS_TABLE)))

    texts = {row["text"]: row["product_ids"] for row in catalogue_texts(lake.read(PRODUCTS_TABLE)).collect()}
    assert texts == {MILK: ["p1", "p2"], CHEESE: [], "Aged " + CHEESE: ["p3"]}
    report = run(lake, settings, ["2017-01"])
    assert report.table == "gold/product_embeddings" and report.rows == {"all": 3}
    assert run(lake, settings, ["2017-02"]).row_count == 0
    near = nearest_texts(open_vectors(settings), [text_hash(CHEESE)], k=2).to_pylist()
    assert [row["neighbour_hash"] for row in near] == [text_hash(CHEESE), text_hash("Aged " + CHEESE)]
