"""Which products may not stand on a customer's list whatever their probability, and the reason that is counted.

One row is judged at a time: by the catalogue, the customer's profile, what they dismissed lately and what they still
have at home. Not here: the monthly budget, which is about a customer's lines together (``transforms/budget.py``), and
which of the allowed products are candidates (``transforms/candidates.py``).
"""

from dataclasses import dataclass
from datetime import date, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from transforms.frequency import next_month_end
from warehouse.months import last_date, month_range

DROP_REASONS = (
    "no_consent",
    "not_subscribable",
    "out_of_stock",
    "excluded",
    "diet",
    "dismissed",
    "enough_at_home",
)
"""In the order in which they are asked: what the law says, what the shop can do, what the customer said, what we infer.
A pair counts under the first that holds."""

DISMISSAL = "list_dismissed"
TAKES_BACK = ("add_to_cart", "wishlist", "list_clicked")
"""Kinds of interaction that show the customer wants a dismissed product after all."""


@dataclass(frozen=True)
class PantryParams:
    """``min_stock_up``: units bought last, as a multiple of the usual order, from which a customer has stocked up.

    Below it the forecast's due date already says that a slow mover is not due.
    """

    min_stock_up: float = 2.0


DEFAULT_PANTRY = PantryParams()


def drop_reason(pantry: PantryParams | None = DEFAULT_PANTRY) -> Column:
    """Why a product may not stand on a customer's list: the first of ``DROP_REASONS`` that holds, null if none does.

    Shape: for frames of one row a (customer, product) with ``product_id``, ``consent_profiling``, ``is_subscribable``,
    ``is_in_stock``, ``excluded_products``, ``diets``, ``dietary_tags``, ``is_dismissed`` and the columns of
    :func:`enough_at_home`. Each is nullable: what is not known does not forbid.

    Args:
        pantry: the pantry guard's threshold; ``None`` leaves the guard, and its columns, out.
    """
    holds = {
        "no_consent": ~F.coalesce("consent_profiling", F.lit(True)),
        "not_subscribable": ~F.coalesce("is_subscribable", F.lit(True)),
        "out_of_stock": ~F.coalesce("is_in_stock", F.lit(True)),
        "excluded": F.coalesce(F.array_contains("excluded_products", F.col("product_id")), F.lit(False)),
        "diet": breaks_diet(),
        "dismissed": F.coalesce("is_dismissed", F.lit(False)),
    }
    if pantry is not None:
        holds["enough_at_home"] = enough_at_home(pantry)
    # Coalesce, like a chain of WHEN, stops at the first that holds.
    return F.coalesce(*[F.when(holds[reason], reason) for reason in DROP_REASONS if reason in holds])


def breaks_diet() -> Column:
    """Whether the product's ``dietary_tags`` are known and lack one of the customer's ``diets``; never null.

    Both are arrays of strings, compared without regard to case and outer blanks. Neither a customer without diets nor
    a product without tags breaks one.
    """
    diets, tags = _plain("diets"), _plain("dietary_tags")
    lacks_one = (F.size(tags) > 0) & (F.size(F.array_except(diets, tags)) > 0)
    return F.coalesce(lacks_one, F.lit(False))


def enough_at_home(params: PantryParams) -> Column:
    """Whether the customer stocked up and has enough until after the end of the month after ``month``; never null.

    Shape: for rows of ``gold/replenishment_state`` with the forecast's ``gap_days``: reads ``last_units``,
    ``units_per_order``, ``gap_days``, ``last_ordered_date`` and ``month``. A null among them, or a usual order of no
    units, is not enough.

    Units: supply in days. A usual order lasts ``gap_days``, so what was bought last lasts
    ``gap_days * last_units / units_per_order`` from ``last_ordered_date``.

    Source: the pantry guard of the decisions issue.
    """
    usual_orders = F.try_divide("last_units", "units_per_order")
    # Days are compared, not dates: a supply of very many days is no date, and the cast would fail.
    outlasts = F.col("gap_days") * usual_orders > F.datediff(next_month_end(), "last_ordered_date")
    return F.coalesce((usual_orders >= params.min_stock_up) & outlasts, F.lit(False))


def dismissed_lately(interactions: DataFrame, month: str, days: int) -> DataFrame:
    """Products that customers dismissed from their lists in the last ``days`` days of ``month`` and before.

    Shape: in, ``silver/interactions`` of at least :func:`months_to_read` (``customer_id, product_id, kind,
    occurred_at, occurred_date``); out, one row a (customer_id, product_id), with ``is_dismissed``, always true. A later
    event of ``TAKES_BACK`` takes a dismissal back; of two at the same moment the dismissal stands. Events after the
    month, and dismissals of a whole list (without a product), do not count.

    Units: business dates; the month's last day is the first of the ``days``, so 0 dismisses nothing.
    """
    in_window = F.col("occurred_date").between(F.lit(_first_day(month, days)), F.lit(last_date(month)))
    said = interactions.where(in_window & F.col("product_id").isNotNull() & F.col("kind").isin(DISMISSAL, *TAKES_BACK))
    is_dismissal = F.col("kind") == DISMISSAL
    latest = said.groupBy("customer_id", "product_id").agg(
        F.max(F.when(is_dismissal, F.col("occurred_at"))).alias("dismissed_at"),
        F.max(F.when(~is_dismissal, F.col("occurred_at"))).alias("wanted_at"),
    )
    stands = F.col("dismissed_at").isNotNull() & F.coalesce(F.col("wanted_at") <= F.col("dismissed_at"), F.lit(True))
    return latest.where(stands).select("customer_id", "product_id", F.lit(True).alias("is_dismissed"))


def months_to_read(month: str, days: int) -> list[str]:
    """The monthly partitions that hold the last ``days`` days up to the end of ``month``, in order; none for 0 days."""
    return month_range(f"{_first_day(month, days):%Y-%m}", month) if days > 0 else []


def _first_day(month: str, days: int) -> date:
    return last_date(month) - timedelta(days=days - 1)


def _plain(column: str) -> Column:
    """The array's words in lower case without outer blanks; nulls and empty words fall away."""
    words = F.transform(F.array_compact(column), lambda word: F.lower(F.trim(word)))
    return F.array_remove(words, "")
