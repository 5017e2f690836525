"""bronze/products and bronze/customers → silver: one row a period in which a description held.

These are not monthly: any month reads the rows that held at its end, so a month computed again sees the catalogue
of its day. Where neither bronze nor the code has changed since, nothing is rebuilt. Run by hand with
``python -m jobs.catalogue [--part products]``.
"""

import argparse
import hashlib
import inspect
from collections.abc import Callable, Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.cli import job_process
from jobs.report import JobReport
from jobs.silver import bronze_rows, write_judged
from transforms import catalogue, cleaning
from transforms.catalogue import product_text, validity_periods
from warehouse.contracts.bronze import BY_DATASET
from warehouse.contracts.landing import CUSTOMERS, PRODUCTS
from warehouse.contracts.silver import CUSTOMERS_TABLE, PRODUCTS_TABLE
from warehouse.contracts.table import Table
from warehouse.lake import Lake, open_lake
from warehouse.settings import load_settings
from warehouse.spark import start_session


def run_products(lake: Lake) -> JobReport:
    """Replaces ``silver/products``. What is not said is taken as subscribable and in stock."""
    return _rebuild(lake, PRODUCTS_TABLE, "products", _products)


def run_customers(lake: Lake) -> JobReport:
    """Replaces ``silver/customers``. Consent to e-mail must be given; consent to profiling holds until withdrawn."""
    return _rebuild(lake, CUSTOMERS_TABLE, "customers", _customers)


def _products(rows: DataFrame) -> DataFrame:
    columns = {
        "is_subscribable": F.coalesce("is_subscribable", F.lit(True)),
        "is_in_stock": F.coalesce("is_in_stock", F.lit(True)),
        "text": product_text(),
    }
    periods = validity_periods(rows, "product_id", PRODUCTS.column_names)
    return periods.withColumns(columns).withColumn("text_hash", F.sha2("text", 256))


def _customers(rows: DataFrame) -> DataFrame:
    columns = {
        "consent_email": F.coalesce("consent_email", F.lit(False)),
        "consent_profiling": F.coalesce("consent_profiling", F.lit(True)),
    }
    return validity_periods(rows, "customer_id", CUSTOMERS.column_names).withColumns(columns)


def _rebuild(lake: Lake, table: Table, dataset: str, build: Callable[[DataFrame], DataFrame]) -> JobReport:
    bronze_version, _ = lake.last_commit(BY_DATASET[dataset])
    built_from = f"{BY_DATASET[dataset].name} version {bronze_version}, code {_code_digest(build, table)}"
    if lake.last_commit(table)[1] == built_from:
        return JobReport(table.name, {"all": lake.count(table)}, {"rebuilt": False})
    judged = build(bronze_rows(lake, dataset, None))
    report = write_judged(lake, table, dataset, judged, None, note=built_from)
    return JobReport(report.table, report.rows, {**report.details, "rebuilt": True})


def _code_digest(build: Callable, table: Table) -> str:
    """Changes whenever the code that builds the table, or its contract, does."""
    sources = [inspect.getsource(part) for part in (build, catalogue, cleaning)]
    return hashlib.sha256("".join([*sources, repr(table)]).encode()).hexdigest()[:12]


def main(argv: Sequence[str] | None = None) -> None:
    """Rebuilds both tables, or the one named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"products": run_products, "customers": run_customers}
    parser.add_argument("--part", choices=sorted(parts), help="only this table")
    chosen = parser.parse_args(argv).part
    with job_process() as tell:
        settings = load_settings()
        lake = open_lake(start_session(settings), settings)
        for run in [parts[chosen]] if chosen else parts.values():
            tell(run(lake))


if __name__ == "__main__":
    main()
