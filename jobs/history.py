"""What the jobs that look at a month's history share: the state of each pair with what the catalogue says of it.

Not a program.
"""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from transforms.catalogue import as_of_end_of
from warehouse.contracts.gold import REPLENISHMENT_STATE
from warehouse.contracts.silver import PRODUCTS_TABLE
from warehouse.lake import Lake
from warehouse.settings import Settings


def typed_state(lake: Lake, settings: Settings, month: str) -> DataFrame:
    """``gold/replenishment_state`` of the month, by customer, with ``product_type``, ``text_hash`` and stock flags.

    ``product_type`` is the product's type, else its category, else empty; all as known at the end of the month.

    Raises:
        MissingMonth: the month has no state.
    """
    products = as_of_end_of(lake.read(PRODUCTS_TABLE), month, settings.business_tz).select(
        "product_id",
        F.coalesce("type", "category", F.lit("")).alias("product_type"),
        "text_hash",
        "is_subscribable",
        "is_in_stock",
    )
    state = lake.require_months(REPLENISHMENT_STATE, [month])
    # By customer, as every window and join after it is: the rows then stay where they are.
    return state.join(F.broadcast(products), on="product_id", how="inner").repartition("customer_id")
