"""How a landed text becomes a value of its column's type, and why it does not. Spark expressions, for one column each.

Knows no dataset and no row. Every rule that refuses a text has a message that names the cause and the fix.
"""

import pyarrow as pa
from pyspark.sql import Column as SparkColumn
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_type

from warehouse.contracts.landing import BLANKS
from warehouse.contracts.table import Column

# Bounds keep a text such as 1e-999999999 from becoming a number of as many digits.
_NUMBER = r"^[+-]?(\d{1,29}(\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,2})?$"
_CENTS = r"^[+-]?\d{1,15}(\.\d{0,2})?$"
_ZONE = r"Z|UTC|GMT|(UTC|GMT)?[+-]\d{2}(:?\d{2})?|[A-Z][A-Za-z_]+/[A-Za-z_/]+"
_TIME = rf"\d{{1,2}}:\d{{2}}(:\d{{2}}(\.\d{{1,9}})?)?( ?({_ZONE}))?"
_TIMESTAMP = rf"^\d{{4}}-\d{{1,2}}-\d{{1,2}}([T ]{_TIME})?$"
_NO_SECONDS = r"^(.{8,10}[T ]\d{1,2}:\d{2})([^:\d].*)$"
# A control character inside is the mark of a quote that swallowed more than its value.
_BAD_ID = (
    r"[\x00-\x1f\x7f]|^-?\d(\.\d+)?[eE]\+\d+$|^-?\d\.\d+[eE]-?\d+$|^-?\d{16,}\.\d*$|^(?i:true|false|[+-]?inf(inity)?)$"
)
# What most ids look like: nothing of the above can be in it.
_PLAIN_ID = r"^[A-Za-z]?[0-9_-]+$"
_ID_WITH_ZERO = r"^\d{1,15}\.0$"
_MORE_THAN_TIME = "write an ISO 8601 date and time, e.g. 2017-05-01T10:15:00+02:00"


def typed_value(text: SparkColumn, column: Column, null_words: tuple[str, ...]) -> SparkColumn:
    """The text as a value of the column's type; null where it is none."""
    kind = column.type
    target = from_arrow_type(kind)
    if pa.types.is_list(kind):
        return _list(text, null_words)
    if pa.types.is_integer(kind):
        # Whole numbers often arrive as 2.0 (a column that once held nulls in pandas): accept them, refuse 2.5.
        number = _exact(text)
        return F.coalesce(text.try_cast(target), F.when(number == F.floor(number), number.try_cast(target)))
    if pa.types.is_decimal(kind):
        # 0.30000000000000004 is what a double makes of 0.3; three real decimals are refused.
        number = _exact(text)
        slow = F.when(number == number.try_cast(target), number.try_cast(target))
        return F.when(text.rlike(_CENTS), text.try_cast(target)).otherwise(slow)
    if pa.types.is_timestamp(kind):
        # Spark reads no zone after a time without seconds.
        whole = F.when(text.rlike(_NO_SECONDS), F.regexp_replace(text, _NO_SECONDS, "$1:00$2"))
        return F.when(text.rlike(_TIMESTAMP), F.coalesce(text.try_cast(target), whole.try_cast(target)))
    if pa.types.is_boolean(kind):
        return F.when(text == "1.0", True).when(text == "0.0", False).otherwise(text.try_cast(target))
    return _id(text) if is_id(column) else text


def is_id(column: Column) -> bool:
    """Whether the column's text identifies something."""
    return column.name.endswith("_id")


def type_message(text: SparkColumn, column: Column) -> SparkColumn:
    """Why the text is no value of the column's type, and how to write it."""
    kind, name = column.type, column.name
    if pa.types.is_timestamp(kind):
        return F.concat(F.lit(f"{name} "), _timestamp_cause(text), F.lit(f": {_MORE_THAN_TIME}"))
    if pa.types.is_integer(kind):
        fix = "write a whole number such as 2 (of weighed goods 1, with what was paid for the line)"
        return F.concat(F.lit(f"{name} "), _number_cause(text, "is not a whole number"), F.lit(f": {fix}"))
    if pa.types.is_decimal(kind):
        cause = _number_cause(text, "has more than two decimals, which are not rounded silently")
        return F.concat(F.lit(f"{name} "), cause, F.lit(": write a plain number such as 1234.50"))
    if pa.types.is_boolean(kind):
        return F.lit(f"{name} is no flag: write true or false (yes/no and 1/0 are read too)")
    return F.concat(F.lit(f"{name} "), _id_cause(text), F.lit(": write the id as text, in full"))


def _exact(text: SparkColumn) -> SparkColumn:
    return F.when(text.rlike(_NUMBER), text.try_cast("decimal(38,9)"))


def _id(text: SparkColumn) -> SparkColumn:
    digits = F.when(text.endswith(".0") & text.rlike(_ID_WITH_ZERO), F.substring_index(text, ".", 1))
    return F.when(text.rlike(_PLAIN_ID), text).otherwise(F.coalesce(digits, F.when(~text.rlike(_BAD_ID), text)))


def _list(text: SparkColumn, null_words: tuple[str, ...]) -> SparkColumn:
    """``a|b``, else ``a;b``, else ``a,b``; or a JSON list, which is what Parquet and NDJSON lists come as."""
    is_bracketed = text.rlike(r"(?s)^(\[.*\]|\{.*\}|\(.*\))$")
    bare = F.when(is_bracketed, F.regexp_replace(text, r"^[\[{(]|[\]})]$", "")).otherwise(text)
    split = F.when(F.contains(bare, F.lit("|")), F.split(bare, r"\|"))
    split = split.when(F.contains(bare, F.lit(";")), F.split(bare, ";")).otherwise(F.split(bare, ","))
    around = F.when(is_bracketed, F.lit(BLANKS + "\"'")).otherwise(F.lit(BLANKS))
    split = F.transform(split, lambda item: F.btrim(item, around))
    listed = F.when(text.startswith("["), F.from_json(text, "array<string>"))
    items = F.transform(F.coalesce(listed, split), lambda item: F.btrim(item, F.lit(BLANKS)))
    nothing = ["", *[word.lower() for word in null_words]]
    return F.when(text.isNotNull(), F.filter(items, lambda item: item.isNotNull() & ~F.lower(item).isin(nothing)))


def _number_cause(text: SparkColumn, otherwise: str) -> SparkColumn:
    return (
        F.when(text.rlike(r"(?i)\p{Sc}|usd|eur|gbp"), "has a currency sign")
        .when(F.contains(text, F.lit(",")), "has a comma, which may mean decimals or thousands")
        .when(F.abs(_exact(text)) >= 10**15, "is too large")
        .when(text.rlike(_NUMBER), otherwise)
        .otherwise("is not a plain number")
    )


def _timestamp_cause(text: SparkColumn) -> SparkColumn:
    return (
        F.when(text.rlike(r"^[+-]?\d{4}$"), "is a year alone")
        .when(text.rlike(r"^\d{4}-\d{1,2}$"), "is a month alone")
        .when(text.rlike(r"^[+-]?\d+(\.\d*)?([eE][+-]?\d+)?$"), "is a number (a spreadsheet's serial or an epoch)")
        .when(text.rlike(r"^T?\d{1,2}:\d{2}"), "is a time without a date")
        .when(text.rlike(r"^\d{1,2}[./-]\d{1,2}[./-]\d{2,4}"), "does not tell the day from the month")
        .when(text.rlike(r"\d ?[A-Za-z]{2,5}$") & text.rlike(r":\d{2}"), "has a zone whose name is ambiguous")
        .otherwise("is not a date and time")
    )


def _id_cause(text: SparkColumn) -> SparkColumn:
    return (
        F.when(text.rlike(r"[\x00-\x1f\x7f]"), "holds a line break or control character (an unclosed quote?)")
        .when(text.rlike(r"^(?i:true|false)$"), "is a flag, not an id")
        .otherwise("is a floating-point number, which may have lost digits")
    )
