"""What the ranker's month costs with 1, 3 and 10 times the households: ``python -m benchmarks.households``.

The demo's state of 2017-11 is written again and again under other customer ids, with jitter in counts and dates, into
a lake of its own; timed is the scoring of what households bought most (features, two rankers) as the
candidates' job does it, warm, the best of three. Writes ``benchmarks/results/households.json``: seconds, and seconds
for a thousand households, which stay level where the cost is linear.
"""

import json
import tempfile
import time
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.candidates import score_history, score_needs
from jobs.cli import exit_on_error
from transforms.thinning import hashed
from warehouse.contracts.gold import RANKERS, REPLENISHMENT_STATE
from warehouse.contracts.silver import CUSTOMERS_TABLE, PRODUCTS_TABLE
from warehouse.lake import Lake, open_lake, persisted
from warehouse.settings import Settings, load_settings
from warehouse.spark import start_session

MONTH = "2017-11"
TIMES = (1, 3, 10)
ROUNDS = 3
RESULTS = Path(__file__).resolve().parent / "results" / "households.json"
_JITTER = 0.2


def replicated(state: DataFrame, times: int) -> DataFrame:
    """The state of ``times`` as many customers: each copy under its own id, counts and dates a little different.

    Weighted counts are multiplied by up to 20 % more or less; the latest purchase moves back by at most six days, never
    before the first.
    """
    copies = state.withColumn("copy", F.explode(F.sequence(F.lit(1), F.lit(times))))
    of_row = ("customer_id", "product_id", "copy")
    factor = 1 + _JITTER * (2 * hashed(*of_row, F.lit(1)) - 1)
    weighted = [name for name in state.columns if name.startswith(("decayed_", "weighted_", "need_days_"))]
    back = F.date_sub("last_ordered_date", (hashed(*of_row, F.lit(2)) * 7).cast("int"))
    return copies.withColumns(
        {
            "customer_id": F.concat_ws("-", "customer_id", "copy"),
            "last_ordered_date": F.greatest(back, F.col("first_ordered_date")),
            **{name: F.col(name) * factor for name in weighted},
        }
    ).drop("copy")


def measure(lake: Lake, settings: Settings, times: int) -> dict[str, float]:
    """Households, pairs, and the seconds that scoring them took."""
    with tempfile.TemporaryDirectory() as folder:
        larger = Lake(lake.spark, folder)
        for table in (PRODUCTS_TABLE, CUSTOMERS_TABLE):
            larger.replace_all(table, lake.read(table))
        larger.replace_months(RANKERS, lake.require_months(RANKERS, [MONTH]), [MONTH])
        state = replicated(lake.require_months(REPLENISHMENT_STATE, [MONTH]), times)
        pairs = larger.replace_months(REPLENISHMENT_STATE, state, [MONTH]).rows
        households = larger.read(REPLENISHMENT_STATE).select("customer_id").distinct().count()
        seconds = min(_score(larger, settings) for _ in range(ROUNDS))
    return {"times": times, "households": households, "pairs": pairs, "seconds": round(seconds, 2)}


def _score(lake: Lake, settings: Settings) -> float:
    start = time.perf_counter()
    with persisted(score_history(lake, settings, MONTH)) as history:
        history.write.format("noop").mode("overwrite").save()
        score_needs(lake, settings, MONTH, history).write.format("noop").mode("overwrite").save()
    return time.perf_counter() - start


def main() -> None:
    """Measures and writes the results."""
    with exit_on_error():
        settings = load_settings()
        lake = open_lake(start_session(settings), settings)
        rows = [measure(lake, settings, times) for times in TIMES]
        for row in rows:
            row["seconds_a_thousand_households"] = round(1000 * row["seconds"] / row["households"], 3)
            print(row, flush=True)
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
