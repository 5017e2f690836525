"""The landing datasets: which columns a landed file must and may have, and what a value may be.

Column types say what a value must be castable to. A row that breaks one of these rules goes to
``bronze/quarantine``; rules that need other rows (unknown product, duplicate) are the silver layer's.
"""

from dataclasses import dataclass
from functools import cached_property

from warehouse.contracts.table import (
    BOOL,
    INT,
    STRING,
    STRINGS,
    TIMESTAMP,
    USD,
    Column,
)

INTERACTION_KINDS = (
    "view",
    "click",
    "impression",
    "search",
    "add_to_cart",
    "remove_from_cart",
    "wishlist",
    "coupon_redeemed",
    "campaign_received",
    "list_shown",
    "list_clicked",
    "list_dismissed",
)
ORDER_KINDS = ("one_off", "subscription", "return")

BLANKS = (
    "".join(chr(code) for code in range(0x3001) if chr(code).isspace() or code < 32)
    + "\x7f\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
)
"""Characters that are seen as nothing: white space, control characters, and those of no width. Trimmed at the ends."""


@dataclass(frozen=True)
class RowRule:
    """A rule over several columns of one row; ``broken_when`` is the SQL predicate of a bad row."""

    reason: str
    column: str
    broken_when: str
    mend: str


@dataclass(frozen=True)
class Dataset:
    """A landing dataset.

    ``event_time`` names the column that dates a row; ``required`` makes the dataset's absence an error. An optional
    value that cannot be used costs only itself, but not in a ``decisive`` column: without it the row would mean
    something else. A flag in ``false_if_bad`` becomes false then, since true would let something happen that was
    perhaps forbidden.
    """

    name: str
    text: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    event_time: str
    required: bool = True
    rules: tuple[RowRule, ...] = ()
    decisive: tuple[str, ...] = ()
    false_if_bad: tuple[str, ...] = ()

    @property
    def required_columns(self) -> tuple[str, ...]:
        """Columns that a file must have and whose values must not be null."""
        return tuple(column.name for column in self.columns if not column.nullable)

    @property
    def column_names(self) -> tuple[str, ...]:
        """All columns that are read, in order; others in a file are ignored."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def list_columns(self) -> frozenset[str]:
        """Columns that hold lists of text."""
        return frozenset(column.name for column in self.columns if column.type == STRINGS)

    @cached_property
    def text_columns(self) -> frozenset[str]:
        """Columns that hold text, ids among them."""
        return frozenset(column.name for column in self.columns if column.type == STRING)


ORDERS = Dataset(
    name="orders",
    text="One row a basket line, as the shop sold it.",
    key=("order_id", "line_number"),
    event_time="ordered_at",
    decisive=("line_number", "order_kind"),
    rules=(
        RowRule("zero_quantity", "quantity", "quantity = 0", "a line sells or takes back at least one unit"),
        RowRule(
            "negative_amount",
            "line_amount_usd",
            "line_amount_usd < 0 AND quantity > 0 AND NOT order_kind <=> 'return'",
            "only a return (negative quantity, or order_kind 'return') may have a negative amount",
        ),
    ),
    columns=(
        Column("order_id", STRING, "order, basket or receipt"),
        Column("customer_id", STRING, "who bought"),
        Column("product_id", STRING, "what was bought"),
        Column("quantity", INT, "units; negative takes back", unit="units", minimum=-100_000, maximum=100_000),
        Column("ordered_at", TIMESTAMP, "when; UTC where no zone is given", unit="UTC"),
        Column("line_amount_usd", USD, "what the customer paid for the line, after discounts", unit="USD"),
        Column("line_number", INT, "position in the order", nullable=True, minimum=1),
        Column("discount_usd", USD, "discount contained in the line", nullable=True, unit="USD", minimum=0),
        Column("store_id", STRING, "shop", nullable=True),
        Column("channel", STRING, "sales channel", nullable=True),
        Column("order_kind", STRING, "kind of order", nullable=True, allowed=ORDER_KINDS),
    ),
)

INTERACTIONS = Dataset(
    name="interactions",
    text="One row an event between a customer and the shop, other than a purchase.",
    key=("interaction_id",),
    event_time="occurred_at",
    columns=(
        Column("interaction_id", STRING, "event"),
        Column("customer_id", STRING, "who"),
        Column("kind", STRING, "what happened", allowed=INTERACTION_KINDS),
        Column("occurred_at", TIMESTAMP, "when; UTC where no zone is given", unit="UTC"),
        Column("product_id", STRING, "product concerned", nullable=True),
        Column("session_id", STRING, "visit", nullable=True),
        Column("query", STRING, "search text", nullable=True),
        Column("channel", STRING, "web, app, mail, …", nullable=True),
        Column("campaign_id", STRING, "campaign concerned", nullable=True),
        Column("list_version", STRING, "published version that was shown", nullable=True),
    ),
)

PRODUCTS = Dataset(
    name="products",
    text="One row a product and change of it.",
    key=("product_id", "updated_at"),
    event_time="updated_at",
    false_if_bad=("is_subscribable", "is_in_stock"),
    columns=(
        Column("product_id", STRING, "product"),
        Column("name", STRING, "name that a customer can read"),
        Column("brand", STRING, "brand", nullable=True),
        Column("department", STRING, "top of the product hierarchy", nullable=True),
        Column("category", STRING, "middle of the product hierarchy", nullable=True),
        Column("type", STRING, "bottom of the product hierarchy: the need that the product answers", nullable=True),
        Column("size", STRING, "package size as printed", nullable=True),
        Column("description", STRING, "longer text", nullable=True),
        Column("price_usd", USD, "unit price", nullable=True, unit="USD", minimum=0),
        Column("image_uri", STRING, "picture", nullable=True),
        Column("is_subscribable", BOOL, "may stand on a Subscribe & Save list", nullable=True),
        Column("is_in_stock", BOOL, "can be delivered", nullable=True),
        Column("dietary_tags", STRINGS, "diets that the product fits; a|b in CSV", nullable=True),
        Column("updated_at", TIMESTAMP, "valid from; none: always", nullable=True, unit="UTC"),
    ),
)

CUSTOMERS = Dataset(
    name="customers",
    text="One row a customer and change of them.",
    key=("customer_id", "updated_at"),
    event_time="updated_at",
    false_if_bad=("consent_email", "consent_profiling"),
    columns=(
        Column("customer_id", STRING, "customer"),
        Column("consent_email", BOOL, "may be e-mailed", nullable=True),
        Column("consent_profiling", BOOL, "may be profiled", nullable=True),
        Column("birth_year_band", STRING, "band of birth years", nullable=True),
        Column("household_size", INT, "people", nullable=True, unit="people", minimum=1, maximum=100),
        Column("income_band", STRING, "band of yearly income", nullable=True),
        Column("monthly_budget_usd", USD, "most to be spent by subscription", nullable=True, unit="USD", minimum=0),
        Column("diets", STRINGS, "diets kept; a|b in CSV", nullable=True),
        Column("favourite_brands", STRINGS, "brands preferred; a|b in CSV", nullable=True),
        Column("excluded_products", STRINGS, "products never wanted; a|b in CSV", nullable=True),
        Column("created_at", TIMESTAMP, "customer since", nullable=True, unit="UTC"),
        Column("updated_at", TIMESTAMP, "valid from; none: always", nullable=True, unit="UTC"),
    ),
)

DATASETS = {dataset.name: dataset for dataset in (ORDERS, INTERACTIONS, PRODUCTS, CUSTOMERS)}
