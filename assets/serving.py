"""Serving: the published lists."""

import dagster as dg

from assets.factory import asset_key, monthly_asset
from jobs import publish
from warehouse.contracts import gold, serving, silver

subscribe_save_lists = monthly_asset(
    serving.SUBSCRIBE_SAVE_LISTS,
    publish.run,
    description=f"{serving.SUBSCRIBE_SAVE_LISTS.text} Built, verified and gated beside the live version, then switched "
    "to at once. The same lists give the same version; a month before the live one leaves it as it is.",
    deps=[
        dg.AssetDep(asset_key(gold.LIST_DECISIONS)),
        # For its check alone: a method that has just lost to personal top-frequency publishes nothing.
        dg.AssetDep(asset_key(gold.SCORECARD)),
        dg.AssetDep(asset_key(silver.PRODUCTS_TABLE)),
        dg.AssetDep(asset_key(silver.CUSTOMERS_TABLE)),
    ],
    kinds=frozenset({"spark", "deltalake", "lmdb", "serving"}),
)

ASSETS = [subscribe_save_lists]
