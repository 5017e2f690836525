"""State, frequency, catalogue, co-purchase and nearest texts → gold/candidates."""

from collections.abc import Sequence

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.cli import run_job
from jobs.report import JobReport
from transforms.candidates import CandidateParams, anchors, drop_reason, flag_history, propose
from transforms.catalogue import as_of_end_of
from transforms.replenishment import ForecastParams, forecast, type_gaps
from warehouse.contracts.gold import CANDIDATES, COPURCHASE, PURCHASE_FREQUENCY, REPLENISHMENT_STATE
from warehouse.contracts.silver import CUSTOMERS_TABLE, PRODUCTS_TABLE
from warehouse.lake import Lake
from warehouse.settings import Settings
from warehouse.text_index import nearest_texts
from warehouse.vectors import open_vectors

NEIGHBOURS = 20
"""Nearest texts that are looked at for each anchor's text; those not in the customer's history fall away."""

_HISTORY = (
    "customer_id",
    "product_id",
    "text_hash",
    "probability",
    "due_date",
    "due_date_p10",
    "due_date_p90",
    "gap_days",
    "units_per_order",
    "orders",
    "last_ordered_date",
)

BROADCAST_ROWS = 2_000_000
"""Pairs of texts up to which every task gets all of them (about 50 MB)."""


def run(lake: Lake, settings: Settings, months: Sequence[str]) -> JobReport:
    """Replaces the months of ``gold/candidates``.

    Raises:
        MissingMonth: a month has no state, frequency or co-purchase.
    """
    rows: dict[str, int] = {}
    details: dict[str, object] = {}
    for month in sorted(months):
        rows[month], details = _run_month(lake, settings, month)
    return JobReport(CANDIDATES.name, rows, details)


def _run_month(lake: Lake, settings: Settings, month: str) -> tuple[int, dict[str, object]]:
    params = CandidateParams()
    history = _forecast_history(lake, settings, month)
    # By customer, as every join and window below is: the rows then stay where they are.
    judged = history.select(*_HISTORY, drop_reason().alias("drop_reason")).repartition("customer_id")
    judged = judged.persist(StorageLevel.MEMORY_AND_DISK)
    try:
        frequency = lake.require_months(PURCHASE_FREQUENCY, [month])
        copurchase = lake.require_months(COPURCHASE, [month])
        flagged = flag_history(judged.where(F.col("drop_reason").isNull()), frequency, month, params)
        anchor_items = anchors(flagged, params).persist(StorageLevel.MEMORY_AND_DISK)
        neighbours = _neighbours(lake, settings, anchor_items)
        rows = lake.replace_months(
            CANDIDATES, propose(flagged, anchor_items, neighbours, copurchase, month, params), [month]
        )
        anchor_items.unpersist()
        dropped = judged.where(F.col("drop_reason").isNotNull()).groupBy("drop_reason").count().collect()
        return rows, {**_sources(lake, month), "dropped": {row["drop_reason"]: row["count"] for row in dropped}}
    finally:
        judged.unpersist()


def _forecast_history(lake: Lake, settings: Settings, month: str) -> DataFrame:
    products = as_of_end_of(lake.read(PRODUCTS_TABLE), month, settings.business_tz).select(
        "product_id",
        F.coalesce("type", "category", F.lit("")).alias("product_type"),
        "text_hash",
        "is_subscribable",
        "is_in_stock",
    )
    customers = as_of_end_of(lake.read(CUSTOMERS_TABLE), month, settings.business_tz).select(
        "customer_id", "consent_profiling", "excluded_products"
    )
    state = lake.require_months(REPLENISHMENT_STATE, [month]).join(products, on="product_id", how="inner")
    gaps = type_gaps(state.select("product_type", "gap_count", "gap_days_sum"))
    return forecast(state, gaps, month, ForecastParams()).join(customers, on="customer_id", how="left")


def _neighbours(lake: Lake, settings: Settings, anchor_items: DataFrame) -> DataFrame:
    """Nearest texts of the anchors' texts. Only distinct texts come to the driver; the catalogue bounds them."""
    hashes = sorted(row.text_hash for row in anchor_items.select("text_hash").distinct().collect())
    nearest = nearest_texts(open_vectors(settings), hashes, NEIGHBOURS)
    schema = "text_hash string, neighbour_hash string, similarity double"
    if nearest.num_rows == 0:
        return lake.spark.createDataFrame([], schema)
    frame = lake.spark.createDataFrame(nearest.select(["text_hash", "neighbour_hash", "similarity"]))
    # Spark does not know how small this is.
    return F.broadcast(frame) if nearest.num_rows <= BROADCAST_ROWS else frame


def _sources(lake: Lake, month: str) -> dict[str, object]:
    flags = ("due", "high_frequency", "similar_in_history", "copurchased")
    row = (
        lake.read(CANDIDATES, [month])
        .agg(
            F.count_distinct("customer_id").alias("customers"),
            *[F.sum(F.col(f"is_{flag}").cast("int")).alias(flag) for flag in flags],
        )
        .first()
    )
    return {"customers": row.customers, "sources": {flag: row[flag] or 0 for flag in flags}}


if __name__ == "__main__":
    run_job(run, __doc__)
