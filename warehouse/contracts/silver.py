"""Silver: one row a fact, cleaned, dated in the business time zone."""

from warehouse.contracts.landing import CUSTOMERS, INTERACTION_KINDS, ORDER_KINDS, PRODUCTS
from warehouse.contracts.table import (
    BOOL,
    DATE,
    INT,
    LONG,
    STRING,
    TIMESTAMP,
    USD,
    Column,
    Table,
)

MONTH = Column("month", STRING, "calendar month in the business time zone, YYYY-MM")

ORDER_LINES = Table(
    name="silver/order_lines",
    text="One row an order line: exact duplicates collapsed, corrections applied, products known.",
    key=("order_id", "line_number"),
    columns=(
        MONTH,
        Column("order_id", STRING, "order, basket or receipt"),
        Column("line_number", INT, "position in the order", minimum=1),
        Column("customer_id", STRING, "who bought"),
        Column("product_id", STRING, "what was bought"),
        Column("ordered_at", TIMESTAMP, "when", unit="UTC"),
        Column("ordered_date", DATE, "day in the business time zone"),
        Column("quantity", INT, "units; negative: taken back", unit="units"),
        Column("line_amount_usd", USD, "paid for the line after discounts; negative: paid back", unit="USD"),
        Column("discount_usd", USD, "discount contained in the line", nullable=True, unit="USD", minimum=0),
        Column("store_id", STRING, "shop", nullable=True),
        Column("channel", STRING, "sales channel", nullable=True),
        Column("order_kind", STRING, "kind of order", allowed=ORDER_KINDS),
        Column("file_id", STRING, "landed file it came from"),
        Column("row_number", LONG, "row in that file", minimum=1),
    ),
    partition_by=("month",),
)

INTERACTIONS_TABLE = Table(
    name="silver/interactions",
    text="One row an interaction, duplicates collapsed.",
    key=("interaction_id",),
    columns=(
        MONTH,
        Column("interaction_id", STRING, "event"),
        Column("customer_id", STRING, "who"),
        Column("kind", STRING, "what happened", allowed=INTERACTION_KINDS),
        Column("occurred_at", TIMESTAMP, "when", unit="UTC"),
        Column("occurred_date", DATE, "day in the business time zone"),
        Column("product_id", STRING, "product concerned", nullable=True),
        Column("session_id", STRING, "visit", nullable=True),
        Column("query", STRING, "search text", nullable=True),
        Column("channel", STRING, "web, app, mail, …", nullable=True),
        Column("campaign_id", STRING, "campaign concerned", nullable=True),
        Column("list_version", STRING, "published version that was shown", nullable=True),
        Column("file_id", STRING, "landed file it came from"),
        Column("row_number", LONG, "row in that file", minimum=1),
    ),
    partition_by=("month",),
)

_VALIDITY = (
    Column("valid_from", TIMESTAMP, "from when this row holds; 1970-01-01: always", unit="UTC"),
    Column("valid_to", TIMESTAMP, "until when (exclusive); null: still", nullable=True, unit="UTC"),
)


def _attributes(columns: tuple[Column, ...]) -> tuple[Column, ...]:
    return tuple(column for column in columns if column.name not in {"updated_at"})


PRODUCTS_TABLE = Table(
    name="silver/products",
    text="One row a product and period in which its description held, so that any month sees the catalogue of its day.",
    key=("product_id", "valid_from"),
    columns=(
        *[
            Column(c.name, c.type, c.text, nullable=False if c.name.startswith("is_") else c.nullable, unit=c.unit)
            for c in _attributes(PRODUCTS.columns)
        ],
        Column("text", STRING, "text that is embedded"),
        Column("text_hash", STRING, "SHA-256 of the text"),
        *_VALIDITY,
    ),
)

CUSTOMERS_TABLE = Table(
    name="silver/customers",
    text="One row a customer and period in which their profile held.",
    key=("customer_id", "valid_from"),
    columns=(
        *[
            Column(c.name, c.type, c.text, nullable=False if c.type == BOOL else c.nullable, unit=c.unit)
            for c in _attributes(CUSTOMERS.columns)
        ],
        *_VALIDITY,
    ),
)

TABLES = (ORDER_LINES, INTERACTIONS_TABLE, PRODUCTS_TABLE, CUSTOMERS_TABLE)
