"""What the jobs that look at a month's history share: the state of each pair with what the catalogue says of it.

Not a program.
"""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from transforms.candidates import text_key
from transforms.catalogue import as_of_end_of
from warehouse.contracts.gold import REPLENISHMENT_STATE
from warehouse.contracts.silver import PRODUCTS_TABLE
from warehouse.lake import Lake
from warehouse.settings import Settings


def typed_state(lake: Lake, settings: Settings, month: str) -> DataFrame:
    """``gold/replenishment_state`` of the month with ``product_type``, ``text_key`` and stock flags.

    ``product_type`` is the product's type, else its category, else empty; all as known at the end of the month.

    Raises:
        MissingMonth: the month has no state.
    """
    products = as_of_end_of(lake.read(PRODUCTS_TABLE), month, settings.business_tz).select(
        "product_id",
        F.coalesce("type", "category", F.lit("")).alias("product_type"),
        text_key("text_hash").alias("text_key"),
        "is_subscribable",
        "is_in_stock",
    )
    state = lake.require_months(REPLENISHMENT_STATE, [month])
    return state.join(F.broadcast(products), on="product_id", how="inner")
