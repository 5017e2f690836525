"""Silver: cleaned facts by month, and the catalogue and the customers through time.

All depend on the ledger of landed files too: its check accounts for every row read, and blocks them where it fails.
"""

from assets.bronze import POOL
from assets.factory import asset_key, monthly_asset, whole_asset
from jobs import catalogue, interactions, order_lines
from warehouse.contracts.bronze import CUSTOMERS_TABLE as BRONZE_CUSTOMERS
from warehouse.contracts.bronze import INTERACTIONS_TABLE as BRONZE_INTERACTIONS
from warehouse.contracts.bronze import LANDING_FILES, ORDERS_TABLE
from warehouse.contracts.bronze import PRODUCTS_TABLE as BRONZE_PRODUCTS
from warehouse.contracts.silver import CUSTOMERS_TABLE, INTERACTIONS_TABLE, ORDER_LINES, PRODUCTS_TABLE

_KINDS = frozenset({"spark", "deltalake", "silver"})

products = whole_asset(
    PRODUCTS_TABLE,
    catalogue.run_products,
    description=f"{PRODUCTS_TABLE.text} Rebuilt whole from bronze; a late change moves only the periods it touches.",
    deps=[asset_key(BRONZE_PRODUCTS), asset_key(LANDING_FILES)],
    kinds=_KINDS,
    pool=POOL,
)

customers = whole_asset(
    CUSTOMERS_TABLE,
    catalogue.run_customers,
    description=f"{CUSTOMERS_TABLE.text} Rebuilt whole from bronze.",
    deps=[asset_key(BRONZE_CUSTOMERS), asset_key(LANDING_FILES)],
    kinds=_KINDS,
    pool=POOL,
)

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
