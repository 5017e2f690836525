"""What counts as bought in the judgement that the project's reference figures stand on (Complete Journey only).

The reference leaves out non-goods (fuel, coupons, miscellaneous sales) and keeps tobacco, which no list may carry
(``transforms/complete_journey.py``). With tobacco, personal top comes out at the reference's figures month by month;
a frequency that decays with a half-life of 120 days comes out at those of its decayed one. Needs are counted by days.
"""

from pyspark.sql import DataFrame

from transforms.complete_journey import exclusion
from warehouse.contracts.silver import PRODUCTS_TABLE
from warehouse.lake import Lake

TOBACCO = "tobacco"

REFERENCE = {
    "personal_top": {"recall@10": 0.0869, "precision@10": 0.340, "need_recall@10": 0.164, "need_precision@10": 0.484},
    "decayed_frequency": {
        "recall@10": 0.0925,
        "precision@10": 0.362,
        "need_recall@10": 0.170,
        "need_precision@10": 0.496,
    },
    "tifuknn": {"recall@10": 0.0935, "precision@10": 0.364, "need_recall@10": 0.172, "need_precision@10": 0.500},
}
"""The reference's own figures, mean of 2017-10 to 12 (issue 4)."""


def all_goods(lake: Lake) -> DataFrame:
    """``product_id`` of every good of the catalogue, tobacco among them; one row a product."""
    kinds = lake.read(PRODUCTS_TABLE).select("product_id", "department", "category", "type").distinct().collect()
    ids = {row.product_id for row in kinds if exclusion(row.department, row.category, row.type) in (None, TOBACCO)}
    return lake.spark.createDataFrame([(key,) for key in sorted(ids)], "product_id string")
