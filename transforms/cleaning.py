"""Bronze → silver: collapses duplicates, applies corrections, sets apart what the catalogue does not know.

What a row alone shows to be wrong was set apart before (``transforms/landing_rows.py``).
"""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

KEPT, DUPLICATE, SUPERSEDED, UNKNOWN_PRODUCT = "kept", "duplicate", "superseded", "unknown_product"


def judge_versions(frame: DataFrame, key: Sequence[str], content: Sequence[str]) -> DataFrame:
    """Adds ``verdict``: one row a key is kept, the others are its duplicates or were superseded by it.

    Shape: rows in = rows out. The row kept is the last by ``file_order`` and ``row_number``. An earlier row of the
    same content is a ``duplicate``, of other content ``superseded``.

    Args:
        frame: has ``file_order`` (any sortable, later files greater), ``row_number`` and the columns named.
        key: columns that identify the fact.
        content: columns that make two rows of one key the same.
    """
    newest_first = Window.partitionBy(*key).orderBy(F.desc("file_order"), F.desc("row_number"))
    same = F.struct(*content)
    marked = frame.withColumn("_place", F.row_number().over(newest_first))
    marked = marked.withColumn("_is_same", same.eqNullSafe(F.first(same).over(newest_first)))
    verdict = F.when(F.col("_place") == 1, KEPT).when(F.col("_is_same"), DUPLICATE).otherwise(SUPERSEDED)
    return marked.withColumn("verdict", verdict).drop("_place", "_is_same")


def number_lines(lines: DataFrame) -> DataFrame:
    """Gives order lines without a ``line_number`` one: their place in the order, equal rows of a file sharing theirs.

    Shape: rows in = rows out. The same order landed again in another file gets the same numbers, so a later file
    corrects an earlier one; without line numbers it must therefore carry the whole order.
    """
    if_missing = F.col("line_number").isNull()
    content = ("product_id", "quantity", "ordered_at", "line_amount_usd", "discount_usd", "order_kind")
    same = Window.partitionBy("order_id", "file_id", *content)
    order = Window.partitionBy("order_id", "file_id").orderBy("_first")
    return (
        lines.where(if_missing)
        .withColumn("_first", F.min("row_number").over(same))
        .withColumn("line_number", F.dense_rank().over(order))
        .drop("_first")
        .unionByName(lines.where(~if_missing))
    )


def clean_order_lines(lines: DataFrame, products: DataFrame, business_tz: str) -> DataFrame:
    """Order lines with a ``verdict`` and the silver columns.

    Shape: one row a bronze row in (with ``file_order`` and ``month``), one out. Quantity and amount of a return are
    negative, whatever sign they came with; a negative quantity makes a return.

    Args:
        lines: bronze/orders of whole months.
        products: ``product_id``, ``known_from`` (first day on which a catalogue row held), one row a product.
        business_tz: IANA zone whose dates count.
    """
    content = ("customer_id", "product_id", "quantity", "ordered_at", "line_amount_usd", "discount_usd", "store_id")
    judged = judge_versions(number_lines(lines), ("order_id", "line_number"), (*content, "channel", "order_kind"))
    next_month = F.add_months(F.to_date(F.concat("month", F.lit("-01"))), 1)
    known = F.broadcast(products.select("product_id", "known_from"))
    judged = judged.join(known, "product_id", "left").withColumn(
        "verdict",
        F.when(
            (F.col("verdict") == KEPT) & (F.col("known_from").isNull() | (F.col("known_from") >= next_month)),
            UNKNOWN_PRODUCT,
        ).otherwise(F.col("verdict")),
    )
    is_return = F.coalesce(F.col("order_kind") == "return", F.lit(False)) | (F.col("quantity") < 0)
    return judged.withColumns(
        {
            "ordered_date": local_date("ordered_at", business_tz),
            "order_kind": F.when(is_return, "return").otherwise(F.coalesce("order_kind", F.lit("one_off"))),
            "quantity": F.when(is_return, -F.abs("quantity")).otherwise(F.col("quantity")),
            "line_amount_usd": F.when(is_return, -F.abs("line_amount_usd")).otherwise(F.col("line_amount_usd")),
        }
    ).drop("known_from")


def clean_interactions(events: DataFrame, business_tz: str) -> DataFrame:
    """Interactions with a ``verdict`` and the silver columns; rows in = rows out."""
    content = [name for name in events.columns if name not in {"file_id", "row_number", "file_order", "month"}]
    judged = judge_versions(events, ("interaction_id",), content)
    return judged.withColumn("occurred_date", local_date("occurred_at", business_tz))


def local_date(timestamp: str, business_tz: str) -> Column:
    """Day of a UTC timestamp column in the business time zone."""
    return F.to_date(F.from_utc_timestamp(F.col(timestamp), business_tz))
