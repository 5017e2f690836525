"""gold/replenishment_state of M-1, gold/purchase_frequency of M → gold/ranker_examples of M.

Examples are of products and of needs, by the same features. The months that the rankers of M learn from end with M;
those of them that have no examples yet are filled in, so that the first decision after a long history can be learned
for. Run by hand with ``python -m jobs.ranker_examples --month 2017-08``.
"""

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.cli import run_job
from jobs.history import typed_state
from jobs.report import JobReport
from transforms.catalogue import as_of_end_of
from transforms.needs import as_needs, need
from transforms.pair_features import label_examples, pair_features
from transforms.ranking import MOST_MONTHS, OF_TARGET
from warehouse.contracts.features import FEATURE_NAMES
from warehouse.contracts.gold import PURCHASE_FREQUENCY, RANKER_EXAMPLES
from warehouse.contracts.silver import PRODUCTS_TABLE
from warehouse.contracts.table import arrow_schema
from warehouse.lake import Lake
from warehouse.months import add_months, month_range
from warehouse.settings import Settings


def run(lake: Lake, settings: Settings, months: Sequence[str]) -> JobReport:
    """Replaces the months of ``gold/ranker_examples`` and fills in those before them that a ranker needs.

    Raises:
        MissingMonth: a month has no frequency, or the month before it no state.
    """
    rows: dict[str, int] = {}
    for month in sorted(months):
        window = month_range(add_months(month, 1 - MOST_MONTHS), month)
        known = lake.count_by_month(RANKER_EXAMPLES, window[:-1])
        # The first month has no month before it whose state could be looked at.
        missing = [earlier for earlier in window[:-1] if earlier > settings.first_month and not known.get(earlier)]
        for each in [*missing, month]:
            rows[each] = _run_month(lake, settings, each)
    return JobReport(RANKER_EXAMPLES.name, rows)


def _run_month(lake: Lake, settings: Settings, month: str) -> int:
    if month <= settings.first_month:
        return lake.replace_months(RANKER_EXAMPLES, arrow_schema(RANKER_EXAMPLES).empty_table(), [month]).rows
    state = typed_state(lake, settings, add_months(month, -1))
    bought = _bought(lake, settings, month)
    needs = bought.select("customer_id", F.col("need").alias("product_id")).distinct()
    examples = [
        _examples("product", state, bought),
        _examples("need", as_needs(state), needs),
    ]
    rows = examples[0].unionByName(examples[1]).withColumn("month", F.lit(month))
    return lake.replace_months(RANKER_EXAMPLES, rows, [month]).rows


def _examples(target: str, items: DataFrame, bought: DataFrame) -> DataFrame:
    params = OF_TARGET[target]
    found = label_examples(pair_features(items, params.most), bought, params.negative_share, params.seed)
    known = (F.lit(target).alias("target"), "customer_id", F.col("product_id").alias("item"), "is_bought", "weight")
    return found.select(*known, *FEATURE_NAMES)


def _bought(lake: Lake, settings: Settings, month: str) -> DataFrame:
    """``customer_id, product_id, need`` of what was bought in the month, needs as the month before saw them."""
    products = as_of_end_of(lake.read(PRODUCTS_TABLE), add_months(month, -1), settings.business_tz)
    pairs = lake.require_months(PURCHASE_FREQUENCY, [month]).where(F.col("orders") > 0)
    return pairs.join(F.broadcast(products.select("product_id", need().alias("need"))), on="product_id", how="inner")


if __name__ == "__main__":
    run_job(run, __doc__)
