"""Makes an asset of a table and its job: the parts that all assets have alike, written once."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg

from assets.partitions import MONTHS
from assets.resources import Platform
from jobs.report import JobReport
from warehouse.contracts.table import Table
from warehouse.lake import Lake
from warehouse.object_store_errors import explained
from warehouse.settings import Settings

OWNERS = ["team:data-platform"]

# Ranges of months in one run, and checks by month, rest on these; that they are beta or preview need not be said for
# each asset anew.
warnings.filterwarnings("ignore", message=".*backfill_policy.*", category=dg.BetaWarning)
warnings.filterwarnings("ignore", message=".*allow_nonexistent_upstream_partitions.*", category=dg.BetaWarning)
warnings.filterwarnings("ignore", message=".*partitions_def on an AssetCheckSpec.*", category=dg.PreviewWarning)

Run = Callable[[Lake, Settings, Sequence[str]], JobReport]


def asset_key(table: Table) -> dg.AssetKey:
    """``[layer, table]``."""
    return dg.AssetKey(table.asset_key)


def pool_of(table: Table) -> str:
    """Pool that keeps one writer to the table; its limit is 1."""
    return table.name.replace("/", "_")


def column_schema(table: Table) -> dg.TableSchema:
    """The contract's columns as Dagster shows them."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                c.name,
                str(c.type),
                description=c.text + (f" ({c.unit})" if c.unit else ""),
                constraints=dg.TableColumnConstraints(nullable=c.nullable, unique=table.key == (c.name,)),
            )
            for c in table.columns
        ]
    )


def spec_parts(table: Table, kinds: set[str]) -> dict[str, Any]:
    """Arguments that an asset and an asset spec of a table share."""
    return {
        "key": asset_key(table),
        "group_name": table.layer,
        "owners": OWNERS,
        "kinds": kinds,
        "metadata": {
            "dagster/column_schema": column_schema(table),
            "dagster/table_name": table.name,
            "key": ", ".join(table.key),
        },
    }


def report_metadata(report: JobReport) -> dict[str, Any]:
    """What a job said, as asset metadata."""
    metadata: dict[str, Any] = {"dagster/partition_row_count": report.row_count}
    if len(report.rows) > 1:
        metadata["rows"] = dg.MetadataValue.json(report.rows)
    for name, value in report.details.items():
        metadata[name] = dg.MetadataValue.json(value) if isinstance(value, dict) else value
    return metadata


def monthly_asset(
    table: Table,
    run: Run,
    *,
    description: str,
    deps: Sequence[dg.AssetDep | dg.AssetKey],
    kinds: frozenset[str] = frozenset({"spark", "deltalake"}),
    pool: str | None = None,
) -> dg.AssetsDefinition:
    """A monthly asset that one job fills. A range of months is one run, in month order.

    Args:
        table: what is written.
        run: the job's function.
        description: one business sentence, then idempotency and late data.
        deps: upstream assets, with their partition mappings.
        kinds: engines, for the UI.
        pool: pool of its writer; the table's own where none is named.
    """

    @dg.asset(
        **spec_parts(table, set(kinds)),
        deps=deps,
        description=description,
        partitions_def=MONTHS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=pool or pool_of(table),
    )
    def build(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:
        with explained():
            report = run(platform.lake(), platform.settings(), sorted(context.partition_keys))
        context.log.info(report.line())
        return dg.MaterializeResult(metadata=report_metadata(report))

    return build


def whole_asset(
    table: Table,
    run: Callable[[Lake], JobReport],
    *,
    description: str,
    deps: Sequence[dg.AssetKey],
    kinds: frozenset[str],
    pool: str,
) -> dg.AssetsDefinition:
    """An asset without months that one job fills whole; arguments as :func:`monthly_asset`."""

    @dg.asset(**spec_parts(table, set(kinds)), deps=deps, description=description, pool=pool)
    def build(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:
        with explained():
            report = run(platform.lake())
        context.log.info(report.line())
        return dg.MaterializeResult(metadata=report_metadata(report))

    return build
