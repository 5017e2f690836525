"""Landing → bronze: reads every landed file that has not been read, once.

Good rows go to ``bronze/<dataset>``, bad ones (and notes of bad optional cells) to ``bronze/quarantine``, and the file
into ``bronze/landing_files``, in this order. A crash in between leaves the file unlisted; the next run reads it again
and *replaces* its rows, so nothing is lost or doubled. Run it by hand with
``python -m jobs.ingest [--dataset orders]``.
"""

import argparse
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from jobs.cli import job_process
from jobs.report import JobReport
from transforms.landing_rows import type_rows
from warehouse.contracts.bronze import BY_DATASET, LANDING_FILES, QUARANTINE
from warehouse.contracts.landing import DATASETS, Dataset
from warehouse.contracts.table import arrow_schema, spark_schema
from warehouse.files import open_filesystem
from warehouse.lake import Lake, open_lake
from warehouse.landing import LandedFile, checksum, list_files, raw_schema, read_rows
from warehouse.object_store_errors import require_store
from warehouse.settings import Settings, load_settings
from warehouse.spark import start_session


def run(lake: Lake, settings: Settings, dataset: Dataset) -> JobReport:
    """Ingests the new files of one dataset.

    Returns:
        Rows kept by month (``all`` for datasets without months), and counts of files and of quarantined rows by reason.

    Raises:
        MissingDataset: the dataset is required and has no file at all.
        StoreUnavailable: the landing folder cannot be listed.
    """
    require_store(settings, "REPLENISH_LANDING_URI")
    landing = open_filesystem(settings.landing, settings.s3_endpoint)
    files = list_files(landing, dataset, settings.landing)
    new, changed = _unseen(lake, landing, dataset, files)
    table = BY_DATASET[dataset.name]
    if not new and not changed:
        lake.create(table)
        return JobReport(table.name, {}, {"files_read": 0, "files_seen": len(files)})
    read_at = datetime.now(UTC)
    raw = _read(lake, settings, dataset, new)
    typed = type_rows(raw, dataset, settings.business_tz, read_at, settings.null_words)
    # Kept, because each use would read the files again.
    typed = typed.persist(StorageLevel.MEMORY_AND_DISK)
    try:
        return _write(lake, dataset, typed, new, changed, read_at)
    finally:
        typed.unpersist()


def _unseen(
    lake: Lake, landing: object, dataset: Dataset, files: list[LandedFile]
) -> tuple[dict[LandedFile, str], dict[LandedFile, str]]:
    """Files never read, and files whose content changed since; each with its checksum."""
    columns = ["path", "size_bytes", "modified_at", "checksum"]
    seen = lake.collect(LANDING_FILES, columns=columns, where=[("dataset", "=", dataset.name)])
    known: dict[str, list[dict]] = {}
    for row in seen.to_pylist():
        known.setdefault(row["path"], []).append(row)
    new, changed = {}, {}
    for file in files:
        before = known.get(file.path, [])
        stamp = (file.size_bytes, file.modified_at.replace(tzinfo=None, microsecond=0))
        if any((row["size_bytes"], row["modified_at"].replace(tzinfo=None, microsecond=0)) == stamp for row in before):
            continue
        digest = checksum(landing, file.path)
        if not before:
            new[file] = digest
        elif digest not in {row["checksum"] for row in before}:
            changed[file] = digest
    return new, changed


def _read(lake: Lake, settings: Settings, dataset: Dataset, files: dict[LandedFile, str]) -> DataFrame:
    uri, endpoint, null_words = settings.landing, settings.s3_endpoint, settings.null_words

    def read(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        landing = open_filesystem(uri, endpoint)
        for batch in batches:
            for row in batch.to_pylist():
                yield from read_rows(landing, LandedFile(**row), dataset, null_words)

    schema = from_arrow_schema(raw_schema(dataset))
    if not files:
        return lake.spark.createDataFrame([], schema)
    rows = [tuple(asdict(file).values()) for file in files]
    listed = lake.spark.createDataFrame(rows, "dataset string, path string, size_bytes long, modified_at timestamp")
    # One task a file: row numbers are counted in order, and a file that cannot be split is not.
    return listed.repartition(len(rows)).mapInArrow(read, schema)


def _write(
    lake: Lake,
    dataset: Dataset,
    typed: DataFrame,
    new: dict[LandedFile, str],
    changed: dict[LandedFile, str],
    read_at: datetime,
) -> JobReport:
    table = BY_DATASET[dataset.name]
    counts = _count(typed)
    # Rows read from a file before it turned out to be broken go; its own entry stands for all of it.
    broken = sorted({count.file_id for count in counts if count.is_whole_file})
    if broken:
        counts = [count for count in counts if count.is_whole_file or count.file_id not in broken]
        typed = typed.where((F.col("row_number") == 0) | ~F.col("file_id").isin(broken))
    paths = {file.file_id: file.path for file in new}
    ids = ", ".join(f"'{file_id}'" for file_id in [*paths, *map(_changed_id, changed.items())])
    if new:
        columns = [name for name in table.column_names if name != "month" or table.is_monthly]
        good = typed.where("problem IS NULL").select(*columns)
        lake.replace_where(table, good, f"file_id IN ({ids})")
    if changed or any(count.reason or count.cells for count in counts):
        where = f"dataset = '{dataset.name}' AND stage = 'bronze' AND file_id IN ({ids})"
        lake.replace_where(QUARANTINE, _quarantine_rows(lake, dataset, typed, paths, changed), where)
    lake.append(LANDING_FILES, _ledger(new, changed, counts, read_at))
    rows: dict[str, int] = {}
    quarantined: dict[str, int] = {}
    for count in counts:
        if count.reason:
            quarantined[count.reason] = quarantined.get(count.reason, 0) + count.rows
        else:
            month = count.month if table.is_monthly else "all"
            rows[month] = rows.get(month, 0) + count.rows
    details = {"files_read": len(new), "files_changed": len(changed), "rows_in": sum(count.rows for count in counts)}
    cells = sum(count.cells for count in counts)
    if cells:
        details["rows_without_bad_cells"] = cells
    return JobReport(table.name, dict(sorted(rows.items())), {**details, "quarantined": quarantined})


@dataclass(frozen=True)
class _Count:
    """Rows of one file, month and reason (``None``: kept).

    ``is_whole_file``: the entry of a file that broke off. ``cells``: kept rows that lost an optional cell.
    """

    file_id: str
    month: str | None
    reason: str | None
    is_whole_file: bool
    rows: int
    cells: int


def _count(typed: DataFrame) -> list[_Count]:
    is_whole_file = (F.col("row_number") == 0).alias("is_whole_file")
    groups = typed.groupBy("file_id", "month", F.col("problem.reason").alias("reason"), is_whole_file)
    counted = groups.agg(F.sum("problem_rows").cast("long"), F.count("cell_problem"))
    return [_Count(*row) for row in counted.collect()]


def _quarantine_rows(
    lake: Lake, dataset: Dataset, typed: DataFrame, paths: dict[str, str], changed: dict[LandedFile, str]
) -> DataFrame:
    path_of = lake.spark.createDataFrame(list(paths.items()), "file_id string, path string")
    bad = (
        typed.where("problem IS NOT NULL OR cell_problem IS NOT NULL")
        # A row that goes on without a cell is not lost: its entry stands for none.
        .withColumn("problem_rows", F.when(F.col("problem").isNull(), 0).otherwise(F.col("problem_rows")))
        .withColumn("problem", F.coalesce("problem", "cell_problem"))
        .join(F.broadcast(path_of), "file_id", "inner")
        .select(
            F.lit(dataset.name).alias("dataset"),
            F.lit("bronze").alias("stage"),
            "file_id",
            "path",
            "row_number",
            "month",
            "problem.column",
            "problem.value",
            "problem.reason",
            "problem.message",
            F.col("problem_rows").alias("rows"),
            "row_json",
        )
    )
    if not changed:
        return bad
    text = "its content changed after it was read; what was read stays: land the new content under another name"
    entries = [
        (
            dataset.name,
            "bronze",
            _changed_id((file, digest)),
            file.path,
            0,
            None,
            None,
            None,
            "file_changed",
            text,
            0,
            None,
        )
        for file, digest in changed.items()
    ]
    return bad.unionByName(lake.spark.createDataFrame(entries, spark_schema(QUARANTINE)))


def _changed_id(changed: tuple[LandedFile, str]) -> str:
    """An id of its own, so that what was read from the file before stays as it is."""
    file, digest = changed
    return hashlib.sha256(f"{file.path}:{digest}".encode()).hexdigest()[:16]


def _ledger(
    new: dict[LandedFile, str],
    changed: dict[LandedFile, str],
    counts: Sequence[_Count],
    read_at: datetime,
) -> pa.Table:
    entries: list[tuple] = []
    for file, digest in new.items():
        of_file = [count for count in counts if count.file_id == file.file_id]
        kept = sum(count.rows for count in of_file if not count.reason)
        refused = sum(count.rows for count in of_file if count.reason)
        months = sorted({count.month for count in of_file if count.month and not count.reason})
        stamp = (file.dataset, file.file_id, file.path, file.size_bytes, file.modified_at, digest)
        entries.append((*stamp, kept + refused, kept, refused, months, read_at))
    for file, digest in changed.items():
        stamp = (file.dataset, _changed_id((file, digest)), file.path, file.size_bytes, file.modified_at, digest)
        entries.append((*stamp, 0, 0, 0, [], read_at))
    schema = arrow_schema(LANDING_FILES)
    return pa.Table.from_pylist([dict(zip(schema.names, entry, strict=True)) for entry in entries], schema=schema)


def main(argv: Sequence[str] | None = None) -> None:
    """Ingests all datasets, or the one named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=sorted(DATASETS), help="only this dataset")
    chosen = parser.parse_args(argv).dataset
    with job_process() as tell:
        settings = load_settings()
        lake = open_lake(start_session(settings), settings)
        for dataset in [DATASETS[chosen]] if chosen else DATASETS.values():
            tell(run(lake, settings, dataset))


if __name__ == "__main__":
    main()
