"""bronze/products and bronze/customers → silver: one row a period in which a description held.

These are not monthly: any month reads the rows that held at its end, so a month computed again sees the catalogue
of its day. Run by hand with ``python -m jobs.catalogue``.
"""

from pyspark.sql import functions as F

from jobs.cli import exit_on_error
from jobs.report import JobReport
from jobs.silver import bronze_rows, write_judged
from transforms.catalogue import product_text, validity_periods
from warehouse.contracts.landing import CUSTOMERS, PRODUCTS
from warehouse.contracts.silver import CUSTOMERS_TABLE, PRODUCTS_TABLE
from warehouse.lake import Lake, open_lake
from warehouse.settings import load_settings
from warehouse.spark import start_session


def run_products(lake: Lake) -> JobReport:
    """Replaces ``silver/products``. What is not said is taken as subscribable and in stock."""
    rows = validity_periods(bronze_rows(lake, "products", None), "product_id", PRODUCTS.column_names)
    rows = rows.withColumns(
        {
            "is_subscribable": F.coalesce("is_subscribable", F.lit(True)),
            "is_in_stock": F.coalesce("is_in_stock", F.lit(True)),
            "text": product_text(),
        }
    ).withColumn("text_hash", F.sha2("text", 256))
    return write_judged(lake, PRODUCTS_TABLE, "products", rows, None)


def run_customers(lake: Lake) -> JobReport:
    """Replaces ``silver/customers``. Consent to e-mail must be given; consent to profiling holds until withdrawn."""
    rows = validity_periods(bronze_rows(lake, "customers", None), "customer_id", CUSTOMERS.column_names)
    rows = rows.withColumns(
        {
            "consent_email": F.coalesce("consent_email", F.lit(False)),
            "consent_profiling": F.coalesce("consent_profiling", F.lit(True)),
        }
    )
    return write_judged(lake, CUSTOMERS_TABLE, "customers", rows, None)


def main() -> None:
    """Rebuilds both tables."""
    with exit_on_error():
        settings = load_settings()
        lake = open_lake(start_session(settings), settings)
        print(run_products(lake).line())
        print(run_customers(lake).line())


if __name__ == "__main__":
    main()
