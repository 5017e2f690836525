"""What new files and late rows set off. Both sensors are off until somebody turns them on.

``landing_files`` sees new files and has them read. ``late_rows`` looks at what was read: a month that had been
cleaned before is stale now, and so is every later month that was computed from it; exactly these are run again, in
order. Lists that were published for a month before the live one stay as they were (``jobs/publish.py``).
"""

import hashlib
import json

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
from warehouse.object_store_errors import require_store
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
    require_store(settings, "REPLENISH_LANDING_URI")
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


@dg.sensor(
    name="late_rows",
    job=monthly,
    minimum_interval_seconds=60,
    description="Runs again the months that late rows have made stale, and those after them.",
)
def late_rows(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Requests the stale months in order, once for each ingestion that brought late rows."""
    cursor = int(context.cursor or 0)
    touched: dict[str, int] = {}
    newest = cursor
    for table in (ORDERS_TABLE, INTERACTIONS_TABLE):
        since = dg.AssetRecordsFilter(asset_key(table), after_storage_id=cursor)
        for record in context.instance.fetch_materializations(since, limit=1000, ascending=True).records:
            newest = max(newest, record.storage_id)
            months = record.asset_materialization.metadata.get("months") if record.asset_materialization else None
            for month in months.value if months else []:
                touched[month] = max(record.storage_id, touched.get(month, 0))
    stale = stale_months(touched, computed_months(context.instance))
    if not stale:
        context.update_cursor(str(newest))
        return dg.SkipReason("no computed month has got late rows")
    requests = [dg.RunRequest(run_key=f"{newest}-{month}", partition_key=month) for month in stale]
    return dg.SensorResult(run_requests=requests, cursor=str(newest))


def computed_months(instance: dg.DagsterInstance) -> dict[str, int]:
    """Months of ``silver/order_lines`` that have been materialized, each with the event that did it last."""
    latest = instance.get_latest_storage_id_by_partition(
        asset_key(ORDER_LINES), dg.DagsterEventType.ASSET_MATERIALIZATION
    )
    return dict(sorted(latest.items()))


def stale_months(touched: dict[str, int], computed: dict[str, int]) -> list[str]:
    """What late rows make stale, in the order to run it.

    Args:
        touched: month → event of the latest ingestion that brought rows of it.
        computed: month → event that last computed it; events are numbered in order.

    Returns:
        The computed months from the first on that got rows after it was computed.
    """
    late = [month for month in computed if computed[month] < touched.get(month, 0)]
    return [month for month in sorted(computed) if late and month >= min(late)]
