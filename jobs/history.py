"""What the jobs that look at a month's history share: the state of each pair with what the catalogue says of it.

Not a program.
"""

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from transforms.candidates import text_key
from transforms.catalogue import as_of_end_of
from transforms.needs import category, need
from warehouse.contracts.gold import REPLENISHMENT_STATE
from warehouse.contracts.silver import PRODUCTS_TABLE
from warehouse.lake import Lake
from warehouse.settings import Settings


def typed_state(lake: Lake, settings: Settings, month: str) -> DataFrame:
    """``gold/replenishment_state`` of the month with ``need``, ``category``, ``text_key``, stock flags, dietary tags.

    What the catalogue says is what was known at the end of the month.

    Raises:
        MissingMonth: the month has no state.
    """
    products = as_of_end_of(lake.read(PRODUCTS_TABLE), month, settings.business_tz).select(
        "product_id",
        need().alias("need"),
        # One for all products of a need, so that the needs' own table has one row a need.
        F.max(category()).over(Window.partitionBy(need())).alias("category"),
        text_key("text_hash").alias("text_key"),
        "is_subscribable",
        "is_in_stock",
        "dietary_tags",
    )
    state = lake.require_months(REPLENISHMENT_STATE, [month])
    return state.join(F.broadcast(products), on="product_id", how="inner")
