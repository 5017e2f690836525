"""What the discoveries of a month are chosen from: products bought lately, histories, proposals. Not a program.

What all customers' purchases say of the products is learned here, on the driver; a task proposes to its customers.
"""

from dataclasses import dataclass
from math import ceil

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, GroupedData, Window
from pyspark.sql import functions as F
from scipy import sparse

from transforms.affinity import item_weights
from transforms.discovery import DiscoveryParams, Histories, Proposals, Shelf
from transforms.thinning import hashed
from warehouse.contracts.features import decayed_name
from warehouse.contracts.gold import REPLENISHMENT_STATE
from warehouse.lake import Lake
from warehouse.months import last_date

_NAMES = ["product_id", "need", "category"]
_AT_ONCE = 500
"""Customers looked at together: each of their dense matrices is some 10 MB."""


@dataclass(frozen=True)
class Stock:
    """The shelf, and its products by position: ``product_id``, ``need``, ``category``."""

    shelf: Shelf
    products: pa.Table


def take_stock(lake: Lake, month: str, goods: DataFrame, params: DiscoveryParams) -> Stock | None:
    """What may be discovered at the end of the month; ``None`` where nothing was bought lately."""
    state = lake.require_months(REPLENISHMENT_STATE, [month])
    lately = F.date_sub(F.lit(last_date(month)), params.recent_days)
    sold = state.join(F.broadcast(goods), on="product_id", how="inner")
    products = sold.groupBy("product_id", "need", "category").agg(
        F.count_if(F.col("last_ordered_date") > lately).alias("recent"),
        F.count(F.lit(1)).alias("buyers"),
        F.count_if(F.col("first_ordered_date") > lately).alias("newcomers"),
        *[F.sum(decayed_name(days)).alias(f"purchases_{days}d") for days in (15, 45)],
    )
    of_need = Window.partitionBy("need")
    sums = {f"need_{name}": F.sum(name).over(of_need) for name in ("purchases_15d", "newcomers")}
    bought_lately = products.withColumns(sums).where(F.col("recent") > 0)
    popular = bought_lately.orderBy(F.desc("recent"), "product_id").limit(params.products).toArrow()
    if popular.num_rows == 0:
        return None
    on_shelf, figures = popular.select(_NAMES), popular.drop_columns([*_NAMES, "recent"])
    pairs = sample(pairs_of(lake, month, goods, on_shelf), params.customers)
    shelf = Shelf(
        **{name: _position(popular[name])[1] for name in ("need", "category")},
        **{name: figures[name].to_numpy() for name in figures.column_names},
        weights=item_weights(_bought(pairs, popular.num_rows), params.ridge),
    )
    return Stock(shelf, on_shelf)


def _position(names: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct names in order, and each one's position among them."""
    return np.unique(names.to_numpy(zero_copy_only=False), return_inverse=True)


def pairs_of(lake: Lake, month: str, goods: DataFrame, products: pa.Table) -> DataFrame:
    """What customers had bought by the end of the month: ``customer_id`` and the columns of ``Histories``.

    Args:
        lake: holds the month's state.
        month: YYYY-MM.
        goods: ``product_id, need, category``; pairs of other products are left out.
        products: those on the shelf (:class:`Stock`).
    """
    places = {"product": (products["product_id"].to_numpy(zero_copy_only=False), "product_id")}
    places |= {name: (_position(products[name])[0], name) for name in ("need", "category")}
    known = goods
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


def _bought(pairs: DataFrame, products: int) -> sparse.csr_array:
    rows = pairs.where("product >= 0").select("customer_id", "product").toArrow()
    customers, row = _position(rows["customer_id"])
    cells = (np.ones(rows.num_rows, np.float32), (row, rows["product"].to_numpy()))
    return sparse.csr_array(cells, shape=(len(customers), products))


def in_parts(pairs: DataFrame, customers: DataFrame | None = None) -> GroupedData:
    """The pairs in parts of some customers each. A customer without any pair has one row of nulls."""
    known = pairs.select("customer_id")
    everyone = (known if customers is None else known.unionByName(customers.select("customer_id"))).distinct()
    parts = F.pmod(F.xxhash64("customer_id"), F.lit(ceil(everyone.count() / _AT_ONCE)))
    return everyone.join(pairs, on="customer_id", how="left").groupBy(parts)


def propose(rows: pa.Table, stock: Stock, params: DiscoveryParams) -> tuple[np.ndarray, Proposals]:
    """The customers of a part, in order, and what is proposed to them."""
    customers, row = _position(rows["customer_id"])
    is_pair = rows["product"].is_valid().to_numpy()
    pairs = {name: rows[name].to_numpy()[is_pair] for name in rows.column_names if name != "customer_id"}
    for name in ("product", "need", "category"):
        pairs[name] = pairs[name].astype(np.int64)
    return customers, Proposals(Histories(len(customers), row[is_pair], **pairs), stock.shelf, params)
