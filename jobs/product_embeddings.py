"""silver/products → gold/product_embeddings: every distinct product text embedded once, indexed, and published.

The vector of a text depends on nothing but the text, so this table has no months: it holds every text of the
catalogue's history, and a text that is there already is not computed again. Run by hand with
``python -m jobs.product_embeddings --month 2017-05``; whatever the month, the whole catalogue is looked at.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.cli import run_job
from jobs.report import JobReport
from warehouse.contracts.silver import PRODUCTS_TABLE
from warehouse.contracts.vectors import PRODUCT_EMBEDDINGS
from warehouse.embeddings import Embedder, TextEncoder
from warehouse.errors import MissingMonth
from warehouse.lake import Lake
from warehouse.settings import Settings
from warehouse.text_index import publish_texts
from warehouse.vectors import (
    PROD,
    VectorStore,
    merge_rows,
    open_vectors,
    read_keys,
    read_rows,
    vector_array,
)

if TYPE_CHECKING:
    from lancedb.table import LanceTable

# Merged chunk by chunk, so that a run that breaks off in a large catalogue goes on where it was.
_TEXTS_A_MERGE = 50_000


def run(lake: Lake, settings: Settings, months: Sequence[str]) -> JobReport:
    """Embeds the texts that are new, and lets readers see them once the index has passed its recall check.

    Raises:
        MissingMonth: ``silver/products`` is empty.
        QualityGateError: the index finds too little of what exact search finds; readers keep the old version.
        SettingsError: the embedding model cannot be used.
    """
    texts = catalogue_texts(lake.read(PRODUCTS_TABLE)).toArrow()
    if not texts.num_rows:
        raise MissingMonth(f"{PRODUCTS_TABLE.name} is empty: materialize it first")
    return refresh_embeddings(open_vectors(settings), texts, Embedder(settings.embedding_model))


def catalogue_texts(products: DataFrame) -> DataFrame:
    """One row a text of the catalogue's history: ``text_hash``, ``text``, ``product_ids`` that carry it today, sorted.

    Texts of the past are kept because a month computed again needs them.
    """
    holds_today = F.when(F.col("valid_to").isNull(), F.col("product_id"))
    return products.groupBy("text_hash").agg(
        F.min("text").alias("text"), F.array_sort(F.collect_set(holds_today)).alias("product_ids")
    )


def refresh_embeddings(
    store: VectorStore, texts: pa.Table, embedder: TextEncoder, min_recall: float = 0.95
) -> JobReport:
    """Brings ``product_embeddings`` up to date; no new version where nothing changed.

    Args:
        store: where.
        texts: ``text_hash``, ``text``, ``product_ids``; one row a text, all texts of the catalogue.
        embedder: the model; rows that another model made are computed again or, if no longer in ``texts``, deleted.
        min_recall: least recall@10 of the index.

    Raises:
        QualityGateError: the recall is lower.
    """
    handle = store.newest(PRODUCT_EMBEDDINGS)
    known = read_rows(handle, ["text_hash", "model", "product_ids"])
    by_this_model = known.filter(pc.equal(known["model"], embedder.model_name))
    to_embed = texts.filter(pc.invert(pc.is_in(texts["text_hash"], by_this_model["text_hash"].combine_chunks())))
    relabelled = _with_new_products(by_this_model, texts)
    for start in range(0, to_embed.num_rows, _TEXTS_A_MERGE):
        merge_rows(handle, PRODUCT_EMBEDDINGS, _embedded(to_embed.slice(start, _TEXTS_A_MERGE), embedder))
    if relabelled.num_rows:
        merge_rows(handle, PRODUCT_EMBEDDINGS, _with_vectors(handle, relabelled))
    if by_this_model.num_rows < known.num_rows:
        handle.delete(_made_by_others(embedder.model_name))
    written = to_embed.num_rows + relabelled.num_rows
    details = {"model": embedder.model_name, "embedded": to_embed.num_rows, "relabelled": relabelled.num_rows}
    if not written and store.tags(PRODUCT_EMBEDDINGS).get(PROD) == handle.version:
        return JobReport(PRODUCT_EMBEDDINGS.name, {"all": 0}, {**details, "version": handle.version})
    published = publish_texts(store, min_recall)
    details |= {
        "version": published.version,
        "texts": published.texts,
        "is_indexed": published.is_indexed,
        "recall_at_10": round(published.recall_at_10, 4),
    }
    return JobReport(PRODUCT_EMBEDDINGS.name, {"all": written}, details)


def _with_new_products(known: pa.Table, texts: pa.Table) -> pa.Table:
    """``text_hash`` and ``product_ids`` of the known texts whose products changed; none left: an empty list."""
    now = dict(zip(texts["text_hash"].to_pylist(), texts["product_ids"].to_pylist(), strict=True))
    before = zip(known["text_hash"].to_pylist(), known["product_ids"].to_pylist(), strict=True)
    changed = {text_hash: now.get(text_hash, []) for text_hash, ids in before if now.get(text_hash, []) != ids}
    return pa.table(
        {
            "text_hash": pa.array(changed.keys(), pa.string()),
            "product_ids": pa.array(changed.values(), pa.list_(pa.string())),
        }
    )


def _embedded(texts: pa.Table, embedder: TextEncoder) -> pa.Table:
    vectors = embedder.encode(texts["text"].to_pylist())
    return texts.append_column("model", pa.repeat(embedder.model_name, texts.num_rows)).append_column(
        "vector", vector_array(vectors)
    )


def _with_vectors(handle: "LanceTable", relabelled: pa.Table) -> pa.Table:
    columns = ["text_hash", "model", "text", "vector"]
    rows = read_keys(handle, "text_hash", relabelled["text_hash"].to_pylist(), columns)
    order = pc.index_in(rows["text_hash"], relabelled["text_hash"].combine_chunks())
    return rows.append_column("product_ids", relabelled["product_ids"].take(order))


def _made_by_others(model_name: str) -> str:
    from lancedb.expr import col

    return col("model").ne(model_name).to_sql()


if __name__ == "__main__":
    run_job(run, __doc__)
