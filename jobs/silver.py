"""What the silver jobs share: rows with their files' order, and the quarantine of what the silver layer refuses.

Not a program. A silver job reads the bronze partitions of its months, judges every row, writes those kept and
quarantines the others; :func:`write_judged` does the last two, so that no row can be lost between them.
"""

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.report import JobReport
from transforms.cleaning import DUPLICATE, KEPT, SUPERSEDED, UNKNOWN_PRODUCT
from warehouse.contracts.bronze import BY_DATASET, LANDING_FILES, QUARANTINE
from warehouse.contracts.table import Table
from warehouse.lake import Lake, persisted
from warehouse.table_log import Condition

_MESSAGES = {
    DUPLICATE: "the same row was kept once: nothing to mend",
    SUPERSEDED: "a later row of the same key corrects this one: nothing to mend",
    UNKNOWN_PRODUCT: "no catalogue row of this product is valid by the end of the month: land it in products/, "
    "then run the month again",
}


def bronze_rows(lake: Lake, dataset: str, months: Sequence[str] | None) -> DataFrame:
    """Bronze rows with ``file_order``: text that sorts later-read and later-written files after earlier ones."""
    files = lake.read(LANDING_FILES).where(F.col("dataset") == dataset)
    order = F.concat_ws(
        "/", F.date_format("ingested_at", "yyyyMMddHHmmssSSS"), F.date_format("modified_at", "yyyyMMddHHmmss"), "path"
    )
    files = files.groupBy("file_id").agg(F.min(order).alias("file_order"))
    return lake.read(BY_DATASET[dataset], months).join(F.broadcast(files), "file_id", "inner")


def write_judged(
    lake: Lake, table: Table, dataset: str, judged: DataFrame, months: Sequence[str] | None, note: str = ""
) -> JobReport:
    """Writes the rows whose ``verdict`` is kept to ``table`` and the others to quarantine.

    Args:
        lake: where.
        table: silver table.
        dataset: landing dataset that the rows came from.
        judged: has ``verdict``, ``file_id``, ``row_number`` and the table's columns.
        months: partitions to replace; ``None``: the whole table.
        note: what the commit of a whole table carries.
    """
    with persisted(judged) as rows:
        report = _report(table, rows, months)
        kept = rows.where(F.col("verdict") == KEPT).select(*table.column_names)
        refused = _quarantine_rows(lake, dataset, rows.where(F.col("verdict") != KEPT))
        # Quarantine first: a run that dies in between leaves a row in both places, never in neither.
        if report.details["quarantined"] or _has_refused(lake, dataset, months):
            lake.replace_where(QUARANTINE, refused, _refused_before(dataset, months))
        if months is None:
            lake.replace_all(table, kept, note)
        else:
            lake.replace_months(table, kept, months)
        return report


def _refused_before(dataset: str, months: Sequence[str] | None) -> str:
    """Which rows of the quarantine an earlier run of the months refused."""
    where = f"dataset = '{dataset}' AND stage = 'silver'"
    return where if months is None else f"{where} AND month IN ({', '.join(repr(month) for month in months)})"


def _has_refused(lake: Lake, dataset: str, months: Sequence[str] | None) -> bool:
    where: list[Condition] = [("dataset", "=", dataset), ("stage", "=", "silver")]
    return lake.collect(QUARANTINE, months, columns=["reason"], where=where).num_rows > 0


def _quarantine_rows(lake: Lake, dataset: str, refused: DataFrame) -> DataFrame:
    paths = (
        lake.read(LANDING_FILES).where(F.col("dataset") == dataset).groupBy("file_id").agg(F.min("path").alias("path"))
    )
    columns = [name for name in BY_DATASET[dataset].column_names if name in refused.columns]
    is_unknown = F.col("verdict") == UNKNOWN_PRODUCT
    product = F.col("product_id") if "product_id" in refused.columns else F.lit(None).cast("string")
    month = F.col("month") if "month" in refused.columns else F.lit(None).cast("string")
    message = F.element_at(
        F.create_map(*[F.lit(text) for pair in _MESSAGES.items() for text in pair]), F.col("verdict")
    )
    return refused.join(F.broadcast(paths), "file_id", "inner").select(
        F.lit(dataset).alias("dataset"),
        F.lit("silver").alias("stage"),
        "file_id",
        "path",
        "row_number",
        month.alias("month"),
        F.when(is_unknown, "product_id").alias("column"),
        F.when(is_unknown, product).alias("value"),
        F.col("verdict").alias("reason"),
        message.alias("message"),
        F.lit(1).alias("rows"),
        F.to_json(F.struct(*columns)).alias("row_json"),
    )


def _report(table: Table, judged: DataFrame, months: Sequence[str] | None) -> JobReport:
    month = F.col("month") if months is not None else F.lit("all")
    counts = judged.groupBy(month.alias("month"), "verdict").count().collect()
    rows = dict.fromkeys(months or ["all"], 0)
    verdicts: dict[str, int] = {}
    for row in counts:
        verdicts[row["verdict"]] = verdicts.get(row["verdict"], 0) + row["count"]
        if row["verdict"] == KEPT:
            rows[row["month"]] = row["count"]
    refused = {verdict: count for verdict, count in sorted(verdicts.items()) if verdict != KEPT}
    return JobReport(table.name, rows, {"rows_in": sum(verdicts.values()), "quarantined": refused})
