"""Named selections of assets: what a schedule, a sensor or a person launches."""

import dagster as dg

from assets import bronze, gold, serving, silver

INGEST = "ingest"
HISTORY = "history"
DECISIONS = "decisions"
MONTHLY = "monthly"

ingest_selection = dg.AssetSelection.assets(*bronze.ASSETS, silver.products, silver.customers)
history_selection = dg.AssetSelection.assets(silver.order_lines_asset, silver.interactions_asset, *gold.HISTORY)
decisions_selection = dg.AssetSelection.assets(*gold.DECISIONS, gold.SCORECARD, *serving.ASSETS)

ingest = dg.define_asset_job(INGEST, ingest_selection, description="Read what has landed; not monthly.")
history = dg.define_asset_job(
    HISTORY,
    ingest_selection | history_selection,
    description="Landing to running history, for one month or a range of months in one run. Publishes nothing.",
)
decisions = dg.define_asset_job(
    DECISIONS,
    decisions_selection,
    description="Candidates, lists and publishing of one month whose history is there.",
)
monthly = dg.define_asset_job(
    MONTHLY,
    ingest_selection | history_selection | decisions_selection,
    description="The whole month: landing to published lists.",
)

JOBS = [ingest, history, decisions, monthly]
