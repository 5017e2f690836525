"""Serving: what was published. Each published version stays as it was."""

import pyarrow as pa

from warehouse.contracts.gold import DISCOVERY_SOURCES
from warehouse.contracts.table import BOOL, DATE, DOUBLE, INT, STRING, TIMESTAMP, USD, Column, Table

REASON_CODES = ("due", "high_frequency", "similar_in_history", "copurchased", *DISCOVERY_SOURCES)
"""Those of discoveries stand only on products that the customer never bought."""

ALTERNATE = pa.struct(
    [
        pa.field("product_id", pa.string()),
        pa.field("name", pa.string()),
        pa.field("probability", pa.float64()),
        pa.field("price_usd", pa.float64()),
    ]
)

SUBSCRIBE_SAVE_LISTS = Table(
    name="serving/subscribe_save_lists",
    text="Every line of every published list; one version a publish.",
    key=("version", "customer_id", "rank"),
    columns=(
        Column("version", STRING, "published version: month and content hash"),
        Column("month", STRING, "month whose end the list was decided at"),
        Column("customer_id", STRING, "customer"),
        Column("rank", INT, "place on the list, 1 being the first", minimum=1),
        Column("product_id", STRING, "product"),
        Column("name", STRING, "product's name"),
        Column("quantity", INT, "units a delivery", unit="units", minimum=1),
        Column("cadence_days", INT, "days between deliveries", unit="days", minimum=1),
        Column("next_due_date", DATE, "when it will be needed"),
        Column("probability", DOUBLE, "probability of a purchase next month", minimum=0, maximum=1),
        Column("reason_code", STRING, "chief source", allowed=REASON_CODES),
        Column("reason", STRING, "sentence that cites the evidence"),
        Column("price_usd", USD, "unit price", nullable=True, unit="USD", minimum=0),
        Column("need", STRING, "need that the line answers"),
        Column("need_probability", DOUBLE, "probability that any product of the need is bought", minimum=0, maximum=1),
        Column("alternates", pa.list_(ALTERNATE), "other products that the customer buys for the need, best first"),
        Column("has_consent_email", BOOL, "customer may be e-mailed"),
        Column("generated_at", TIMESTAMP, "when the version was built", unit="UTC"),
        Column("expires_at", TIMESTAMP, "when the list stops being valid", unit="UTC"),
    ),
    partition_by=("version",),
)

TABLES = (SUBSCRIBE_SAVE_LISTS,)
