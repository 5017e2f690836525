"""bronze/orders → silver/order_lines: one row an order line, for whole months at a time.

Reads only the months asked for. Late rows and corrections come in when their month is run again.
"""

from collections.abc import Sequence

from pyspark.sql import functions as F

from jobs.cli import run_job
from jobs.report import JobReport
from jobs.silver import bronze_rows, write_judged
from transforms.cleaning import clean_order_lines, local_date
from warehouse.contracts.silver import ORDER_LINES, PRODUCTS_TABLE
from warehouse.lake import Lake
from warehouse.settings import Settings


def run(lake: Lake, settings: Settings, months: Sequence[str]) -> JobReport:
    """Replaces the months of ``silver/order_lines``."""
    products = lake.read(PRODUCTS_TABLE).groupBy("product_id").agg(F.min("valid_from").alias("valid_from"))
    known = products.withColumn("known_from", local_date("valid_from", settings.business_tz))
    lines = clean_order_lines(bronze_rows(lake, "orders", months), known, settings.business_tz)
    return write_judged(lake, ORDER_LINES, "orders", lines, months)


if __name__ == "__main__":
    run_job(run, __doc__)
