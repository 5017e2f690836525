"""Gold: the running history, vectors, candidates, LLM requests and decisions of each month, and their scorecard."""

from math import ceil

import dagster as dg

from assets.factory import asset_key, monthly_asset
from assets.partitions import months_before
from jobs import (
    candidates,
    copurchase,
    customer_profiles,
    discoveries,
    list_decisions,
    list_requests,
    product_embeddings,
    purchase_frequency,
    ranker_examples,
    rankers,
    replenishment_state,
    scorecard,
)
from transforms.discovery import DiscoveryParams
from transforms.ranking import MOST_MONTHS
from warehouse.contracts import gold, silver, vectors
from warehouse.contracts.table import Table
from warehouse.settings import load_settings

_WINDOW_MONTHS = load_settings().copurchase_window_months
_DISMISSAL_MONTHS = ceil(load_settings().dismissal_days / 28)
_SPARK = frozenset({"spark", "deltalake", "gold"})
_VECTORS = frozenset({"lancedb", "gold"})


def _on(table: Table, mapping: dg.PartitionMapping | None = None) -> dg.AssetDep:
    return dg.AssetDep(asset_key(table), partition_mapping=mapping)


HISTORY = [
    monthly_asset(
        gold.PURCHASE_FREQUENCY,
        purchase_frequency.run,
        description=f"{gold.PURCHASE_FREQUENCY.text} Replaces its months; reads no other.",
        deps=[_on(silver.ORDER_LINES), _on(silver.PRODUCTS_TABLE)],
        kinds=_SPARK,
    ),
    monthly_asset(
        gold.REPLENISHMENT_STATE,
        replenishment_state.run,
        description=f"{gold.REPLENISHMENT_STATE.text} Late data for M makes M and every later month stale.",
        deps=[_on(gold.PURCHASE_FREQUENCY), _on(gold.REPLENISHMENT_STATE, months_before(1, including_this=False))],
        kinds=_SPARK,
    ),
    monthly_asset(
        gold.COPURCHASE_COUNTS,
        copurchase.run_counts,
        description=f"{gold.COPURCHASE_COUNTS.text} Replaces its months; reads no other.",
        deps=[_on(silver.ORDER_LINES)],
        kinds=_SPARK,
    ),
    monthly_asset(
        vectors.PRODUCT_EMBEDDINGS,
        product_embeddings.run,
        description=f"{vectors.PRODUCT_EMBEDDINGS.text} Only new and changed texts are embedded; the tag 'prod' moves "
        "after the index has passed its recall check.",
        deps=[_on(silver.PRODUCTS_TABLE)],
        kinds=_VECTORS,
    ),
    monthly_asset(
        vectors.CUSTOMER_PROFILES,
        customer_profiles.run,
        description=f"{vectors.CUSTOMER_PROFILES.text} A re-run of a month starts from the month before it.",
        deps=[
            _on(gold.PURCHASE_FREQUENCY),
            _on(silver.CUSTOMERS_TABLE),
            _on(vectors.PRODUCT_EMBEDDINGS),
            _on(vectors.CUSTOMER_PROFILES, months_before(1, including_this=False)),
        ],
        kinds=_VECTORS,
    ),
]
"""Assets that every month of history needs."""

DECISIONS = [
    monthly_asset(
        gold.COPURCHASE,
        copurchase.run_window,
        description=f"{gold.COPURCHASE.text} Sums stored counts; order lines of earlier months are not read again.",
        deps=[_on(gold.COPURCHASE_COUNTS, months_before(_WINDOW_MONTHS - 1, including_this=True))],
        kinds=_SPARK,
    ),
    monthly_asset(
        gold.RANKER_EXAMPLES,
        ranker_examples.run,
        description=f"{gold.RANKER_EXAMPLES.text} Fills in the months before it that a ranker learns from.",
        deps=[
            _on(gold.PURCHASE_FREQUENCY),
            _on(gold.REPLENISHMENT_STATE, months_before(MOST_MONTHS, including_this=False)),
            _on(silver.PRODUCTS_TABLE),
        ],
        kinds=_SPARK,
    ),
    monthly_asset(
        gold.RANKERS,
        rankers.run,
        description=f"{gold.RANKERS.text} A re-run gives the same model.",
        deps=[
            _on(gold.RANKER_EXAMPLES, months_before(MOST_MONTHS - 1, including_this=True)),
            _on(gold.RANKERS, months_before(1, including_this=False)),
        ],
        kinds=frozenset({"lightgbm", "deltalake", "gold"}),
    ),
    monthly_asset(
        gold.CANDIDATES,
        candidates.run,
        description=f"{gold.CANDIDATES.text} Uses data up to the end of the month only; a re-run gives the same rows.",
        deps=[
            _on(gold.REPLENISHMENT_STATE),
            _on(gold.PURCHASE_FREQUENCY),
            _on(gold.COPURCHASE),
            _on(gold.RANKERS),
            _on(silver.INTERACTIONS_TABLE, months_before(_DISMISSAL_MONTHS, including_this=True)),
            _on(vectors.PRODUCT_EMBEDDINGS),
            _on(silver.PRODUCTS_TABLE),
            _on(silver.CUSTOMERS_TABLE),
        ],
        kinds=_SPARK | {"lancedb"},
    ),
    monthly_asset(
        gold.DISCOVERIES,
        discoveries.run,
        description=f"{gold.DISCOVERIES.text} A re-run gives the same rows.",
        deps=[
            _on(gold.REPLENISHMENT_STATE, months_before(DiscoveryParams().trees.months, including_this=True)),
            _on(gold.PURCHASE_FREQUENCY, months_before(DiscoveryParams().trees.months - 1, including_this=True)),
            _on(gold.DISCOVERIES, months_before(1, including_this=False)),
            _on(vectors.PRODUCT_EMBEDDINGS),
            _on(vectors.CUSTOMER_PROFILES, months_before(DiscoveryParams().trees.months, including_this=True)),
            _on(silver.INTERACTIONS_TABLE, months_before(_DISMISSAL_MONTHS, including_this=True)),
            _on(silver.PRODUCTS_TABLE),
            _on(silver.CUSTOMERS_TABLE),
        ],
        kinds=_SPARK,
    ),
    monthly_asset(
        gold.LIST_REQUESTS,
        list_requests.run,
        description=f"{gold.LIST_REQUESTS.text} The shards of the month are written anew.",
        deps=[_on(gold.CANDIDATES), _on(gold.DISCOVERIES), _on(silver.PRODUCTS_TABLE), _on(silver.CUSTOMERS_TABLE)],
        kinds=_SPARK,
    ),
    monthly_asset(
        gold.LIST_DECISIONS,
        list_decisions.run,
        description=f"{gold.LIST_DECISIONS.text} Unchanged requests are not asked again; an answer that does not stand "
        "falls back to the policy and is counted.",
        deps=[_on(gold.LIST_REQUESTS)],
        kinds=_SPARK,
    ),
]
"""Assets that are needed where lists are to be published."""

SCORECARD = monthly_asset(
    gold.SCORECARD,
    scorecard.run,
    description=f"{gold.SCORECARD.text} Empty for a month before which nothing was decided.",
    deps=[_on(silver.ORDER_LINES), _on(gold.LIST_DECISIONS, months_before(1, including_this=False))],
    kinds=_SPARK,
)

ASSETS = [*HISTORY, *DECISIONS, SCORECARD]
