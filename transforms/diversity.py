"""Whether lists give small products a place: which products are the long tail, and a floor for their share.

A line is a need already (``docs/decisions/0010-need-lines.md``), so that no need can fill a list. Not here: what is
likely.
"""

from collections.abc import Callable, Sequence
from math import ceil
from typing import TypeVar

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from warehouse.contracts.features import decayed_name

HEAD_SHARE = 0.8
"""Share of all recent purchases that the head makes; what is sold less than any of its products is the long tail."""

Line = TypeVar("Line")


def long_tail(state: DataFrame) -> DataFrame:
    """``product_id`` of the long tail: the products that together make the last fifth of the recent purchases.

    Shape: in, ``gold/replenishment_state`` of one month; out, one row a product. Recent: with a half-life of 45 days.
    """
    sold = state.groupBy("product_id").agg(F.sum(decayed_name(45)).alias("sold"))
    best_first = Window.orderBy(F.desc("sold"), "product_id").rowsBetween(Window.unboundedPreceding, -1)
    before = F.coalesce(F.sum("sold").over(best_first), F.lit(0.0))
    everything = sold.agg(F.sum("sold").alias("everything"))
    shares = sold.withColumn("before", before).crossJoin(F.broadcast(everything))
    return shares.where(F.col("before") >= HEAD_SHARE * F.col("everything")).select("product_id")


def hold_floor(ranked: Sequence[Line], lines: int, share: float, is_long_tail: Callable[[Line], bool]) -> list[Line]:
    """The first ``lines`` of ``ranked``, the last others giving way until a ``share`` of them is of the long tail.

    Fewer where there are not enough of them. The order stays.
    """
    chosen = list(range(min(lines, len(ranked))))
    wanted = ceil(share * len(chosen) - 1e-9)
    missing = wanted - sum(is_long_tail(ranked[place]) for place in chosen)
    rising = [place for place in range(len(chosen), len(ranked)) if is_long_tail(ranked[place])][: max(missing, 0)]
    leaving = [place for place in reversed(chosen) if not is_long_tail(ranked[place])][: len(rising)]
    kept = sorted({*chosen, *rising} - set(leaving))
    return [ranked[place] for place in kept]
