"""Complete Journey's tables in the columns of the landing format: PyArrow tables in, PyArrow tables out.

Each mapping and its source is told in ``docs/data.md``. Not here: reading the package, cutting months, writing files
(``jobs/land_complete_journey.py``), words of product names (``transforms/product_names.py``).
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.product_names import known_words, product_name, readable, readable_size
from warehouse.contracts.landing import CUSTOMERS, INTERACTIONS, ORDERS, PRODUCTS, Dataset
from warehouse.contracts.table import INT, STRING, TIMESTAMP, USD

AS_OF_YEAR = 2017
_AGE_BANDS = {"19-24": (19, 24), "25-34": (25, 34), "35-44": (35, 44), "45-54": (45, 54), "55-64": (55, 64)}


@dataclass(frozen=True)
class Exclusion:
    """Products that no list may carry: any of the departments or categories, or a type that matches."""

    label: str
    departments: frozenset[str] = frozenset()
    categories: frozenset[str] = frozenset()
    types: str = r"(?!)"

    def covers(self, department: str | None, category: str | None, kind: str | None) -> bool:
        """Whether a product of that place in the hierarchy is excluded."""
        return (
            department in self.departments or category in self.categories or bool(kind and re.search(self.types, kind))
        )


EXCLUSIONS = (
    Exclusion("fuel", frozenset({"FUEL"}), frozenset({"FUEL"}), r"^GASOLINE"),
    Exclusion(
        "coupons, gift cards, tickets, deposits, donations",
        frozenset({"COUPON", "CHARITABLE CONT"}),
        frozenset({"COUPON", "COUPONS/STORE & MFG", "BOTTLE DEPOSITS", "TICKETS"}),
        r"GIFT CARD|CRV DEPOSIT|BOTTLE DEPOSIT|^TICKETS$|^DONATIONS$|^COUPON",
    ),
    Exclusion(
        "services",
        frozenset({"RESTAURANT", "POSTAL CENTER", "PHOTO & VIDEO"}),
        frozenset(
            {
                "IN-STORE PHOTOFINISHING",
                "OVERNIGHT PHOTOFINISHING",
                "PREPAID WIRELESS&ACCESSORIES",
                "LONG DISTANCE CALLING CARDS",
                "PHARMACY",
                "PROPANE",
            }
        ),
        r"RENTAL|SERVICE CHARGE|MAGAZINE SUBSCRIPTION",
    ),
    Exclusion(
        "miscellaneous sales and the shop's own supplies",
        frozenset(
            {"MISCELLANEOUS", "CNTRL/STORE SUP", "AUTOMOTIVE", "GM MERCH EXP", "PROD-WHS SALES", "ELECT &PLUMBING"}
        ),
        frozenset({"COUPON/MISC ITEMS", "DELI SUPPLIES", "MEAT SUPPLIES", "PROD SUPPLIES", "CONTINUITIES"}),
        r"MISC SALES TRANS|EXPENSE ITEMS|KEY RING",
    ),
    Exclusion("tobacco", categories=frozenset({"CIGARETTES", "CIGARS", "TOBACCO OTHER"}), types="CIGARETTE|TOBACCO"),
)
"""The first that covers a product names why it is not subscribable."""


def exclusion(department: str | None, category: str | None, kind: str | None) -> str | None:
    """Why a product is not subscribable; None: it is."""
    return next((rule.label for rule in EXCLUSIONS if rule.covers(department, category, kind)), None)


def order_lines(transactions: pa.Table) -> pa.Table:
    """The package's transactions as ``orders`` rows; rows in = rows out, same order.

    Units: USD, cents exact. ``line_amount_usd`` is ``sales_value`` less the manufacturer's coupon, not below 0 where
    something was bought: a coupon worth more than its line paid for other lines too. ``line_number`` is the product's
    place in its basket by product id, which is how the package sorts baskets; it does not depend on the months landed.

    Args:
        transactions: ``household_id, store_id, basket_id, product_id, quantity, sales_value, retail_disc,
            coupon_disc, coupon_match_disc, transaction_timestamp`` (UTC without a zone).
    """
    cents = {name: _cents(transactions[name]) for name in ("sales_value", "retail_disc", "coupon_disc")}
    match, sales, coupon = _cents(transactions["coupon_match_disc"]), cents["sales_value"], cents["coupon_disc"]
    is_bought = transactions["quantity"].to_numpy() > 0
    used = np.where(is_bought, np.minimum(coupon, sales), coupon)
    columns = {
        "order_id": transactions["basket_id"].cast(STRING),
        "customer_id": transactions["household_id"].cast(STRING),
        "product_id": transactions["product_id"].cast(STRING),
        "quantity": transactions["quantity"].cast(INT),
        "ordered_at": transactions["transaction_timestamp"].cast(pa.timestamp("us")).cast(TIMESTAMP),
        "line_amount_usd": _usd(sales - used),
        "line_number": _line_numbers(transactions),
        "discount_usd": _usd(cents["retail_disc"] + match + used),
        "store_id": transactions["store_id"].cast(STRING),
        "channel": _constant("store", transactions.num_rows),
        "order_kind": _constant("one_off", transactions.num_rows),
    }
    return _landing_table(ORDERS, columns, transactions.num_rows)


def _cents(dollars: pa.ChunkedArray) -> np.ndarray:
    return np.rint(dollars.to_numpy() * 100).astype(np.int64)


def _usd(cents: np.ndarray) -> pa.Array:
    return pc.round(pa.array(cents / 100.0), 2).cast(USD)


def _constant(text: str, rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(text, STRING), rows)


def _line_numbers(transactions: pa.Table) -> pa.Array:
    baskets, products = transactions["basket_id"].to_numpy(), transactions["product_id"].to_numpy()
    order = np.lexsort((products, baskets))
    starts = np.flatnonzero(np.r_[True, np.diff(baskets[order]) != 0])
    lengths = np.diff(np.r_[starts, len(order)])
    numbers = np.empty(len(order), np.int32)
    numbers[order] = np.arange(len(order)) - np.repeat(starts, lengths) + 1
    return pa.array(numbers, INT)


def product_rows(catalogue: pa.Table, transactions: pa.Table) -> pa.Table:
    """The package's catalogue as ``products`` rows, one a product, in the catalogue's order.

    ``price_usd`` is :func:`first_month_prices`; null for a product that never sold. ``updated_at`` is null: the
    catalogue is one undated extract, taken to hold always.

    Args:
        catalogue: ``product_id, department, brand, product_category, product_type, package_size``.
        transactions: of the whole year and all households.
    """
    columns = {name: catalogue[name].to_pylist() for name in catalogue.column_names}
    types, categories = columns["product_type"], columns["product_category"]
    known = known_words({text for text in (*types, *categories, *columns["department"]) if text})
    words = {text: readable(text, known) for text in {*types, *categories, *columns["department"]} if text}
    names, subscribable = [], []
    rows = zip(columns["department"], categories, types, columns["brand"], columns["package_size"], strict=True)
    for department, category, kind, brand, size in rows:
        size_text = readable_size(size, category if department == "PRODUCE" else None)
        names.append(product_name(words.get(kind), words.get(category) or words.get(department), brand, size_text))
        subscribable.append(exclusion(department, category, kind) is None)
    prices = first_month_prices(transactions)
    mapped = {
        "product_id": catalogue["product_id"].cast(STRING),
        "name": pa.array(names, STRING),
        "brand": catalogue["brand"],
        "department": catalogue["department"],
        "category": catalogue["product_category"],
        "type": catalogue["product_type"],
        "size": catalogue["package_size"],
        "price_usd": pa.array([prices.get(key) for key in columns["product_id"]], pa.float64()).cast(USD),
        "is_subscribable": pa.array(subscribable, pa.bool_()),
        "is_in_stock": pa.repeat(pa.scalar(True), catalogue.num_rows),
    }
    return _landing_table(PRODUCTS, mapped, catalogue.num_rows)


def first_month_prices(transactions: pa.Table) -> dict[int, float]:
    """Product → median unit price (USD, to the cent) in the first UTC month in which it sold.

    The price is what the shop takes with its card and before coupons: ``(sales_value + coupon_match_disc) /
    quantity``. Only the first month counts, so that no list made after that month shows a price from its future.
    Prices below half a cent are left out: fuel counts hundredths or thousandths of a gallon as units.
    """
    frame = transactions.select(["product_id", "quantity", "sales_value", "coupon_match_disc"]).to_pandas()
    frame["month"] = transactions["transaction_timestamp"].to_numpy().astype("datetime64[M]")
    frame = frame[(frame.quantity > 0) & (frame.sales_value > 0)]
    frame = frame[frame.month == frame.groupby("product_id").month.transform("min")]
    unit = (frame.sales_value + frame.coupon_match_disc) / frame.quantity
    prices = unit.groupby(frame.product_id).median().round(2)
    return prices[prices > 0].to_dict()


def customer_rows(households: list[int], demographics: pa.Table) -> pa.Table:
    """One ``customers`` row a household, in the order given; attributes are null where the package has none.

    Consent is not in the data and stays null: the platform's own default applies.
    """
    known = {row["household_id"]: row for row in demographics.to_pylist()}
    rows = [known.get(household, {}) for household in households]
    sizes = [row.get("household_size") for row in rows]
    columns = {
        "customer_id": pa.array([str(household) for household in households], STRING),
        "birth_year_band": pa.array([birth_year_band(row.get("age")) for row in rows], STRING),
        "household_size": pa.array([int(size.rstrip("+")) if size else None for size in sizes], INT),
        "income_band": pa.array([row.get("income") for row in rows], STRING),
    }
    return _landing_table(CUSTOMERS, columns, len(rows))


def birth_year_band(age_band: str | None) -> str | None:
    """Years of birth of an age band as of 2017: ``45-54`` → ``1963-1972`` (whole years: 2017 less the age)."""
    if age_band is None:
        return None
    if age_band == "65+":
        return f"{AS_OF_YEAR - 65} or earlier"
    low, high = _AGE_BANDS[age_band]
    return f"{AS_OF_YEAR - high}-{AS_OF_YEAR - low}"


def interaction_rows(redemptions: pa.Table, campaigns: pa.Table, descriptions: pa.Table, business_tz: str) -> pa.Table:
    """Coupon redemptions, then campaigns received at the campaign's first day, as ``interactions`` rows.

    The package gives days only: ``occurred_at`` is the start of that day in the business time zone. A coupon stands
    for many products, so ``product_id`` is null. Ids are made of the row's own key and do not change between runs.
    """
    starts = {row["campaign_id"]: row["start_date"].date() for row in descriptions.to_pylist()}
    rows = [
        {
            "interaction_id": "coupon-{household_id}-{campaign_id}-{coupon_upc}-{redemption_date:%Y%m%d}".format(**row),
            "customer_id": str(row["household_id"]),
            "kind": "coupon_redeemed",
            "occurred_at": start_of_day(row["redemption_date"].date(), business_tz),
            "channel": "store",
            "campaign_id": str(row["campaign_id"]),
        }
        for row in redemptions.to_pylist()
    ]
    rows += [
        {
            "interaction_id": "campaign-{household_id}-{campaign_id}".format(**row),
            "customer_id": str(row["household_id"]),
            "kind": "campaign_received",
            "occurred_at": start_of_day(starts[row["campaign_id"]], business_tz),
            "channel": None,
            "campaign_id": str(row["campaign_id"]),
        }
        for row in campaigns.to_pylist()
    ]
    schema = pa.schema([(column.name, column.type) for column in INTERACTIONS.columns])
    return pa.Table.from_pylist(rows, schema=schema)


def start_of_day(day: date, business_tz: str) -> datetime:
    """The instant, in UTC, at which the day begins in the business time zone."""
    return datetime.combine(day, time(), ZoneInfo(business_tz)).astimezone(UTC)


def _landing_table(dataset: Dataset, columns: dict[str, pa.Array | pa.ChunkedArray], rows: int) -> pa.Table:
    """All columns of the dataset in the contract's order and types; those not mapped are null."""
    schema = pa.schema([(column.name, column.type) for column in dataset.columns])
    return pa.table([columns.get(field.name, pa.nulls(rows, field.type)) for field in schema], schema=schema)
