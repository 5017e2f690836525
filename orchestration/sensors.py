"""What new files and late rows set off. Both sensors are off until somebody turns them on.

``landing_files`` sees new files and has them read. ``late_rows`` looks at what was read: a month that had been
cleaned before is stale now, and so is every later month that was computed from it; exactly these are run again, in
order. Lists that were published for a month before the live one stay as they were (``jobs/publish.py``).
"""

import hashlib
import json
from collections.abc import Iterator

import dagster as dg

from assets.factory import asset_key
from assets.resources import Platform
from orchestration.jobs import ingest, monthly
from warehouse.contracts.bronze import INTERACTIONS_TABLE, ORDERS_TABLE
from warehouse.contracts.landing import DATASETS
from warehouse.contracts.silver import ORDER_LINES
from warehouse.errors import MissingDataset
from warehouse.files import open_filesystem
from warehouse.landing import list_files
from warehouse.settings import Settings


@dg.sensor(
    name="landing_files",
    job=ingest,
    minimum_interval_seconds=60,
    description="Reads new landing files into bronze as soon as they are seen.",
)
def landing_files(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult | dg.SkipReason:
    """Requests one ingestion for each change of the landing folder's listing."""
    settings = platform.settings()
    listing, missing = _listing(settings)
    if missing:
        return dg.SkipReason(" ".join(missing))
    digest = hashlib.sha256(json.dumps(listing).encode()).hexdigest()
    if digest == context.cursor:
        return dg.SkipReason(f"{len(listing)} landed files, all seen before")
    request = dg.RunRequest(run_key=digest, tags={"replenish/landed_files": str(len(listing))})
    return dg.SensorResult(run_requests=[request], cursor=digest)


def _listing(settings: Settings) -> tuple[list[tuple[str, int, str]], list[str]]:
    landing = open_filesystem(settings.landing, settings.s3_endpoint)
    listing, missing = [], []
    for dataset in DATASETS.values():
        try:
            files = list_files(landing, dataset, settings.landing)
        except MissingDataset as error:
            missing.append(str(error))
            continue
        listing += [(file.path, file.size_bytes, file.modified_at.isoformat()) for file in files]
    return listing, missing


@dg.multi_asset_sensor(
    name="late_rows",
    monitored_assets=[asset_key(ORDERS_TABLE), asset_key(INTERACTIONS_TABLE)],
    job=monthly,
    minimum_interval_seconds=60,
    description="Runs again the months that late rows have made stale, and those after them.",
)
def late_rows(context: dg.MultiAssetSensorEvaluationContext) -> Iterator[dg.RunRequest]:
    """Requests the stale months in order, once for each ingestion that brought late rows."""
    touched: set[str] = set()
    newest = 0
    for record in context.latest_materialization_records_by_key().values():
        if record is None or record.asset_materialization is None:
            continue
        value = record.asset_materialization.metadata.get("months")
        touched |= set(value.value if value else [])
        newest = max(newest, record.storage_id)
    context.advance_all_cursors()
    for month in stale_months(touched, computed_months(context.instance)):
        yield dg.RunRequest(run_key=f"{newest}-{month}", partition_key=month)


def computed_months(instance: dg.DagsterInstance) -> list[str]:
    """Months of ``silver/order_lines`` that have been materialized, in order."""
    return sorted(instance.get_materialized_partitions(asset_key(ORDER_LINES)))


def stale_months(touched: set[str], computed: list[str]) -> list[str]:
    """Computed months from the earliest touched one on: what late rows make stale, in the order to run them."""
    late = [month for month in computed if month in touched]
    return [month for month in computed if late and month >= late[0]]
