"""State, catalogue and customers → gold/discoveries: what each customer never bought and may try next month.

The item weights are learned on the driver from a bounded sample of customers; all customers are scored in tasks. Run by
hand with ``python -m jobs.discoveries --month 2017-08``.
"""

from collections.abc import Callable, Sequence
from math import ceil

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from scipy import sparse

from jobs.cli import run_job
from jobs.report import JobReport
from transforms.catalogue import as_of_end_of
from transforms.discovery import ALSO_BOUGHT, TRENDING, DiscoveryParams, discover, isotonic_knots, item_weights
from transforms.eligibility import dismissed_lately, drop_reason, months_to_read
from transforms.needs import need
from warehouse.contracts.features import decayed_name
from warehouse.contracts.gold import DISCOVERIES, PURCHASE_FREQUENCY, REPLENISHMENT_STATE
from warehouse.contracts.silver import CUSTOMERS_TABLE, INTERACTIONS_TABLE, PRODUCTS_TABLE
from warehouse.lake import Lake
from warehouse.months import add_months, last_date
from warehouse.settings import Settings

_FOUND = (
    "customer_id string, product_id string, need string, place int, source string, related_product_id string, "
    "score double, probability double"
)
_AT_ONCE = 500
"""Customers scored together: their dense scores are some 10 MB."""

Knots = tuple[tuple[float, ...], tuple[float, ...]]


def run(lake: Lake, settings: Settings, months: Sequence[str]) -> JobReport:
    """Replaces the months of ``gold/discoveries``; empties them where ``REPLENISH_DISCOVERIES`` is 0.

    The first month has none: there is no month before it whose discoveries show how likely they are.

    Raises:
        MissingMonth: a month, or the one before it, has no state, or the month no frequency.
    """
    rows: dict[str, int] = {}
    for month in sorted(months):
        found = lake.read(DISCOVERIES, [])
        if settings.discoveries and month > settings.first_month:
            found = _allowed(lake, settings, month, _calibrated(lake, settings, month))
        rows[month] = lake.replace_months(DISCOVERIES, found.withColumn("month", F.lit(month)), [month])
    note = {} if settings.discoveries else {"note": "no list may carry discoveries (REPLENISH_DISCOVERIES)"}
    return JobReport(DISCOVERIES.name, rows, note)


def find_discoveries(
    lake: Lake,
    month: str,
    goods: DataFrame,
    params: DiscoveryParams | None = None,
    knots: Knots | None = None,
    customers: DataFrame | None = None,
) -> DataFrame:
    """Every customer's best products among ``goods`` that they had not bought by the end of the month.

    Shape: ``customer_id, product_id, need, place, source, related_product_id, score, probability`` (null without
    ``knots``), one row a (customer_id, product_id), at most ``params.kept`` a customer.

    Args:
        lake: holds the month's state.
        month: YYYY-MM.
        goods: ``product_id, need`` of what may be discovered.
        params: bounds.
        knots: what a score means as a probability.
        customers: ``customer_id`` of those who get some although they have not bought anything yet.

    Raises:
        MissingMonth: the month has no state.
    """
    params = params or DiscoveryParams()
    state = lake.require_months(REPLENISHMENT_STATE, [month])
    since = F.date_sub(F.lit(last_date(month)), params.recent_days)
    recent = state.where(F.col("last_ordered_date") > since).join(F.broadcast(goods), on="product_id", how="inner")
    trend = F.try_divide(F.sum(decayed_name(15)), F.sum(decayed_name(45)))
    buyers = recent.groupBy("product_id", "need").agg(F.count(F.lit(1)).alias("buyers"), trend.alias("trend"))
    popular = buyers.orderBy(F.desc("buyers"), "product_id").limit(params.products).toArrow()
    if popular.num_rows == 0:
        return lake.spark.createDataFrame([], _FOUND)
    places = popular.select(["product_id"]).append_column("place", pa.array(range(popular.num_rows), pa.int32()))
    bought = state.join(F.broadcast(lake.spark.createDataFrame(places)), on="product_id", how="inner")
    known = state.select("customer_id")
    everyone = (known if customers is None else known.unionByName(customers.select("customer_id"))).distinct()
    count = everyone.count()
    weights = _learn(bought, popular.num_rows, params, count)
    in_parts = everyone.join(bought.select("customer_id", "place"), on="customer_id", how="left")
    parts = F.pmod(F.xxhash64("customer_id"), F.lit(ceil(count / _AT_ONCE)))
    score = _scorer(lake.spark.sparkContext.broadcast(weights), popular, params.kept, knots)
    return in_parts.groupBy(parts).applyInArrow(score, _FOUND)


def _learn(bought: DataFrame, products: int, params: DiscoveryParams, customers: int) -> np.ndarray:
    """The item weights, from the purchases of a share of the customers, taken by a hash."""
    millionths = min(1_000_000, ceil(1_000_000 * params.customers / max(customers, 1)))
    sampled = bought.where(F.pmod(F.xxhash64("customer_id"), F.lit(1_000_000)) < millionths)
    rows = sampled.select("customer_id", "place").toArrow()
    return item_weights(_matrix(rows, products)[0], params.ridge)


def _matrix(rows: pa.Table, products: int) -> tuple[sparse.csr_array, np.ndarray]:
    """1 where a customer has bought a product; and the customers, in order. A null place is no purchase."""
    customers, row = np.unique(rows["customer_id"].to_numpy(zero_copy_only=False), return_inverse=True)
    place = rows["place"].to_numpy(zero_copy_only=False)
    is_bought = ~np.isnan(place.astype(np.float64))
    cells = (np.ones(is_bought.sum(), np.float32), (row[is_bought], place[is_bought].astype(np.int64)))
    return sparse.csr_array(cells, shape=(len(customers), products)), customers


def _scorer(weights: object, popular: pa.Table, kept: int, knots: Knots | None) -> Callable[[pa.Table], pa.Table]:
    """What a task does with the purchases of some customers; ``weights`` is Spark's broadcast of the array."""

    def score(rows: pa.Table) -> pa.Table:
        bought, customers = _matrix(rows, popular.num_rows)
        found = discover(bought, weights.value, popular["trend"].to_numpy(), popular["buyers"].to_numpy(), kept)
        count = found.product.shape[1]
        flat, related, scores = found.product.ravel(), found.related.ravel(), found.score.ravel()
        columns = {
            "customer_id": np.repeat(customers, count),
            "product_id": popular["product_id"].take(pa.array(flat)),
            "need": popular["need"].take(pa.array(flat)),
            "place": np.tile(np.arange(1, count + 1, dtype=np.int32), len(customers)),
            "source": np.where(related < 0, TRENDING, ALSO_BOUGHT),
            "related_product_id": popular["product_id"].take(pa.array(related, mask=related < 0)),
            "score": scores,
            "probability": np.interp(scores, *knots) if knots else pa.nulls(len(scores), pa.float64()),
        }
        return pa.table(columns).filter(pa.array(np.isfinite(scores)))

    return score


def _calibrated(lake: Lake, settings: Settings, month: str) -> DataFrame:
    """The month's discoveries with a probability: what became of those of the month before, by their score."""
    before = add_months(month, -1)
    earlier = find_discoveries(lake, before, _goods(lake, settings, before))
    bought = lake.require_months(PURCHASE_FREQUENCY, [month]).where("orders > 0")
    bought = bought.select("customer_id", "product_id", F.lit(True).alias("is_bought"))
    judged = earlier.join(bought, on=["customer_id", "product_id"], how="left")
    rows = judged.select("score", F.coalesce("is_bought", F.lit(False)).alias("is_bought")).toArrow()
    score, is_bought = rows["score"].to_numpy(), rows["is_bought"].to_numpy()
    knots = isotonic_knots(score, is_bought) if len(score) else None
    if knots is None:
        return lake.spark.createDataFrame([], _FOUND)
    customers = as_of_end_of(lake.read(CUSTOMERS_TABLE), month, settings.business_tz)
    return find_discoveries(lake, month, _goods(lake, settings, month), knots=knots, customers=customers)


def _goods(lake: Lake, settings: Settings, month: str) -> DataFrame:
    products = as_of_end_of(lake.read(PRODUCTS_TABLE), month, settings.business_tz)
    is_sold = F.coalesce("is_subscribable", F.lit(True)) & F.coalesce("is_in_stock", F.lit(True))
    return products.where(is_sold).select("product_id", need().alias("need"))


def _allowed(lake: Lake, settings: Settings, month: str, found: DataFrame) -> DataFrame:
    """The discoveries that may stand on the customer's list, by the same rules as any candidate."""
    customers = as_of_end_of(lake.read(CUSTOMERS_TABLE), month, settings.business_tz)
    said = customers.select("customer_id", "consent_profiling", "excluded_products", "diets")
    products = as_of_end_of(lake.read(PRODUCTS_TABLE), month, settings.business_tz)
    flags = products.select("product_id", "is_subscribable", "is_in_stock", "dietary_tags")
    days = settings.dismissal_days
    dismissed = dismissed_lately(lake.read(INTERACTIONS_TABLE, months_to_read(month, days)), month, days)
    known = (
        found.join(F.broadcast(said), on="customer_id", how="left")
        .join(F.broadcast(flags), on="product_id", how="left")
        .join(dismissed, on=["customer_id", "product_id"], how="left")
    )
    allowed = known.withColumn("drop_reason", drop_reason(None)).where(F.col("drop_reason").isNull())
    return allowed.select(*found.columns)


if __name__ == "__main__":
    run_job(run, __doc__)
