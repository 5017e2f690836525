"""State and catalogue → gold/affinities: how much what a customer buys speaks for each product, and need, they buy.

The item model is learned on the driver from a bounded sample of customers and scores all of them in tasks. The months
that the rankers of M learn from have theirs filled in where they have none. Run by hand with
``python -m jobs.affinities --month 2017-08``.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from math import ceil

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.cli import run_job
from jobs.history import typed_state
from jobs.report import JobReport
from transforms.affinity import AffinityParams, Purchases, learn
from transforms.needs import as_needs
from transforms.ranking import RankerParams
from transforms.thinning import hashed
from warehouse.contracts.features import decayed_name
from warehouse.contracts.gold import AFFINITIES, REPLENISHMENT_STATE
from warehouse.lake import Lake, persisted
from warehouse.months import add_months, last_date, month_range
from warehouse.settings import Settings

HALF_LIFE_DAYS = 45
_AT_ONCE = 500
"""Customers looked at together: each of their dense matrices is a few MB."""
_DECIMALS = 6
_SCORED = "customer_id string, item string, affinity double, affinity_lately double"


def run(lake: Lake, settings: Settings, months: Sequence[str]) -> JobReport:
    """Replaces the months of ``gold/affinities`` and fills in those before them that a ranker needs.

    Raises:
        MissingMonth: a month has no state.
    """
    rows: dict[str, int] = {}
    for month in sorted(months):
        before = month_range(add_months(month, -RankerParams().months), add_months(month, -1))
        stated, known = (lake.count_by_month(table, before) for table in (REPLENISHMENT_STATE, AFFINITIES))
        for each in [*[earlier for earlier in stated if earlier not in known], month]:
            rows[each] = _run_month(lake, settings, each)
    return JobReport(AFFINITIES.name, rows)


def read_affinities(lake: Lake, month: str, target: str) -> DataFrame:
    """The month's ``customer_id, product_id, affinity, affinity_lately``; a need stands in ``product_id``.

    Raises:
        MissingMonth: the month has no affinities.
    """
    rows = lake.require_months(AFFINITIES, [month]).where(F.col("target") == target)
    return rows.select("customer_id", F.col("item").alias("product_id"), "affinity", "affinity_lately")


def _run_month(lake: Lake, settings: Settings, month: str) -> int:
    params = AffinityParams()
    state = typed_state(lake, settings, month)
    of_target = {"product": state, "need": as_needs(state)}
    with ExitStack() as kept, ThreadPoolExecutor(len(of_target)) as pool:
        pairs = {
            target: kept.enter_context(persisted(_pairs(of_target[target], month, params))) for target in of_target
        }
        # Side by side: while one is learned on the driver, tasks work for the other.
        jobs = {target: pool.submit(_score, pairs[target], params) for target in of_target}
        scored = [job.result().withColumn("target", F.lit(target)) for target, job in jobs.items()]
        rows = scored[0].unionByName(scored[1]).withColumn("month", F.lit(month))
        return lake.replace_months(AFFINITIES, rows, [month])


def _pairs(state: DataFrame, month: str, params: AffinityParams) -> DataFrame:
    """``customer_id, item, decayed, is_recent`` of the state's pairs."""
    since = F.date_sub(F.lit(last_date(month)), params.recent_days)
    return state.select(
        "customer_id",
        F.col("product_id").alias("item"),
        F.col(decayed_name(HALF_LIFE_DAYS)).alias("decayed"),
        (F.col("last_ordered_date") > since).alias("is_recent"),
    )


def _score(pairs: DataFrame, params: AffinityParams) -> DataFrame:
    """The affinities of every pair whose item is among the most bought lately."""
    spark = pairs.sparkSession
    items = _most_bought(pairs, params.items)
    places = pa.table({"item": items, "place": pa.array(np.arange(len(items), dtype=np.int32))})
    placed = pairs.join(F.broadcast(spark.createDataFrame(places)), on="item", how="inner")
    customers = max(pairs.select("customer_id").distinct().count(), 1)
    sampled = placed.where(hashed("customer_id") < params.customers / customers)
    rows = sampled.select("customer_id", "place", "decayed").toArrow()
    model = spark.sparkContext.broadcast(learn(_purchases(rows, len(items)), params))
    parts = F.pmod(F.xxhash64("customer_id"), F.lit(ceil(customers / _AT_ONCE)))
    return placed.groupBy(parts).applyInArrow(_scorer(model, len(items)), _SCORED)


def _most_bought(pairs: DataFrame, most: int) -> pa.Array:
    recent = F.count_if("is_recent").alias("recent")
    items = pairs.groupBy("item").agg(recent).where("recent > 0").orderBy(F.desc("recent"), "item").limit(most)
    return items.select("item").toArrow()["item"].combine_chunks()


def _scorer(model: object, items: int) -> Callable[[pa.Table], pa.Table]:
    """What a task does with the purchases of some customers; ``model`` is Spark's broadcast of it."""

    def score(rows: pa.Table) -> pa.Table:
        of_all, lately = model.value.affinities(_purchases(rows, items))
        columns = {"affinity": of_all, "affinity_lately": lately}
        # Beyond these decimals the order of additions shows, which is not the same on every machine.
        rounded = {name: np.round(values.astype(np.float64), _DECIMALS) for name, values in columns.items()}
        return pa.table({"customer_id": rows["customer_id"], "item": rows["item"], **rounded})

    return score


def _purchases(rows: pa.Table, items: int) -> Purchases:
    customers = pc.dictionary_encode(rows["customer_id"]).combine_chunks()
    # In one order whatever the rows': the model then comes out alike.
    order = pc.rank(customers.dictionary).to_numpy() - 1
    return Purchases(
        customers=len(order),
        items=items,
        customer=order[customers.indices.to_numpy()].astype(np.int64),
        item=rows["place"].to_numpy(),
        decayed=rows["decayed"].to_numpy(),
    )


if __name__ == "__main__":
    run_job(run, __doc__)
