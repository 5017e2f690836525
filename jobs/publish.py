"""gold/list_decisions → the serving store and serving/subscribe_save_lists: one immutable version, switched at the end.

    python -m jobs.publish --month 2017-12          build, verify, gate, record, switch, prune
    python -m jobs.publish --list                   versions that the store holds
    python -m jobs.publish --rollback VERSION       make an earlier version live again
    python -m jobs.publish --diff A B               what changed from A to B

The same lists give the same version, so publishing again changes nothing. A month before the live one is not
switched to: its lists stay as they were published.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.champion import Champion, choose_champion, published_lists
from jobs.cli import job_process
from jobs.report import JobReport
from transforms.catalogue import as_of_end_of, known_now
from transforms.eligibility import drop_reason
from warehouse.contracts.gold import LIST_DECISIONS
from warehouse.contracts.serving import SUBSCRIBE_SAVE_LISTS
from warehouse.contracts.silver import CUSTOMERS_TABLE, PRODUCTS_TABLE
from warehouse.lake import Lake, open_lake, persisted
from warehouse.months import month_range
from warehouse.serving.publish import publish, rollback
from warehouse.serving.store import Manifest, open_store
from warehouse.settings import Settings, load_settings
from warehouse.spark import start_session


def run(lake: Lake, settings: Settings, months: Sequence[str]) -> JobReport:
    """Publishes the months in order.

    Raises:
        MissingMonth: a month has no decisions.
        QualityGateError: the version is too far from the live one; that stays live.
        StoreUnavailable: another process is publishing.
    """
    store = open_store(settings.serving_store, settings.dynamodb_endpoint)
    rows: dict[str, int] = {}
    details: dict[str, object] = {}
    for month in sorted(months):
        champion = choose_champion(lake, settings, month)
        now = datetime.now(UTC)
        written = {"lines": 0}
        # Read more than once: for the counts, the store and the record.
        with persisted(list_lines(lake, settings, month, champion)) as judged:
            refused = judged.where("drop_reason IS NOT NULL").groupBy("drop_reason").count().collect()
            dropped = {row["drop_reason"]: row["count"] for row in refused}
            lines = judged.where("drop_reason IS NULL").drop("drop_reason")
            lines = _close_ranks(lines) if dropped else lines

            def record(version: Manifest, lines: DataFrame = lines, written: dict[str, int] = written) -> None:
                written["lines"] = _record(lake, lines, version)

            report = publish(
                store,
                month,
                _lists(lines),
                generated_at=now,
                expires_at=now + timedelta(days=settings.list_valid_days),
                keep=settings.keep_versions,
                before_switch=record,
            )
        rows[month] = written["lines"]
        details = {
            "outcome": report.outcome,
            "champion": f"{champion.name}: {champion.why}",
            "live_version": report.live.version,
            "customers": report.live.customers,
            "previous_version": report.previous.version if report.previous else "none",
            "pruned": ", ".join(report.pruned) or "none",
            "dropped": dropped,
        }
        if report.diff:
            details["change_against_previous"] = asdict(report.diff)
    return JobReport(SUBSCRIBE_SAVE_LISTS.name, rows, details)


def list_lines(lake: Lake, settings: Settings, month: str, champion: Champion) -> DataFrame:
    """Every line of the champion's lists with product names, prices and consent; no version and no dates of it yet.

    Names and prices are those of the month's end. What may not stand on a list any more by what is known now has a
    ``drop_reason``; such alternates are gone.
    """
    products = as_of_end_of(lake.read(PRODUCTS_TABLE), month, settings.business_tz)
    products = products.select("product_id", "name", "price_usd")
    decisions = published_lists(lake.require_months(LIST_DECISIONS, [month]), champion)
    lines = decisions.select("month", "customer_id", F.inline("items"))
    alternates = _alternates(lake, lines, products)
    known = lines.drop("alternates").join(products, on="product_id", how="inner")
    return (
        _judged_now(lake, known)
        .join(alternates, on=["customer_id", "rank"], how="left")
        .withColumn("alternates", F.coalesce("alternates", F.array()))
    )


def _judged_now(lake: Lake, lines: DataFrame) -> DataFrame:
    """The lines with ``drop_reason``, null where nothing speaks against them, and ``has_consent_email``.

    By what is known now, not at the month's end: who has withdrawn consent since, or excluded a product, is not shown
    it, nor is what the shop no longer sells. A customer of whom nothing is known has not agreed to e-mail.
    """
    customers = known_now(lake.read(CUSTOMERS_TABLE)).select(
        "customer_id", "consent_profiling", "consent_email", "excluded_products", "diets"
    )
    products = known_now(lake.read(PRODUCTS_TABLE))
    products = products.select("product_id", "is_subscribable", "is_in_stock", "dietary_tags")
    known = lines.join(customers, on="customer_id", how="left").join(F.broadcast(products), on="product_id", how="left")
    judged = known.withColumn("is_dismissed", F.lit(False)).withColumn("drop_reason", drop_reason(pantry=None))
    return judged.select(
        *lines.columns, "drop_reason", F.coalesce("consent_email", F.lit(False)).alias("has_consent_email")
    )


def _close_ranks(lines: DataFrame) -> DataFrame:
    """The lines with ranks from 1 on without gaps."""
    in_order = Window.partitionBy("customer_id").orderBy("rank")
    return lines.withColumn("rank", F.row_number().over(in_order))


def _alternates(lake: Lake, lines: DataFrame, products: DataFrame) -> DataFrame:
    """``customer_id, rank, alternates`` of the lines that have any, with names and prices."""
    each = lines.select("customer_id", "rank", F.posexplode("alternates").alias("place", "alternate"))
    each = each.select("customer_id", "rank", "place", "alternate.*").join(products, on="product_id", how="inner")
    named = _judged_now(lake, each).where("drop_reason IS NULL")
    entry = F.struct("place", "product_id", "name", "probability", F.col("price_usd").cast("double").alias("price_usd"))
    grouped = named.groupBy("customer_id", "rank").agg(F.array_sort(F.collect_list(entry)).alias("alternates"))
    return grouped.withColumn("alternates", F.transform("alternates", lambda entry: entry.dropFields("place")))


def _lists(lines: DataFrame) -> Iterator[tuple[str, list[Any]]]:
    """Customers with their items in rank order, streamed partition by partition."""
    item = F.struct(
        "rank",
        "product_id",
        "name",
        "quantity",
        "cadence_days",
        "next_due_date",
        "probability",
        "reason_code",
        "reason",
        F.col("price_usd").cast("double").alias("price_usd"),
        "need",
        "need_probability",
        "alternates",
    )
    lists = lines.groupBy("customer_id").agg(F.array_sort(F.collect_list(item)).alias("items"))
    for row in lists.toLocalIterator():
        yield row.customer_id, row["items"]


def _record(lake: Lake, lines: DataFrame, version: Manifest) -> int:
    rows = lines.withColumns(
        {
            "version": F.lit(version.version),
            "generated_at": F.lit(version.generated_at),
            "expires_at": F.lit(version.expires_at),
        }
    )
    return lake.replace_where(SUBSCRIBE_SAVE_LISTS, rows, f"version = '{version.version}'").rows


def _describe(manifest: Manifest, live: Manifest | None) -> str:
    mark = "*" if live and live.version == manifest.version else " "
    counts = f"{manifest.customers:,} customers, {manifest.lines:,} lines"
    return f"{mark} {manifest.version}  {counts}, generated {manifest.generated_at:%Y-%m-%d %H:%M} UTC"


def main(argv: Sequence[str] | None = None) -> None:
    """Runs one of the commands above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command = parser.add_mutually_exclusive_group(required=True)
    command.add_argument("--month", help="publish the lists decided at the end of this month")
    command.add_argument("--list", action="store_true", help="show the versions, the live one marked *")
    command.add_argument("--rollback", metavar="VERSION", help="make this version live again")
    command.add_argument("--diff", nargs=2, metavar=("A", "B"), help="compare two versions")
    parser.add_argument("--to", help="last month, with --month")
    arguments = parser.parse_args(argv)
    with job_process() as tell:
        settings = load_settings()
        if arguments.month:
            lake = open_lake(start_session(settings), settings)
            tell(run(lake, settings, month_range(arguments.month, arguments.to or arguments.month)))
            return
        store = open_store(settings.serving_store, settings.dynamodb_endpoint)
        if arguments.rollback:
            print(_describe(rollback(store, arguments.rollback), store.live()))
        elif arguments.diff:
            for name, value in asdict(store.diff(*arguments.diff)).items():
                print(f"{name:20} {value}")
        else:
            for manifest in store.versions():
                print(_describe(manifest, store.live()))


if __name__ == "__main__":
    main()
