"""The vectors of product texts: their index, the gate on its recall, and the search for near texts.

Search is by text and not by product: products of one text cannot be told apart by it, and there are several times
fewer texts, so that a search over texts is both smaller and complete.
Not here: the store itself (``warehouse/vectors.py``) and the model (``warehouse/embeddings.py``).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from warehouse.contracts.vectors import PRODUCT_EMBEDDINGS
from warehouse.errors import MissingMonth, QualityGateError
from warehouse.vectors import PROD, VectorStore, read_keys, read_rows, settle, vectors_of

if TYPE_CHECKING:
    from lancedb.table import LanceTable

# Below it, exact search answers faster than an index is built.
MIN_INDEXED_ROWS = 5_000
_RECALL_QUERIES = 200
_RECALL_K = 10
# One call with a matrix of queries costs a fraction of as many calls with one; beyond this many it gets no better.
_QUERIES_A_CALL = 500


@dataclass(frozen=True)
class TextPublication:
    """The version of ``product_embeddings`` that readers see, and what its index finds of the exact answer."""

    version: int
    texts: int
    is_indexed: bool
    recall_at_10: float


def publish_texts(store: VectorStore, min_recall: float = 0.95) -> TextPublication:
    """Indexes the newest version of ``product_embeddings`` and moves ``prod`` to it if its recall suffices.

    The index is trained anew each time, which takes seconds for 20,000 texts. LanceDB's ``optimize`` would add the new
    vectors to it, but joins its partitions meanwhile, after which a search costs several times as much.

    Args:
        store: where.
        min_recall: least recall@10 of the index against exact search.

    Raises:
        QualityGateError: the recall is lower; ``prod`` stays where it is.
    """
    handle = store.newest(PRODUCT_EMBEDDINGS)
    for index in handle.list_indices():
        if index.columns == ["vector"]:
            handle.drop_index(index.name)
    settle(handle, PRODUCT_EMBEDDINGS)
    texts = handle.count_rows()
    is_indexed = texts >= MIN_INDEXED_ROWS
    if is_indexed:
        _train_index(handle)
    recall = measure_recall(handle) if is_indexed else 1.0
    if recall < min_recall:
        raise QualityGateError(
            f"{PRODUCT_EMBEDDINGS.name}: recall@{_RECALL_K} of the index is {recall:.3f} and has to be {min_recall:g}. "
            f"{PROD!r} stays at the version it had"
        )
    store.move_tag(PRODUCT_EMBEDDINGS, PROD, handle.version)
    return TextPublication(handle.version, texts, is_indexed, recall)


def measure_recall(handle: "LanceTable") -> float:
    """Recall@10 of the index against exact search, over 200 of the texts themselves.

    The sample is the 200 least text hashes: hashes are uniform, so it is random, yet the same each time. A neighbour
    counts if it is as similar as the exact tenth, so that ties are not held against the index.
    """
    hashes = sorted(read_rows(handle, ["text_hash"])["text_hash"].to_pylist())[:_RECALL_QUERIES]
    queries = vectors_of(read_keys(handle, "text_hash", hashes, ["vector"]))
    k = min(_RECALL_K, handle.count_rows())
    exact = _search(handle, queries, k, exact=True)
    found = _search(handle, queries, k, exact=False)
    limits = np.full(len(queries), np.inf)
    np.minimum.at(limits, exact["query_index"].to_numpy(), exact["similarity"].to_numpy())
    hits = found["similarity"].to_numpy() >= limits[found["query_index"].to_numpy()] - 1e-6
    return float(hits.sum() / (len(queries) * k))


def read_text_vectors(store: VectorStore, text_hashes: Sequence[str]) -> np.ndarray:
    """The vectors of texts, in ``prod``.

    Shape: float32 ``[text_hashes, 384]``, unit length, in the order given.

    Raises:
        MissingMonth: a text has not been embedded; materialize gold/product_embeddings first.
    """
    rows = read_keys(store.at(PRODUCT_EMBEDDINGS), "text_hash", text_hashes, ["text_hash", "vector"])
    place = {text_hash: index for index, text_hash in enumerate(rows["text_hash"].to_pylist())}
    missing = [text_hash for text_hash in text_hashes if text_hash not in place]
    if missing:
        raise MissingMonth(
            f"{PRODUCT_EMBEDDINGS.name} lacks {len(missing)} of {len(text_hashes)} texts: materialize it first"
        )
    return vectors_of(rows)[[place[text_hash] for text_hash in text_hashes]]


def nearest_texts(store: VectorStore, text_hashes: Sequence[str], k: int = 30, exact: bool = False) -> pa.Table:
    """The ``k`` texts of ``prod`` nearest to each given text, by cosine similarity.

    A text is its own nearest neighbour (similarity 1): other products of the same text are as similar as can be. The
    same version gives the same answer; an index trained anew may differ in the last few of ``k``, within its recall.

    Shape: one row a (``text_hash``, ``neighbour_hash``), sorted by text in the order given and by ``rank``:
    ``text_hash`` string, ``neighbour_hash`` string, ``similarity`` double in -1…1, ``rank`` int32 from 1.

    Args:
        store: where.
        text_hashes: distinct texts to look around.
        k: neighbours for each; all texts where there are fewer.
        exact: compare with every text instead of the index's nearest partitions.

    Raises:
        MissingMonth: a text has not been embedded.
    """
    handle = store.at(PRODUCT_EMBEDDINGS)
    found = _search(handle, read_text_vectors(store, text_hashes), k, exact)
    sources = pa.array(text_hashes, pa.string()).take(found["query_index"])
    ranks = pa.array(_ranks(found["query_index"].to_numpy()), pa.int32())
    columns = [sources, found["neighbour_hash"], found["similarity"], ranks]
    return pa.table(columns, names=["text_hash", "neighbour_hash", "similarity", "rank"])


def _search(handle: "LanceTable", queries: np.ndarray, k: int, exact: bool) -> pa.Table:
    """``query_index``, ``neighbour_hash``, ``similarity``: sorted by query, then nearest first, then hash."""
    parts = []
    for start in range(0, len(queries), _QUERIES_A_CALL):
        some = queries[start : start + _QUERIES_A_CALL]
        search = handle.search(some).distance_type("dot").select(["text_hash", "_distance"]).limit(k)
        search = search.bypass_vector_index() if exact else search.nprobes(_probes(handle))
        found = search.to_arrow()
        # LanceDB leaves the column out where there is one query.
        index = found["query_index"].to_numpy() if len(some) > 1 else np.zeros(found.num_rows)
        # Its dot distance of unit vectors is 1 - cosine.
        similarity = 1.0 - found["_distance"].to_numpy().astype(np.float64)
        parts.append(
            pa.table(
                {
                    "query_index": pa.array(index + start, pa.int64()),
                    "neighbour_hash": found["text_hash"],
                    "similarity": np.clip(similarity, -1.0, 1.0),
                }
            )
        )
    if not parts:
        return pa.table(
            {
                "query_index": pa.array([], pa.int64()),
                "neighbour_hash": pa.array([], pa.string()),
                "similarity": pa.array([], pa.float64()),
            }
        )
    order = [("query_index", "ascending"), ("similarity", "descending"), ("neighbour_hash", "ascending")]
    return pa.concat_tables(parts).sort_by(order)


def _ranks(query_index: np.ndarray) -> np.ndarray:
    """1, 2, 3, … within each run of equal values."""
    starts = np.flatnonzero(np.diff(query_index, prepend=-1))
    lengths = np.diff(starts, append=len(query_index))
    return np.arange(len(query_index)) - np.repeat(starts, lengths) + 1


def _train_index(handle: "LanceTable") -> None:
    """IVF_FLAT with √rows partitions: full vectors, so that what it finds is ranked exactly."""
    from lancedb.index import IvfFlat

    partitions = round(math.sqrt(handle.count_rows()))
    handle.create_index("vector", config=IvfFlat(distance_type="dot", num_partitions=partitions))


def _probes(handle: "LanceTable") -> int:
    """Partitions searched: 2·√partitions, a sixth of them at 20,000 texts and a sixteenth at a million."""
    return max(1, round(2 * math.sqrt(math.sqrt(handle.count_rows()))))
