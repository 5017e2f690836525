"""gold/candidates, gold/discoveries → request shards (JSONL) and gold/list_requests: one request a customer.

Tasks render and write the shards themselves; nothing is collected. A shard holds at most 1,000 requests.
"""

from collections.abc import Sequence
from math import ceil
from operator import itemgetter

import pyarrow as pa
from pyarrow.fs import FileSelector
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.cli import run_job
from jobs.report import JobReport
from jobs.salt import pseudonym_salt
from transforms.budget import fit_budget
from transforms.catalogue import as_of_end_of
from transforms.diversity import long_tail
from transforms.due_dates import DueDateParams, due_date
from transforms.needs import needs_of, new_needs
from transforms.prompts import TEMPLATE_VERSION, local_id, render_body
from warehouse.contracts.gold import CANDIDATES, DISCOVERIES, LIST_REQUESTS, REPLENISHMENT_STATE
from warehouse.contracts.silver import CUSTOMERS_TABLE, PRODUCTS_TABLE
from warehouse.contracts.table import arrow_schema, spark_schema
from warehouse.errors import MissingMonth
from warehouse.files import open_filesystem
from warehouse.lake import Lake
from warehouse.llm.clients import model_of
from warehouse.llm.contract import SHARD_RECORDS, prompt_hash, pseudonym, request_line
from warehouse.llm.shards import requests_folder, write_lines
from warehouse.settings import Settings

_EVIDENCE = (
    "score",
    "product_id",
    "name",
    "need",
    "need_probability",
    "need_score",
    "related_name",
    "is_due",
    "is_high_frequency",
    "is_similar_in_history",
    "is_copurchased",
    "probability",
    "need_due_date",
    "due_date_p10",
    "due_date",
    "due_date_p90",
    "gap_days",
    "units_per_order",
    "orders_in_month",
    "orders",
    "last_ordered_date",
    "similarity",
    "lift",
    "price_usd",
    "is_long_tail",
)


_NEW = ("place", "product_id", "name", "need", "source", "related_name", "probability", "need_due_date", "is_long_tail")

_BEST_FIRST = "array_sort(candidates, (a, b) -> CASE WHEN a.score > b.score THEN -1 WHEN a.score < b.score THEN 1 "
_BEST_FIRST += "WHEN a.product_id < b.product_id THEN -1 ELSE 1 END)"


def run(lake: Lake, settings: Settings, months: Sequence[str]) -> JobReport:
    """Replaces the request shards and the rows of ``gold/list_requests`` of the months.

    Raises:
        MissingMonth: a month has no candidates; or lists may carry discoveries, and nobody ever looked for any.
    """
    # One month of them may rightly be empty; that it was left out shows in the report only.
    if settings.discoveries and not lake.exists(DISCOVERIES):
        raise MissingMonth(f"{DISCOVERIES.name} does not exist, and REPLENISH_DISCOVERIES is set: materialize it first")
    rows: dict[str, int] = {}
    shards: dict[str, int] = {}
    over_budget: dict[str, int] = {}
    for month in sorted(months):
        customers = _customers(lake, settings, month)
        folder = open_filesystem(settings.lake, settings.s3_endpoint)
        folder.create_dir(requests_folder(month), recursive=True)
        folder.delete_dir_contents(requests_folder(month))
        requests = _write_shards(customers, settings, month, pseudonym_salt(settings))
        written = lake.replace_months(LIST_REQUESTS, requests, [month], {"over_budget": F.sum("over_budget")})
        rows[month], over_budget[month] = written.rows, written.figures["over_budget"] or 0
        shards[month] = len(folder.get_file_info(FileSelector(requests_folder(month))))
    details: dict[str, object] = {"shards": shards, "over_budget": over_budget, "template": TEMPLATE_VERSION}
    if settings.discoveries:
        details["without_discoveries"] = sorted(set(months) - lake.count_by_month(DISCOVERIES, months).keys())
    return JobReport(LIST_REQUESTS.name, rows, details)


def _customers(lake: Lake, settings: Settings, month: str) -> DataFrame:
    """One row a customer: ``customer_id, shard, candidates`` and ``discoveries`` (arrays of structs, best first; the
    latter null where there is none), and the customer's ``monthly_budget_usd`` and ``diets``, null where none is known.
    """
    candidates = lake.require_months(CANDIDATES, [month])
    names = as_of_end_of(lake.read(PRODUCTS_TABLE), month, settings.business_tz)
    names = names.select("product_id", "name", F.col("price_usd").cast("double").alias("price_usd"))
    related = names.select(F.col("product_id").alias("related_product_id"), F.col("name").alias("related_name"))
    named = candidates.join(names, on="product_id", how="inner").join(related, on="related_product_id", how="left")
    named = _with_long_tail(lake, settings, month, named)
    known = named.groupBy("customer_id").agg(F.collect_list(F.struct(*_EVIDENCE)).alias("candidates"))
    known = known.withColumn("candidates", F.expr(_BEST_FIRST))
    customers = as_of_end_of(lake.read(CUSTOMERS_TABLE), month, settings.business_tz)
    limits = customers.select(
        "customer_id", F.col("monthly_budget_usd").cast("double").alias("monthly_budget_usd"), "diets"
    )
    new = lake.read(DISCOVERIES, [month]).withColumn(
        "need_due_date", due_date(F.col("probability"), 0.5, DueDateParams())
    )
    new = new.join(names, on="product_id", how="inner").join(related, on="related_product_id", how="left")
    new = _with_long_tail(lake, settings, month, new)
    new = new.groupBy("customer_id").agg(F.sort_array(F.collect_list(F.struct(*_NEW))).alias("discoveries"))
    # Who has bought nothing yet has no candidates, and may have discoveries.
    known = known.join(new, on="customer_id", how="full_outer").join(limits, on="customer_id", how="left")
    return _assign_shards(known, candidates.select("customer_id").distinct().count())


def _with_long_tail(lake: Lake, settings: Settings, month: str, rows: DataFrame) -> DataFrame:
    """The rows with ``is_long_tail``; nobody asks for it without a floor, and it is false then."""
    if not settings.long_tail_share:
        return rows.withColumn("is_long_tail", F.lit(False))
    tail = long_tail(lake.require_months(REPLENISHMENT_STATE, [month])).withColumn("found", F.lit(True))
    known = rows.join(F.broadcast(tail), on="product_id", how="left")
    return known.withColumn("is_long_tail", F.coalesce("found", F.lit(False))).drop("found")


def _assign_shards(customers: DataFrame, count: int) -> DataFrame:
    # Buckets by hash keep this parallel; numbering inside a bucket keeps every shard within its bound.
    buckets = max(1, ceil(count / (0.8 * SHARD_RECORDS)))
    by_id = Window.partitionBy("bucket").orderBy("customer_id")
    bucketed = customers.withColumn("bucket", F.pmod(F.xxhash64("customer_id"), F.lit(buckets)))
    part = F.floor((F.row_number().over(by_id) - 1) / SHARD_RECORDS).cast("int")
    name = F.format_string("shard-%05d-%02d.jsonl", F.col("bucket").cast("int"), part)
    return bucketed.withColumn("shard", name).drop("bucket")


def _write_shards(customers: DataFrame, settings: Settings, month: str, salt: str) -> DataFrame:
    uri, endpoint, model, list_size = settings.lake, settings.s3_endpoint, model_of(settings.llm), settings.list_size
    most_new, floor = min(settings.discoveries, list_size), settings.long_tail_share

    def write(shard: pa.Table) -> pa.Table:
        name = shard["shard"][0].as_py()
        lines, rows = [], []
        for customer in sorted(shard.to_pylist(), key=itemgetter("customer_id")):
            candidates, discoveries = customer["candidates"], customer["discoveries"]
            limit = customer["monthly_budget_usd"]
            needs, left_out = fit_budget(needs_of(candidates or ()), limit, list_size)
            # Who has set a budget is offered nothing that it was not set for.
            if limit is None and discoveries:
                needs += new_needs(discoveries, needs, most_new)
            if candidates is None and not needs:
                continue
            body = render_body(needs, month, model, list_size, limit, tuple(customer["diets"] or ()), floor)
            digest = prompt_hash(body, TEMPLATE_VERSION)
            custom_id = f"{pseudonym(customer['customer_id'], salt)}-{month}-{digest[:16]}"
            lines.append(request_line(custom_id, body))
            rows.append(
                {
                    "month": month,
                    "customer_id": customer["customer_id"],
                    "custom_id": custom_id,
                    "shard": name,
                    "prompt_hash": digest,
                    "candidate_ids": [local_id(place) for place in range(len(needs))],
                    "product_ids": [need["product_id"] for need in needs],
                    "alternate_ids": [[row["product_id"] for row in need["alternates"]] for need in needs],
                    "over_budget": left_out,
                }
            )
        write_lines(open_filesystem(uri, endpoint), f"{requests_folder(month)}/{name}", lines)
        return pa.Table.from_pylist(rows, schema=arrow_schema(LIST_REQUESTS))

    requests = customers.groupBy("shard").applyInArrow(write, spark_schema(LIST_REQUESTS))
    # A plan that ran twice would write every shard twice.
    return requests.localCheckpoint(eager=True)


if __name__ == "__main__":
    run_job(run, __doc__)
