"""gold/replenishment_state and gold/affinities of M-1, gold/purchase_frequency of M → gold/ranker_examples of M.

Examples are of products and of needs, by the same features. The months that the rankers of M learn from end with M;
those of them that have no examples yet are filled in, so that the first decision after a long history can be learned
for. Run by hand with ``python -m jobs.ranker_examples --month 2017-08``.
"""

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.affinities import read_affinities
from jobs.cli import run_job
from jobs.history import typed_state
from jobs.report import JobReport
from transforms.catalogue import as_of_end_of
from transforms.needs import as_needs, need
from transforms.pair_features import label_examples, pair_features, with_affinities
from transforms.ranking import RankerParams
from warehouse.contracts.features import FEATURE_NAMES
from warehouse.contracts.gold import PURCHASE_FREQUENCY, RANKER_EXAMPLES
from warehouse.contracts.silver import PRODUCTS_TABLE
from warehouse.lake import Lake
from warehouse.months import add_months, month_range
from warehouse.settings import Settings


def run(lake: Lake, settings: Settings, months: Sequence[str]) -> JobReport:
    """Replaces the months of ``gold/ranker_examples`` and fills in those before them that a ranker needs.

    Raises:
        MissingMonth: a month has no frequency, or the month before it no state.
    """
    params = RankerParams()
    rows: dict[str, int] = {}
    for month in sorted(months):
        window = month_range(add_months(month, 1 - params.months), month)
        known = lake.count_by_month(RANKER_EXAMPLES, window[:-1])
        # The first month has no month before it whose state could be looked at.
        missing = [earlier for earlier in window[:-1] if earlier > settings.first_month and not known.get(earlier)]
        for each in [*missing, month]:
            rows[each] = _run_month(lake, settings, each, params)
    return JobReport(RANKER_EXAMPLES.name, rows)


def _run_month(lake: Lake, settings: Settings, month: str, params: RankerParams) -> int:
    if month <= settings.first_month:
        return lake.replace_months(RANKER_EXAMPLES, lake.read(RANKER_EXAMPLES, []), [month])
    before = add_months(month, -1)
    state = typed_state(lake, settings, before)
    bought = _bought(lake, settings, month)
    needs = bought.select("customer_id", F.col("need").alias("product_id")).distinct()
    of_target = []
    for target, items, of_month in (("product", state, bought), ("need", as_needs(state), needs)):
        examples = label_examples(pair_features(items), of_month, params.negative_share, params.seed)
        # After the thinning: most rows need no look at their affinities.
        examples = with_affinities(examples, read_affinities(lake, before, target))
        known = (F.lit(target).alias("target"), "customer_id", F.col("product_id").alias("item"), "is_bought", "weight")
        of_target.append(examples.select(*known, *FEATURE_NAMES))
    rows = of_target[0].unionByName(of_target[1]).withColumn("month", F.lit(month))
    return lake.replace_months(RANKER_EXAMPLES, rows, [month])


def _bought(lake: Lake, settings: Settings, month: str) -> DataFrame:
    """``customer_id, product_id, need`` of what was bought in the month, needs as the month before saw them."""
    products = as_of_end_of(lake.read(PRODUCTS_TABLE), add_months(month, -1), settings.business_tz)
    pairs = lake.require_months(PURCHASE_FREQUENCY, [month]).where(F.col("orders") > 0)
    return pairs.join(F.broadcast(products.select("product_id", need().alias("need"))), on="product_id", how="inner")


if __name__ == "__main__":
    run_job(run, __doc__)
