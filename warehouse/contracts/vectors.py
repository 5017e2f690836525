"""The vector tables: kept in LanceDB, not in Delta, and versioned by tags instead of month partitions.

A tag names a version: ``prod`` is what readers see; ``customer_profiles`` also has one tag a month (``2017-05``).
Not here: how they are written and searched (``warehouse/vectors.py``).
"""

from warehouse.contracts.table import DOUBLE, STRING, STRINGS, VECTOR, Column, Table

PRODUCT_EMBEDDINGS = Table(
    name="gold/product_embeddings",
    text="One vector a distinct product text: products of one text share it, and an unchanged text keeps it.",
    key=("text_hash",),
    columns=(
        Column("text_hash", STRING, "SHA-256 of the text"),
        Column("model", STRING, "embedding model that made the vector"),
        Column("text", STRING, "text that is embedded"),
        Column("product_ids", STRINGS, "products that carry the text today, sorted; empty: none any more"),
        Column("vector", VECTOR, "embedding of unit length"),
    ),
)

CUSTOMER_PROFILES = Table(
    name="gold/customer_profiles",
    text="One vector a customer: the texts of their purchases, weighted by recency, as of the tag's month. A row stays "
    "as it is while its customer buys nothing; its direction would not change, and its weight only decays. Who has "
    "withdrawn consent to profiling by the end of the month has none.",
    key=("customer_id",),
    columns=(
        Column("customer_id", STRING, "customer"),
        Column("month", STRING, "last month with a purchase, at whose end the row holds, YYYY-MM"),
        Column("model", STRING, "embedding model of the texts"),
        Column("weight", DOUBLE, "purchase days weighted by recency", unit="days", minimum=0),
        Column("norm", DOUBLE, "length of the weighted sum of text vectors, so that it can be added to", minimum=0),
        Column("vector", VECTOR, "direction of that sum, of unit length"),
    ),
)

TABLES = (PRODUCT_EMBEDDINGS, CUSTOMER_PROFILES)
