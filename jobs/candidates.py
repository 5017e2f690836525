"""State, rankers, frequency, catalogue, co-purchase and nearest texts → gold/candidates."""

from collections.abc import Sequence
from contextlib import ExitStack

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.cli import run_job
from jobs.history import typed_state
from jobs.rankers import feature_matrix, read_ranker
from jobs.report import JobReport
from transforms.candidates import CandidateParams, anchors, flag_history, leads, propose, text_key, with_leads
from transforms.catalogue import as_of_end_of
from transforms.due_dates import DueDateParams, due_date, due_dates
from transforms.eligibility import DEFAULT_PANTRY, dismissed_lately, drop_reason, months_to_read
from transforms.needs import as_needs, cohere, need_probabilities
from transforms.pair_features import feature_columns, pair_features
from transforms.ranking import OF_TARGET, Ranker
from transforms.replenishment import ForecastParams, forecast
from warehouse.contracts.features import FEATURE_NAMES
from warehouse.contracts.gold import CANDIDATES, COPURCHASE, PURCHASE_FREQUENCY
from warehouse.contracts.silver import CUSTOMERS_TABLE, INTERACTIONS_TABLE, PRODUCTS_TABLE
from warehouse.lake import Lake, persisted
from warehouse.settings import Settings
from warehouse.text_index import nearest_texts
from warehouse.vectors import open_vectors

NEIGHBOURS = 20
"""Nearest texts that are looked at for each anchor's text; those not in the customer's history fall away."""

HISTORY = (
    "customer_id",
    "product_id",
    "text_key",
    "need",
    "score",
    "probability",
    "gap_days",
    "units_per_order",
    "orders",
    "last_ordered_date",
)

_SOURCES = ("due", "high_frequency", "similar_in_history", "copurchased")

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
    params = CandidateParams(min_needs=settings.list_size)
    frequency = lake.require_months(PURCHASE_FREQUENCY, [month])
    copurchase = lake.require_months(COPURCHASE, [month])
    with ExitStack() as kept:
        judged = kept.enter_context(persisted(score_history(lake, settings, month)))
        eligible = judged.where(F.col("drop_reason").isNull())
        needs = kept.enter_context(persisted(score_needs(lake, settings, month, eligible)))
        looked_at = with_leads(eligible, leads(eligible, needs, params))
        flagged = kept.enter_context(persisted(flag_history(looked_at, frequency, month, params)))
        anchor_items = kept.enter_context(persisted(anchors(flagged, params)))
        neighbours = _neighbours(lake, settings, month, anchor_items)
        proposed = propose(flagged, anchor_items, neighbours, copurchase, params)
        known = proposed.join(needs, on=["customer_id", "need"], how="inner").withColumn("month", F.lit(month))
        sources = {source: F.count_if(F.col(f"is_{source}")) for source in _SOURCES}
        written = lake.replace_months(CANDIDATES, _dated(cohere(known)), [month], sources)
        dropped = judged.where(F.col("drop_reason").isNotNull()).groupBy("drop_reason").count().collect()
        details = {"sources": dict(written.figures), "dropped": {row["drop_reason"]: row["count"] for row in dropped}}
        return written.rows, details


def _dated(candidates: DataFrame) -> DataFrame:
    """The candidates with the dates that their probabilities say, and the need's ``need_due_date``."""
    params = DueDateParams()
    return due_dates(candidates, params).withColumn("need_due_date", due_date(F.col("need_probability"), 0.5, params))


def score_history(
    lake: Lake,
    settings: Settings,
    month: str,
    columns: Sequence[str] = HISTORY,
    most: int | None = OF_TARGET["product"].most,
) -> DataFrame:
    """What each customer bought most by the end of the month, with its forecast and score.

    Shape: one row a (customer_id, product_id), at most ``most`` a customer (None: all): ``columns``, and
    ``drop_reason`` where it may not stand on a list. ``probability`` and ``score`` are the ranker's where the month has
    one, else the forecast's.

    Raises:
        MissingMonth: the month has no state.
    """
    customers = as_of_end_of(lake.read(CUSTOMERS_TABLE), month, settings.business_tz).select(
        "customer_id", "consent_profiling", "excluded_products", "diets"
    )
    days = settings.dismissal_days
    dismissed = dismissed_lately(lake.read(INTERACTIONS_TABLE, months_to_read(month, days)), month, days)
    features = pair_features(typed_state(lake, settings, month), most)
    history = forecast(features, ForecastParams()).join(F.broadcast(customers), on="customer_id", how="left")
    history = history.join(dismissed, on=["customer_id", "product_id"], how="left")
    forecast_alone = F.col("probability")
    history = history.withColumns(
        {
            "score": forecast_alone,
            "forecast_probability": forecast_alone,
            "drop_reason": drop_reason(DEFAULT_PANTRY if settings.pantry_guard else None),
        }
    )
    wanted = [*columns, "drop_reason"]
    ranker = read_ranker(lake, month, "product")
    if ranker is None:
        return history.select(*wanted)
    said = {"score": F.col("said.score"), "probability": F.col("said.probability")}
    return history.withColumn("said", said_by(ranker)).withColumns(said).select(*wanted)


def score_needs(lake: Lake, settings: Settings, month: str, history: DataFrame) -> DataFrame:
    """What each customer bought for most by the end of the month: ``customer_id, need, need_probability, need_score``.

    Both are the ranker's where the month has one of needs, the score before calibration; else both are what the
    probabilities of the products in ``history`` come to together.

    Raises:
        MissingMonth: the month has no state.
    """
    ranker = read_ranker(lake, month, "need")
    if ranker is None:
        return need_probabilities(history).withColumn("need_score", F.col("need_probability"))
    needs = pair_features(as_needs(typed_state(lake, settings, month)), OF_TARGET["need"].most)
    return needs.withColumn("said", said_by(ranker)).select(
        "customer_id",
        F.col("product_id").alias("need"),
        F.col("said.score").alias("need_score"),
        F.col("said.probability").alias("need_probability"),
    )


def said_by(ranker: Ranker) -> Column:
    """The ranker's ``score`` and ``probability`` of a row with the features, as a struct.

    Each task asks it for the rows that it holds. Only the features move to Python, and two numbers come back; all else
    stays where it is.
    """

    @F.arrow_udf("score double, probability double")
    def said(*features: pa.Array) -> pa.Array:
        raw = ranker.raw(feature_matrix(pa.RecordBatch.from_arrays(list(features), list(FEATURE_NAMES))))
        return pa.StructArray.from_arrays([pa.array(raw), pa.array(ranker.calibrated(raw))], ["score", "probability"])

    # Spark may compute what it takes for deterministic once for each use.
    return said.asNondeterministic()(*feature_columns())


def _neighbours(lake: Lake, settings: Settings, month: str, anchor_items: DataFrame) -> DataFrame:
    """Nearest texts of the anchors' texts. Only distinct texts come to the driver; the catalogue bounds them."""
    products = as_of_end_of(lake.read(PRODUCTS_TABLE), month, settings.business_tz)
    texts = products.select("text_hash", text_key("text_hash").alias("text_key")).distinct()
    wanted = texts.join(anchor_items.select("text_key").distinct(), on="text_key", how="left_semi")
    hashes = sorted(row.text_hash for row in wanted.collect())
    nearest = nearest_texts(open_vectors(settings), hashes, NEIGHBOURS)
    schema = "text_hash string, neighbour_hash string, similarity double"
    if nearest.num_rows == 0:
        return lake.spark.createDataFrame([], schema)
    frame = lake.spark.createDataFrame(nearest.select(["text_hash", "neighbour_hash", "similarity"]))
    # Spark does not know how small this is.
    return F.broadcast(frame) if nearest.num_rows <= BROADCAST_ROWS else frame


if __name__ == "__main__":
    run_job(run, __doc__)
