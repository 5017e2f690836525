"""Bronze: what landed, typed, with the file and row it came from; and what could not be used, with the reason.

Bronze keeps duplicates and corrections as they came. Cleaning is the silver layer's.
"""

from warehouse.contracts.landing import CUSTOMERS, INTERACTIONS, ORDERS, PRODUCTS, Dataset
from warehouse.contracts.table import INT, LONG, STRING, STRINGS, TIMESTAMP, Column, Table

STAGES = ("bronze", "silver")

REASONS = {
    "unsupported_format": "the file's ending is not one that is read",
    "malformed_file": "the file cannot be read",
    "file_changed": "a file that was read before has other content now",
    "missing_column": "the file lacks a required column",
    "duplicate_column": "the file has a column more than once",
    "malformed_row": "the row cannot be split into the file's columns",
    "missing_value": "a required value is null or empty",
    "invalid_type": "a value cannot be read as its column's type",
    "out_of_range": "a number is outside its column's range",
    "invalid_value": "a value is not one of those allowed",
    "timestamp_out_of_range": "a time is before 2000 or after the day on which the file was read",
    "invalid_cell": "an optional value cannot be used: the row is kept without it, so the entry stands for no row",
    "zero_quantity": "an order line of no units",
    "negative_amount": "a sale with a negative amount",
    "unknown_product": "the product is in no catalogue row valid by the end of that month",
    "duplicate": "the same row was kept once already",
    "superseded": "a later file corrects this row",
}

_PROVENANCE = (
    Column("file_id", STRING, "landed file: hash of its path"),
    Column("row_number", LONG, "row in the file, the first data row being 1", unit="rows", minimum=1),
)


def _bronze(dataset: Dataset) -> Table:
    monthly = not next(c for c in dataset.columns if c.name == dataset.event_time).nullable
    month = (Column("month", STRING, f"month of {dataset.event_time} in the business time zone"),) if monthly else ()
    return Table(
        name=f"bronze/{dataset.name}",
        text=f"{dataset.text} Typed, as received, duplicates and corrections included.",
        key=("file_id", "row_number"),
        columns=_PROVENANCE + month + dataset.columns,
        partition_by=("month",) if monthly else (),
    )


ORDERS_TABLE = _bronze(ORDERS)
INTERACTIONS_TABLE = _bronze(INTERACTIONS)
PRODUCTS_TABLE = _bronze(PRODUCTS)
CUSTOMERS_TABLE = _bronze(CUSTOMERS)

LANDING_FILES = Table(
    name="bronze/landing_files",
    text="Every landed file that was read, once; a file with the same path, size and time is not read again.",
    key=("file_id", "checksum"),
    columns=(
        Column("dataset", STRING, "landing dataset"),
        Column("file_id", STRING, "hash of the path"),
        Column("path", STRING, "path below the landing folder"),
        Column("size_bytes", LONG, "size", unit="bytes", minimum=0),
        Column("modified_at", TIMESTAMP, "the store's modification time", unit="UTC"),
        Column("checksum", STRING, "SHA-256 of the content"),
        Column("rows_in", LONG, "rows in the file", unit="rows", minimum=0),
        Column("rows_kept", LONG, "rows written to bronze", unit="rows", minimum=0),
        Column("rows_quarantined", LONG, "rows written to quarantine", unit="rows", minimum=0),
        Column("months", STRINGS, "months that its rows fall into, in order"),
        Column("ingested_at", TIMESTAMP, "when it was read", unit="UTC"),
    ),
    partition_by=("dataset",),
)

QUARANTINE = Table(
    name="bronze/quarantine",
    text="Every row, file or cell that was not used, with the place it came from, the reason and the mend.",
    key=("dataset", "stage", "file_id", "row_number"),
    columns=(
        Column("dataset", STRING, "landing dataset"),
        Column("stage", STRING, "layer that refused it", allowed=STAGES),
        Column("file_id", STRING, "landed file: hash of its path"),
        Column("path", STRING, "path below the landing folder"),
        Column("row_number", LONG, "row in the file, the first data row being 1; 0: the whole file", minimum=0),
        Column("month", STRING, "month that the row belongs to, if it can be told", nullable=True),
        Column("column", STRING, "column at fault; of several bad cells all, with a comma between", nullable=True),
        Column("value", STRING, "value at fault, shortened to 200 characters", nullable=True),
        Column("reason", STRING, "reason code", allowed=tuple(REASONS)),
        Column("message", STRING, "what is wrong and how to mend it"),
        Column("rows", INT, "rows that this entry stands for", unit="rows", minimum=0),
        Column("row_json", STRING, "the row as it was read", nullable=True),
    ),
    partition_by=("dataset", "stage"),
)

BY_DATASET = {
    table.name.removeprefix("bronze/"): table
    for table in (ORDERS_TABLE, INTERACTIONS_TABLE, PRODUCTS_TABLE, CUSTOMERS_TABLE)
}
TABLES = (*BY_DATASET.values(), LANDING_FILES, QUARANTINE)
