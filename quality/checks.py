"""The Dagster asset checks: each table's contract, judged by Great Expectations on what was just written.

One check a table, ``<table>_contract``. It blocks where a blocking rule fails (keys, nulls, ranges, references, volume,
accounting), so nothing downstream runs and nothing is published; drift alone only warns. The typed bronze tables have
none of their own: what breaks their contract is quarantined on the way in, Delta's constraints refuse the rest, and
the ledger's check accounts for every row of every file. Not here: the rules (``quality/suites.py``,
``quality/measures.py``) and how they are judged (``quality/validation.py``).
"""

from collections.abc import Sequence

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from assets.factory import asset_key
from assets.partitions import MONTHS
from assets.resources import Platform
from jobs.scorecard import AGAINST, K
from quality.measures import (
    SHIFT_COLUMNS,
    VOLUME_MONTHS,
    VOLUME_TABLES,
    Measure,
    balanced,
    distribution_shift,
    fallback_share,
    is_loss,
    volume_drift,
)
from quality.suites import Reference
from quality.validation import ValidationReport, validate
from transforms.cleaning import DUPLICATE, SUPERSEDED
from warehouse.contracts import bronze, gold, silver
from warehouse.contracts.table import Table
from warehouse.lake import Lake
from warehouse.months import add_months, month_range
from warehouse.object_store_errors import explained
from warehouse.table_log import Condition

_BRONZE_OF = {silver.ORDER_LINES.name: "orders", silver.INTERACTIONS_TABLE.name: "interactions"}


def _result(report: ValidationReport) -> dg.AssetCheckResult:
    lines = [rule.line() for rule in report.failed]
    return dg.AssetCheckResult(
        passed=not report.failed,
        severity=dg.AssetCheckSeverity.ERROR if report.blocking_failures else dg.AssetCheckSeverity.WARN,
        description="; ".join(lines) or f"{report.evaluated} rules hold for {report.rows:,} rows",
        metadata={
            "rules": report.evaluated,
            "rows": report.rows,
            "failed_rules": dg.MetadataValue.md("\n".join(f"- {line}" for line in lines) or "none"),
            "report": dg.MetadataValue.json(report.to_metadata()),
        },
    )


def monthly_check(table: Table) -> dg.AssetChecksDefinition:
    """The contract of a monthly table, on the months of the run and no others."""

    @dg.asset_check(
        asset=asset_key(table),
        name=f"{table.asset_key[1]}_contract",
        description=f"{table.name} keeps its contract in the months just written.",
        blocking=True,
        partitions_def=MONTHS,
    )
    def check(context: dg.AssetCheckExecutionContext, platform: Platform) -> dg.AssetCheckResult:
        lake, months = platform.lake(), sorted(context.partition_keys)
        with explained():
            frame = lake.read(table, months)
            report = validate(
                frame,
                table,
                references=_references(lake, table),
                measures=list(_measures(platform, table, frame, months)),
            )
        return _result(report)

    return check


def _references(lake: Lake, table: Table) -> list[Reference]:
    if table is silver.ORDER_LINES:
        return [Reference("product_id", lake.read(silver.PRODUCTS_TABLE), silver.PRODUCTS_TABLE.name)]
    return []


def _measures(platform: Platform, table: Table, frame: DataFrame, months: Sequence[str]) -> list[Measure]:
    lake = platform.lake()
    measures: list[Measure] = []
    if table is gold.LIST_DECISIONS:
        measures.append(fallback_share(frame, platform.settings().llm_max_fallback_share))
    if table.name in VOLUME_TABLES:
        recent = lake.count_by_month(table, month_range(add_months(months[0], -VOLUME_MONTHS), months[-1]))
        measures += volume_drift(recent, months)
    if table.name in _BRONZE_OF:
        measures.append(_accounting(lake, table, months))
    if table.name in SHIFT_COLUMNS:
        last = months[-1]
        now, before = frame.where(F.col("month") == last), lake.read(table, [add_months(last, -1)])
        measures.append(distribution_shift(now, before, SHIFT_COLUMNS[table.name], last))
    return measures


def _accounting(lake: Lake, table: Table, months: Sequence[str]) -> Measure:
    """Rows that bronze holds of the months = rows kept + quarantined + duplicates."""
    dataset = _BRONZE_OF[table.name]
    where: list[Condition] = [("dataset", "=", dataset), ("stage", "=", "silver")]
    by_reason = _rows_by(lake.collect(bronze.QUARANTINE, months, ["reason", "rows"], where), "reason")
    duplicates = sum(by_reason.pop(reason, 0) for reason in (DUPLICATE, SUPERSEDED))
    rows_in = sum(lake.count_by_month(bronze.BY_DATASET[dataset], months).values())
    kept = sum(lake.count_by_month(table, months).values())
    return balanced(rows_in, kept, sum(by_reason.values()), duplicates)


def table_check(table: Table) -> dg.AssetChecksDefinition:
    """The contract of a table without months."""

    @dg.asset_check(
        asset=asset_key(table),
        name=f"{table.asset_key[1]}_contract",
        description=f"{table.name} keeps its contract.",
        blocking=True,
    )
    def check(platform: Platform) -> dg.AssetCheckResult:
        lake = platform.lake()
        with explained():
            measures = [_file_accounting(lake)] if table is bronze.LANDING_FILES else []
            return _result(validate(lake.read(table), table, measures=measures))

    return check


def _file_accounting(lake: Lake) -> Measure:
    """Rows in all files ever read = rows in bronze by the ledger + rows that quarantine stands for."""
    files = lake.collect(bronze.LANDING_FILES, columns=["rows_in", "rows_kept"])
    refused = lake.collect(bronze.QUARANTINE, columns=["rows"], where=[("stage", "=", "bronze")])
    rows_in, kept, quarantined = (
        pc.sum(column).as_py() or 0 for column in (files["rows_in"], files["rows_kept"], refused["rows"])
    )
    return balanced(rows_in, kept, quarantined, 0)


def _rows_by(entries: pa.Table, column: str) -> dict[str, int]:
    sums = entries.group_by(column).aggregate([("rows", "sum")])
    return dict(zip(sums[column].to_pylist(), sums["rows_sum"].to_pylist(), strict=True))


@dg.asset_check(
    asset=asset_key(gold.SCORECARD),
    name="lists_do_not_lose_to_personal_top",
    description="The lists of the month before found no less of what was bought than personal top-frequency.",
    blocking=True,
    partitions_def=MONTHS,
)
def lists_do_not_lose(context: dg.AssetCheckExecutionContext, platform: Platform) -> dg.AssetCheckResult:
    """Stops the publish where the method has just lost: clearly, by two standard errors of the paired difference."""
    metric = f"recall@{K}_vs_{AGAINST}"
    where: list[Condition] = [("method", "=", "published"), ("metric", "=", metric)]
    scored = platform.lake().collect(gold.SCORECARD, sorted(context.partition_keys), where=where)
    rows = [row for row in scored.sort_by("month").to_pylist() if row["value"] is not None]
    lost = [row["month"] for row in rows if is_loss(row["value"], row["standard_error"])]
    told = "; ".join(f"{row['month']}: {row['value']:+.4f}" for row in rows) or "no list of the month before to judge"
    text = f"{metric} {told}" + (f": lost in {', '.join(lost)}, so nothing is published" if lost else "")
    return dg.AssetCheckResult(passed=not lost, description=text, metadata={row["month"]: row["value"] for row in rows})


MONTHLY_TABLES = (
    silver.ORDER_LINES,
    silver.INTERACTIONS_TABLE,
    *gold.TABLES,
)

CHECKS: list[dg.AssetChecksDefinition] = [
    table_check(bronze.LANDING_FILES),
    table_check(silver.PRODUCTS_TABLE),
    table_check(silver.CUSTOMERS_TABLE),
    *[monthly_check(table) for table in MONTHLY_TABLES],
    lists_do_not_lose,
]
