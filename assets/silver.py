"""Silver: cleaned facts by month, and the catalogue and the customers through time.

All depend on the ledger of landed files too: its check accounts for every row read, and blocks them where it fails.
"""

import dagster as dg

from assets.bronze import POOL
from assets.factory import asset_key, monthly_asset, report_metadata, spec_parts
from assets.resources import Platform
from jobs import catalogue, interactions, order_lines
from warehouse.contracts.bronze import CUSTOMERS_TABLE as BRONZE_CUSTOMERS
from warehouse.contracts.bronze import INTERACTIONS_TABLE as BRONZE_INTERACTIONS
from warehouse.contracts.bronze import LANDING_FILES, ORDERS_TABLE
from warehouse.contracts.bronze import PRODUCTS_TABLE as BRONZE_PRODUCTS
from warehouse.contracts.silver import CUSTOMERS_TABLE, INTERACTIONS_TABLE, ORDER_LINES, PRODUCTS_TABLE

_KINDS = {"spark", "deltalake", "silver"}


@dg.asset(
    **spec_parts(PRODUCTS_TABLE, _KINDS),
    deps=[asset_key(BRONZE_PRODUCTS), asset_key(LANDING_FILES)],
    pool=POOL,
    description=f"{PRODUCTS_TABLE.text} Rebuilt whole from bronze; a late change moves only the periods it touches.",
)
def products(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:
    """The catalogue through time."""
    report = catalogue.run_products(platform.lake())
    context.log.info(report.line())
    return dg.MaterializeResult(metadata=report_metadata(report))


@dg.asset(
    **spec_parts(CUSTOMERS_TABLE, _KINDS),
    deps=[asset_key(BRONZE_CUSTOMERS), asset_key(LANDING_FILES)],
    pool=POOL,
    description=f"{CUSTOMERS_TABLE.text} Rebuilt whole from bronze.",
)
def customers(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:
    """The customers through time."""
    report = catalogue.run_customers(platform.lake())
    context.log.info(report.line())
    return dg.MaterializeResult(metadata=report_metadata(report))


order_lines_asset = monthly_asset(
    ORDER_LINES,
    order_lines.run,
    description=f"{ORDER_LINES.text} A re-run replaces its months and brings in what has landed late for them.",
    deps=[asset_key(ORDERS_TABLE), asset_key(LANDING_FILES), asset_key(PRODUCTS_TABLE)],
    pool=POOL,
)

interactions_asset = monthly_asset(
    INTERACTIONS_TABLE,
    interactions.run,
    description=f"{INTERACTIONS_TABLE.text} A re-run replaces its months and brings in late rows.",
    deps=[asset_key(BRONZE_INTERACTIONS), asset_key(LANDING_FILES)],
    pool=POOL,
)

ASSETS = [products, customers, order_lines_asset, interactions_asset]
