"""Products and customers through time: periods of validity, the view of a day, and the text that is embedded."""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from transforms.cleaning import judge_versions

ALWAYS = "1970-01-01 00:00:00"


def validity_periods(rows: DataFrame, key: str, content: Sequence[str]) -> DataFrame:
    """Turns changes into periods: adds ``verdict``, ``valid_from`` and ``valid_to``.

    Shape: one row a bronze row in (with ``updated_at``, ``file_order``), one out. Kept rows (``verdict`` = kept) are
    unique in (key, ``valid_from``); their periods do not overlap and the last is open. A row without ``updated_at``
    holds from the beginning. An empty cell leaves the value that held before, whatever became of the row that said it:
    only an explicit value changes one.
    """
    dated = rows.withColumn("valid_from", F.coalesce("updated_at", F.lit(ALWAYS).cast("timestamp")))
    in_order = Window.partitionBy(key).orderBy("valid_from", "file_order", "row_number")
    until_now = in_order.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    kept_values = [name for name in content if name not in (key, "updated_at")]
    filled = dated.withColumns({name: F.last(name, ignorenulls=True).over(until_now) for name in kept_values})
    judged = judge_versions(filled, (key, "valid_from"), content)
    next_from = F.lead("valid_from").over(Window.partitionBy(key, "verdict").orderBy("valid_from"))
    return judged.withColumn("valid_to", next_from)


def as_of_end_of(frame: DataFrame, month: str, business_tz: str) -> DataFrame:
    """The rows of a table with periods that hold at the end of a month: at most one a key.

    Args:
        frame: has ``valid_from`` and ``valid_to`` in UTC.
        month: YYYY-MM.
        business_tz: IANA zone in which the month ends.
    """
    end = F.to_utc_timestamp(F.add_months(F.to_date(F.lit(f"{month}-01")), 1).cast("timestamp"), business_tz)
    return frame.where((F.col("valid_from") < end) & (F.col("valid_to").isNull() | (F.col("valid_to") >= end)))


def known_now(frame: DataFrame) -> DataFrame:
    """The rows of a table with periods that hold now, by all that has landed: one a key.

    For what people agreed to and what may be sold; what is computed of a month looks at its end (:func:`as_of_end_of`).
    """
    return frame.where(F.col("valid_to").isNull())


def product_text() -> Column:
    """The text of a product that is embedded: its name, and what the name does not say already.

    Brand, type, category and description are each added only if the name does not contain them.
    """
    parts = [F.col("name")]
    for column in ("brand", "type", "category", "description"):
        is_said = F.contains(F.lower("name"), F.lower(F.col(column)))
        parts.append(F.when(~is_said, F.col(column)))
    return F.concat_ws(", ", *parts)
