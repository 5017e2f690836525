"""State, frequency, catalogue and customers → gold/discoveries: what each customer never bought and may try next month.

EASE's weights and the trees are learned on the driver from a bounded sample of customers; all customers are scored in
tasks. Run by hand with ``python -m jobs.discoveries --month 2017-08``.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.cli import run_job
from jobs.proposals import goods_of, in_parts, pairs_of, propose, sample, take_stock
from jobs.report import JobReport
from transforms.catalogue import as_of_end_of
from transforms.discovery import FEATURES, DiscoveryParams
from transforms.eligibility import dismissed_lately, drop_reason, months_to_read
from transforms.ranking import Ranker, calibrate, train
from transforms.replenishment import PAIR
from transforms.thinning import hashed, thin
from warehouse.boosting import MEND, lightgbm_problem
from warehouse.contracts.gold import DISCOVERIES, PURCHASE_FREQUENCY, REPLENISHMENT_STATE
from warehouse.contracts.silver import CUSTOMERS_TABLE, INTERACTIONS_TABLE, PRODUCTS_TABLE
from warehouse.contracts.table import arrow_schema
from warehouse.lake import Lake
from warehouse.months import add_months, month_range
from warehouse.settings import Settings

_FOUND = (
    "customer_id string, product_id string, need string, place int, source string, related_product_id string, "
    "score double, probability double"
)
_DESCRIBED = "customer_id string, product_id string, features array<float>"
_ENOUGH_BOUGHT = 50
"""Discoveries of the month before that were bought, from which a calibration is learned."""


def run(lake: Lake, settings: Settings, months: Sequence[str]) -> JobReport:
    """Replaces the months of ``gold/discoveries``; empties them where ``REPLENISH_DISCOVERIES`` is 0.

    A month with too little to learn from has none, as the first has; so it is where LightGBM cannot be loaded.

    Raises:
        MissingMonth: a month, or the one before it, has no state, or the month no frequency.
    """
    rows: dict[str, int] = {}
    details: dict[str, object] = {}
    # Not looked for by default: then LightGBM need not be loaded either.
    problem = lightgbm_problem() if settings.discoveries else None
    for month in sorted(months):
        found: DataFrame | None = None
        if not settings.discoveries:
            details = {"note": "no list may carry discoveries (REPLENISH_DISCOVERIES)"}
        elif problem:
            details = {"note": f"{problem}; {MEND}: no discoveries"}
        elif month > settings.first_month:
            found, details = _month(lake, settings, month)
        none = arrow_schema(DISCOVERIES).empty_table()
        written = none if found is None else found.withColumn("month", F.lit(month))
        rows[month] = lake.replace_months(DISCOVERIES, written, [month]).rows
    return JobReport(DISCOVERIES.name, rows, details)


def learn_trees(lake: Lake, settings: Settings, month: str, goods: DataFrame, params: DiscoveryParams) -> Ranker | None:
    """The trees that order the month's proposals, by what became of those of the months before; ``None`` where fewer
    than ``params.trees.min_bought`` were bought.

    Args:
        lake: holds the states of the months before, and the frequency of the target months.
        settings: say where the vectors are.
        month: last target month, YYYY-MM.
        goods: ``product_id, need, category, text_hash`` of what may be discovered.
        params: bounds and hyperparameters.
    """
    targets = month_range(add_months(month, 1 - params.trees.months), month)
    known = lake.count_by_month(REPLENISHMENT_STATE, [add_months(target, -1) for target in targets])
    examples = [
        _examples(lake, settings, target, goods, params) for target in targets if add_months(target, -1) in known
    ]
    table = pa.concat_tables(examples) if examples else None
    if table is None or (pc.sum(table["is_bought"]).as_py() or 0) < params.trees.min_bought:
        return None
    features = table["features"].combine_chunks().flatten().to_numpy().reshape(-1, len(FEATURES))
    return train(features, table["is_bought"].to_numpy(), table["weight"].to_numpy(), params.trees, FEATURES)


def find_discoveries(
    lake: Lake,
    settings: Settings,
    month: str,
    goods: DataFrame,
    trees: Ranker,
    params: DiscoveryParams,
    customers: DataFrame | None = None,
) -> DataFrame:
    """Every customer's likeliest products among ``goods`` that they had not bought by the end of the month.

    Shape: ``customer_id, product_id, need, place, source, related_product_id, score, probability``, one row a
    (customer_id, product_id), at most ``params.kept`` a customer.

    Args:
        lake: holds the month's state.
        settings: say where the vectors are.
        month: YYYY-MM.
        goods: ``product_id, need, category, text_hash`` of what may be discovered.
        trees: from :func:`learn_trees`.
        params: bounds.
        customers: ``customer_id`` of those who get some although they have not bought anything yet.

    Raises:
        MissingMonth: the month has no state or no profiles.
    """
    stock = take_stock(lake, settings, month, goods, params)
    if stock is None:
        return lake.spark.createDataFrame([], _FOUND)
    score = _scorer(lake.spark.sparkContext.broadcast(stock), settings, trees, params)
    return in_parts(pairs_of(lake, month, goods, stock.products), customers).applyInArrow(score, _FOUND)


def _scorer(
    stock: object, settings: Settings, trees: Ranker, params: DiscoveryParams
) -> Callable[[pa.Table], pa.Table]:
    """What a task does with the purchases of some customers; ``stock`` is Spark's broadcast of it."""

    def score(rows: pa.Table) -> pa.Table:
        customers, proposals = propose(rows, settings, stock.value, params)
        raw = trees.raw(proposals.features())
        order = np.lexsort((proposals.product, -raw, proposals.row))
        first = np.searchsorted(proposals.row[order], np.arange(len(customers)))
        place = np.arange(len(order)) - first[proposals.row[order]]
        best, place = order[place < params.kept], place[place < params.kept]
        related = proposals.related(best)
        ids = stock.value.products["product_id"]
        columns = {
            "customer_id": customers[proposals.row[best]],
            "product_id": ids.take(pa.array(proposals.product[best])),
            "need": stock.value.products["need"].take(pa.array(proposals.product[best])),
            "place": (place + 1).astype(np.int32),
            "source": proposals.sources(best, related),
            "related_product_id": ids.take(pa.array(related, mask=related < 0)),
            "score": raw[best],
            "probability": trees.calibrated(raw[best]),
        }
        return pa.table(columns)

    return score


def _examples(lake: Lake, settings: Settings, target: str, goods: DataFrame, params: DiscoveryParams) -> pa.Table:
    """What was proposed for the target month: ``features``, ``is_bought`` and ``weight``.

    All that was bought, and a share of what was not, of a sample of the customers.
    """
    before = add_months(target, -1)
    columns = pa.schema([("features", pa.list_(pa.float32())), ("is_bought", pa.bool_()), ("weight", pa.float64())])
    stock = take_stock(lake, settings, before, goods, params)
    if stock is None:
        return columns.empty_table()
    shared = lake.spark.sparkContext.broadcast(stock)

    def describe(rows: pa.Table) -> pa.Table:
        customers, proposals = propose(rows, settings, shared.value, params)
        matrix = proposals.features()
        offsets = pa.array(np.arange(0, matrix.size + 1, len(FEATURES), dtype=np.int32))
        described = {
            "customer_id": customers[proposals.row],
            "product_id": shared.value.products["product_id"].take(pa.array(proposals.product)),
            "features": pa.ListArray.from_arrays(offsets, pa.array(matrix.ravel())),
        }
        return pa.table(described)

    pairs = sample(pairs_of(lake, before, goods, stock.products), params.taught)
    described = in_parts(pairs).applyInArrow(describe, _DESCRIBED)
    labelled = described.join(_bought_in(lake, target), on=list(PAIR), how="left")
    rows = thin(labelled, params.trees.negative_share, hashed(*PAIR)).toArrow()
    # In one order whatever the tasks': the trees then come out alike.
    return rows.sort_by([(name, "ascending") for name in PAIR]).select(columns.names).cast(columns)


def _bought_in(lake: Lake, month: str) -> DataFrame:
    bought = lake.require_months(PURCHASE_FREQUENCY, [month]).where("orders > 0")
    return bought.select(*PAIR, F.lit(True).alias("is_bought"))


def _month(lake: Lake, settings: Settings, month: str) -> tuple[DataFrame, dict[str, object]]:
    params, goods = DiscoveryParams(), _goods(lake, settings, month)
    lake.require_months(REPLENISHMENT_STATE, [add_months(month, -1)])
    trees = learn_trees(lake, settings, month, goods, params)
    if trees is None:
        return lake.read(DISCOVERIES, []), {"note": "too few first purchases to learn from: no discoveries"}
    trees = _calibrated(lake, month, trees)
    customers = as_of_end_of(lake.read(CUSTOMERS_TABLE), month, settings.business_tz)
    found = find_discoveries(lake, settings, month, goods, trees, params, customers)
    return _allowed(lake, settings, month, found), {"slope": trees.slope, "intercept": trees.intercept}


def _calibrated(lake: Lake, month: str, trees: Ranker) -> Ranker:
    """The trees, calibrated by what became in the month of the discoveries of the month before; as they are where too
    few of those were bought, as there were none.
    """
    earlier = lake.read(DISCOVERIES, [add_months(month, -1)])
    judged = earlier.join(_bought_in(lake, month), on=list(PAIR), how="left")
    rows = judged.select("score", F.coalesce("is_bought", F.lit(False)).alias("is_bought")).toArrow()
    is_bought = rows["is_bought"].to_numpy()
    if is_bought.sum() < _ENOUGH_BOUGHT or is_bought.all():
        return trees
    return calibrate(trees, rows["score"].to_numpy(), is_bought, np.ones(len(is_bought)))


def _goods(lake: Lake, settings: Settings, month: str) -> DataFrame:
    products = as_of_end_of(lake.read(PRODUCTS_TABLE), month, settings.business_tz)
    is_sold = F.coalesce("is_subscribable", F.lit(True)) & F.coalesce("is_in_stock", F.lit(True))
    return goods_of(products.where(is_sold))


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
