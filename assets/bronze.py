"""Bronze: ingestion of landed files. Not monthly: a run reads every file that has not been read, whatever its months.

The tables are one multi-asset because they share the quarantine and the ledger of files, and so one writer.
"""

from collections.abc import Iterator

import dagster as dg

from assets.factory import asset_key, report_metadata, spec_parts
from assets.resources import Platform
from jobs import ingest
from warehouse.contracts.bronze import BY_DATASET, LANDING_FILES, QUARANTINE
from warehouse.contracts.landing import DATASETS
from warehouse.contracts.table import Table
from warehouse.object_store_errors import explained

POOL = "landing_to_silver"
"""Ingestion and the silver assets all write the quarantine: this pool keeps them one at a time."""

_KINDS = {"spark", "deltalake", "bronze"}


def _spec(table: Table, description: str) -> dg.AssetSpec:
    return dg.AssetSpec(**spec_parts(table, _KINDS), description=description, skippable=True)


@dg.multi_asset(
    name="ingest_landing",
    specs=[
        *[
            _spec(
                table, f"{table.text} Running it again reads only new files; a run that died is made good by the next."
            )
            for table in BY_DATASET.values()
        ],
        _spec(LANDING_FILES, LANDING_FILES.text),
        _spec(QUARANTINE, f"{QUARANTINE.text} The silver assets add what they refuse."),
    ],
    can_subset=True,
    pool=POOL,
)
def ingest_landing(context: dg.AssetExecutionContext, platform: Platform) -> Iterator[dg.MaterializeResult]:
    """Reads what has landed into bronze."""
    lake, settings = platform.lake(), platform.settings()
    selected = context.selected_asset_keys
    read, refused = 0, {}
    for name, table in BY_DATASET.items():
        if asset_key(table) not in selected:
            continue
        with explained():
            report = ingest.run(lake, settings, DATASETS[name])
        context.log.info(report.line())
        read += int(report.details.get("files_read", 0))
        refused[name] = report.details.get("quarantined", {})
        yield dg.MaterializeResult(
            asset_key=asset_key(table),
            metadata={**report_metadata(report), "months": dg.MetadataValue.json(list(report.rows))},
        )
    if asset_key(LANDING_FILES) in selected:
        yield dg.MaterializeResult(asset_key=asset_key(LANDING_FILES), metadata={"files_read": read})
    if asset_key(QUARANTINE) in selected:
        metadata = {"quarantined": dg.MetadataValue.json(refused)}
        yield dg.MaterializeResult(asset_key=asset_key(QUARANTINE), metadata=metadata)


ASSETS = [ingest_landing]
