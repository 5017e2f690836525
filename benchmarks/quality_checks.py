"""What judging one month of order lines costs: Great Expectations as it comes, and as Replenish runs it.

Every way judges the same rules on the same rows in one process, in turn; the first round warms up and is not counted.
Run it with ``python -m benchmarks.quality_checks [--rows 120000] [--rounds 5]``; it prints seconds (median) and Spark
jobs. Written for ``docs/decisions/0003-quality-checks.md``.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from quality.suites import rules_of, suite_of
from quality.validation import run_suite, validate
from warehouse.contracts.silver import ORDER_LINES
from warehouse.lake import Lake, conform
from warehouse.settings import load_settings
from warehouse.spark import start_session

MONTH = "2017-11"


def order_lines(spark: SparkSession, rows: int) -> DataFrame:
    """``rows`` good order lines of one month, about ten an order, in the proportions of a grocer's baskets."""
    n = F.col("id")
    columns = {
        "month": F.lit(MONTH),
        "order_id": F.format_string("o%09d", F.floor(n / 10)),
        "line_number": n % 10 + 1,
        "customer_id": F.format_string("c%05d", F.floor(n / 10) % 2400),
        "product_id": F.format_string("p%06d", n * 7919 % 20_000),
        "ordered_at": F.timestamp_seconds(F.lit(1_509_500_000) + n % 2_500_000),
        "ordered_date": F.lit("2017-11-15"),
        "quantity": n % 3 + 1,
        "line_amount_usd": (n % 997) / 100 + 0.5,
        "discount_usd": (n % 50) / 100,
        "store_id": F.format_string("s%03d", n % 300),
        "channel": F.lit("store"),
        "order_kind": F.lit("one_off"),
        "file_id": F.lit("f"),
        "row_number": n + 1,
    }
    return conform(ORDER_LINES, spark.range(rows).select(*[column.alias(name) for name, column in columns.items()]))


def stock(frame: DataFrame, level: str) -> bool:
    """Great Expectations' own expectations on the rows, the key's included."""
    result_format = {"result_format": level, "return_unexpected_index_query": False}
    suite = suite_of(ORDER_LINES, rules_of(ORDER_LINES))
    return all(result.success for result in run_suite("rows", frame, suite, result_format))


WAYS: dict[str, Callable[[DataFrame], bool]] = {
    "stock suite, SUMMARY": lambda frame: stock(frame, "SUMMARY"),
    "stock suite, BOOLEAN_ONLY": lambda frame: stock(frame, "BOOLEAN_ONLY"),
    "quality.validation.validate": lambda frame: validate(frame, ORDER_LINES).success,
}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=120_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    spark = start_session(load_settings())
    tracker = spark.sparkContext._jsc.sc().statusTracker()
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(spark, folder)
        lake.replace_months(ORDER_LINES, order_lines(spark, arguments.rows), [MONTH])
        seconds: dict[str, list[float]] = {name: [] for name in WAYS}
        jobs = {}
        for _ in range(arguments.rounds + 1):
            for name, judge in WAYS.items():
                jobs_before, started = len(tracker.getJobIdsForGroup(None)), time.perf_counter()
                if not judge(lake.read(ORDER_LINES, [MONTH])):
                    raise SystemExit(f"{name}: the rows are good and did not pass")
                seconds[name].append(time.perf_counter() - started)
                jobs[name] = len(tracker.getJobIdsForGroup(None)) - jobs_before
    for name, rounds in seconds.items():
        print(f"{name:34} {statistics.median(rounds[1:]):6.2f} s  {jobs[name]:3d} Spark jobs")


if __name__ == "__main__":
    main()
