"""What the discoveries of a month are chosen from: products bought lately, histories, proposals. Not a program.

What all customers' purchases and the texts say of the products is learned here, on the driver; a task proposes to its
customers, whose profiles it reads.
"""

from dataclasses import dataclass
from hashlib import blake2b
from math import ceil

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, GroupedData, Window
from pyspark.sql import functions as F
from scipy import sparse

from transforms.discovery import DiscoveryParams, Histories, Peers, Proposals, Shelf
from transforms.ease import item_weights
from transforms.needs import category, need
from transforms.thinning import hashed
from warehouse.contracts.features import decayed_name
from warehouse.contracts.gold import REPLENISHMENT_STATE
from warehouse.contracts.vectors import CUSTOMER_PROFILES
from warehouse.lake import Lake
from warehouse.months import last_date
from warehouse.settings import Settings
from warehouse.text_index import read_text_vectors
from warehouse.vectors import open_vectors, read_keys, vectors_of

_NAMES = ["product_id", "need", "category", "text_hash"]
_DIMENSIONS = CUSTOMER_PROFILES.column("vector").type.list_size
_AT_ONCE = 500
"""Customers looked at together: each of their dense matrices is some 10 MB."""


@dataclass(frozen=True)
class Stock:
    """The shelf at the end of ``month``, its products by position (``product_id``, ``need``, ``category``), and the
    customers among whom those of a like profile are sought.
    """

    month: str
    shelf: Shelf
    products: pa.Table
    peers: Peers


def goods_of(products: DataFrame) -> DataFrame:
    """``product_id, need, category, text_hash`` of products of the catalogue, as goods are told of below."""
    return products.select("product_id", need().alias("need"), category().alias("category"), "text_hash")


def take_stock(lake: Lake, settings: Settings, month: str, goods: DataFrame, params: DiscoveryParams) -> Stock | None:
    """What may be discovered at the end of the month; ``None`` where nothing was bought lately.

    Raises:
        MissingMonth: the month has no state or no profiles, or an arrival's text no vector.
    """
    bought_lately = _bought_lately(lake, month, goods, params.recent_days)
    by_buyers = [F.desc("recent"), F.asc("product_id")]
    popular = bought_lately.orderBy(*by_buyers).limit(params.products).toArrow()
    if popular.num_rows == 0:
        return None
    arrived = bought_lately.where("newcomers = buyers").orderBy(*by_buyers)
    # Some of the most bought are new as well; of them enough is known.
    arrivals = arrived.limit(params.arrivals + popular.num_rows).toArrow()
    is_popular = pc.is_in(arrivals["product_id"], popular["product_id"].combine_chunks())
    arrivals = arrivals.filter(pc.invert(is_popular)).slice(0, params.arrivals)
    rows = pa.concat_tables([popular, arrivals])
    on_shelf, figures = rows.select(_NAMES), rows.drop_columns([*_NAMES, "recent"])
    pairs = sample(pairs_of(lake, month, goods, on_shelf), params.customers)
    bought = _bought(pairs, rows.num_rows)
    shelf = Shelf(
        **{name: _position(rows[name])[1] for name in ("need", "category")},
        **{name: figures[name].to_numpy() for name in figures.column_names},
        weights=item_weights((bought.cells > 0).astype(np.float32)[:, : popular.num_rows], params.ridge),
        similarity=_similarity(settings, on_shelf["text_hash"], popular.num_rows, params.min_similarity),
    )
    return Stock(month, shelf, on_shelf, _peers(settings, month, bought, params.peers))


def _bought_lately(lake: Lake, month: str, goods: DataFrame, recent_days: int) -> DataFrame:
    """The goods bought lately, with the figures of :class:`Shelf` and ``recent``, who bought them lately."""
    state = lake.require_months(REPLENISHMENT_STATE, [month])
    lately = F.date_sub(F.lit(last_date(month)), recent_days)
    sold = state.join(F.broadcast(goods), on="product_id", how="inner")
    products = sold.groupBy(*_NAMES).agg(
        F.count_if(F.col("last_ordered_date") > lately).alias("recent"),
        F.count(F.lit(1)).alias("buyers"),
        F.count_if(F.col("first_ordered_date") > lately).alias("newcomers"),
        *[F.sum(decayed_name(days)).alias(f"purchases_{days}d") for days in (15, 45)],
    )
    of_need = Window.partitionBy("need")
    sums = {f"need_{name}": F.sum(name).over(of_need) for name in ("purchases_15d", "newcomers")}
    return products.withColumns(sums).where(F.col("recent") > 0)


def _similarity(settings: Settings, texts: pa.ChunkedArray, known: int, least: float) -> np.ndarray:
    """``(texts, arrivals)``: cosine of each text and those after the first ``known``; 0 where it is below ``least``."""
    if len(texts) == known:
        return np.zeros((known, 0), np.float32)
    distinct, place = _position(texts)
    vectors = read_text_vectors(open_vectors(settings), distinct.tolist())[place]
    cosine = vectors @ vectors[known:].T
    return np.where(cosine >= least, cosine, 0.0).astype(np.float32)


def _position(names: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct names in order, and each one's position among them."""
    return np.unique(names.to_numpy(zero_copy_only=False), return_inverse=True)


def pairs_of(lake: Lake, month: str, goods: DataFrame, products: pa.Table) -> DataFrame:
    """What customers had bought by the end of the month: ``customer_id`` and the columns of ``Histories``.

    Args:
        lake: holds the month's state.
        month: YYYY-MM.
        goods: ``product_id, need, category``, and more; pairs of other products are left out.
        products: those on the shelf (:class:`Stock`).
    """
    places = {"product": (products["product_id"].to_numpy(zero_copy_only=False), "product_id")}
    places |= {name: (_position(products[name])[0], name) for name in ("need", "category")}
    known = goods.select("product_id", "need", "category")
    for name, (values, key) in places.items():
        columns = {key: values, f"{name}_place": np.arange(len(values), dtype=np.int32)}
        known = known.join(F.broadcast(lake.spark.createDataFrame(pa.table(columns))), on=key, how="left")
    state = lake.require_months(REPLENISHMENT_STATE, [month]).join(F.broadcast(known), on="product_id", how="inner")
    end = F.lit(last_date(month))
    return state.select(
        "customer_id",
        *[F.coalesce(f"{name}_place", F.lit(-1)).alias(name) for name in places],
        F.datediff(end, "last_ordered_date").cast("double").alias("since_last"),
        F.datediff(end, "first_ordered_date").cast("double").alias("since_first"),
        *[F.col(decayed_name(days)).alias(f"purchases_{days}d") for days in (15, 45)],
    )


def sample(pairs: DataFrame, most: int) -> DataFrame:
    """The pairs of about ``most`` customers, taken by a hash."""
    count = pairs.select("customer_id").distinct().count()
    return pairs.where(hashed("customer_id") < most / max(count, 1))


@dataclass(frozen=True)
class _Bought:
    """Who bought what on the shelf: ``cells`` are ``(customers, products)``, purchase days weighted by recency."""

    customers: np.ndarray
    cells: sparse.csr_array


def _bought(pairs: DataFrame, products: int) -> _Bought:
    rows = pairs.where("product >= 0").select("customer_id", "product", "purchases_45d").toArrow()
    customers, row = _position(rows["customer_id"])
    # What was bought long ago is close to nothing, and bought all the same.
    decayed = np.maximum(rows["purchases_45d"].to_numpy(), 1e-6).astype(np.float32)
    cells = decayed, (row, rows["product"].to_numpy())
    return _Bought(customers, sparse.csr_array(cells, shape=(len(customers), products)))


def _peers(settings: Settings, month: str, bought: _Bought, most: int) -> Peers:
    """Some of the customers with their profiles."""
    few = draw(bought.customers, most)
    return Peers(_profiles(settings, month, bought.customers[few]), bought.cells[few])


def draw(customers: np.ndarray, most: int) -> np.ndarray:
    """Positions, in order, of those whose id has the least hash: one customer more takes the place of one at most."""
    by_hash = sorted(range(len(customers)), key=lambda place: blake2b(customers[place].encode()).digest())
    return np.sort(np.array(by_hash[:most], dtype=np.int64))


def _profiles(settings: Settings, month: str, customers: np.ndarray) -> np.ndarray:
    """The customers' profiles at the end of the month, ``(customers, 384)``; zeros where there is none."""
    table = open_vectors(settings).at(CUSTOMER_PROFILES, month)
    rows = read_keys(table, "customer_id", customers.tolist(), ["customer_id", "vector"])
    found = np.zeros((len(customers), _DIMENSIONS), np.float32)
    found[pc.index_in(rows["customer_id"], pa.array(customers, pa.string())).to_numpy()] = vectors_of(rows)
    return found


def in_parts(pairs: DataFrame, customers: DataFrame | None = None) -> GroupedData:
    """The pairs in parts of some customers each. A customer without any pair has one row of nulls."""
    known = pairs.select("customer_id")
    everyone = (known if customers is None else known.unionByName(customers.select("customer_id"))).distinct()
    parts = F.pmod(F.xxhash64("customer_id"), F.lit(ceil(everyone.count() / _AT_ONCE)))
    return everyone.join(pairs, on="customer_id", how="left").groupBy(parts)


def propose(rows: pa.Table, settings: Settings, stock: Stock, params: DiscoveryParams) -> tuple[np.ndarray, Proposals]:
    """The customers of a part, in order, and what is proposed to them."""
    customers, row = _position(rows["customer_id"])
    is_pair = rows["product"].is_valid().to_numpy()
    pairs = {name: rows[name].to_numpy()[is_pair] for name in rows.column_names if name != "customer_id"}
    for name in ("product", "need", "category"):
        pairs[name] = pairs[name].astype(np.int64)
    histories = Histories(len(customers), row[is_pair], **pairs)
    peers_buy = stock.peers.buy(_profiles(settings, stock.month, customers), params.neighbours)
    return customers, Proposals(histories, stock.shelf, peers_buy, params)
