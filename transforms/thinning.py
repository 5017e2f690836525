"""Which rows are learned from: taken by a hash of what they are, so that a re-run takes the same."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

_PLACES = 1_000_000


def hashed(*columns: str | Column) -> Column:
    """A place from 0 up to 1 by the columns' hash: the same at every run, and level over the rows."""
    return F.pmod(F.xxhash64(*columns), F.lit(_PLACES)) / _PLACES


def thin(labelled: DataFrame, negative_share: float, place: Column) -> DataFrame:
    """All that was bought, and a share of what was not, which then weighs for the rest.

    Shape: in, ``is_bought`` (null: it was not); out, the rows kept with ``is_bought`` not null and ``weight``, 1 or
    1 / ``negative_share``.

    Args:
        labelled: examples.
        negative_share: share kept of what was not bought, above 0 and at most 1.
        place: :func:`hashed` of what tells the rows apart.
    """
    examples = labelled.withColumn("is_bought", F.coalesce("is_bought", F.lit(False)))
    kept = examples.where(F.col("is_bought") | (place < negative_share))
    weight = F.when(F.col("is_bought"), F.lit(1.0)).otherwise(F.lit(1.0 / negative_share))
    return kept.withColumn("weight", weight)
