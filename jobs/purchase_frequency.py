"""silver/order_lines, products → gold/purchase_frequency: reads and replaces the months asked for, no other."""

from collections.abc import Sequence

from pyspark.sql import functions as F

from jobs.cli import run_job
from jobs.report import JobReport
from transforms.frequency import FrequencyParams, monthly_frequency
from transforms.needs import with_needs
from warehouse.contracts.gold import PURCHASE_FREQUENCY
from warehouse.contracts.silver import ORDER_LINES, PRODUCTS_TABLE
from warehouse.lake import Lake
from warehouse.settings import Settings


def run(lake: Lake, settings: Settings, months: Sequence[str]) -> JobReport:
    """Replaces the months of ``gold/purchase_frequency``.

    Raises:
        MissingMonth: a month has no order line.
    """
    products = lake.read(PRODUCTS_TABLE)
    lines = with_needs(lake.require_months(ORDER_LINES, months), products, settings.business_tz)
    params = FrequencyParams(high_frequency_min_orders=settings.high_frequency_min_orders)
    high_frequency = {"high_frequency_pairs": F.count_if("is_high_frequency")}
    written = lake.replace_months(PURCHASE_FREQUENCY, monthly_frequency(lines, params), months, high_frequency)
    return JobReport(PURCHASE_FREQUENCY.name, lake.count_by_month(PURCHASE_FREQUENCY, months), dict(written.figures))


if __name__ == "__main__":
    run_job(run, __doc__)
