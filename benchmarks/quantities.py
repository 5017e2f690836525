"""Absolute errors of the units and gaps that lists rest on, beside simple ones; part of ``benchmarks/decisions.py``."""

from collections.abc import Sequence

from pyspark.sql import functions as F

from jobs.candidates import score_history
from warehouse.contracts.gold import PURCHASE_FREQUENCY, REPLENISHMENT_STATE
from warehouse.lake import Lake
from warehouse.months import add_months
from warehouse.settings import Settings


def measure_quantities(lake: Lake, settings: Settings, month: str) -> dict[str, object]:
    """Absolute errors of units an order and of gaps, ours and simple ones, for what was bought in the month."""
    before = add_months(month, -1)
    ours = ("customer_id", "product_id", "units_per_order", "gap_days")
    history = score_history(lake, settings, before, ours, most=None).where(
        F.coalesce(F.col("drop_reason") != "not_subscribable", F.lit(True))
    )
    state = lake.require_months(REPLENISHMENT_STATE, [before]).select(
        "customer_id",
        "product_id",
        "last_units",
        "last_ordered_date",
        "mean_gap_days",
        "gap_count",
        (F.greatest(F.col("units"), F.lit(0)) / F.col("orders")).alias("mean_units"),
    )
    medians = state.groupBy("product_id").agg(F.median("mean_units").alias("median_units"))
    bought = lake.require_months(PURCHASE_FREQUENCY, [month]).where("orders > 0 AND units > 0")
    bought = bought.select(
        "customer_id",
        "product_id",
        (F.col("units") / F.col("orders")).alias("true_units"),
        F.col("first_ordered_date").alias("next_date"),
    )
    pair = ["customer_id", "product_id"]
    rows = bought.join(history, pair).join(state, pair).join(medians, "product_id")
    units = {
        "ours": F.greatest(F.round("units_per_order"), F.lit(1)),
        "last": F.greatest("last_units", F.lit(1)),
        "mean": F.greatest("mean_units", F.lit(1)),
        "median of the product": F.greatest("median_units", F.lit(1)),
    }
    gaps = {"ours": F.col("gap_days"), "mean": F.col("mean_gap_days")}
    gap = F.when(F.col("gap_count") > 0, F.datediff("next_date", "last_ordered_date"))
    found = rows.agg(
        F.count(F.lit(1)).alias("pairs"),
        *[F.avg(F.abs(said - F.col("true_units"))).alias(f"units, {name}") for name, said in units.items()],
        *[F.avg(F.abs(said - gap)).alias(f"days, {name}") for name, said in gaps.items()],
    ).first()
    return {"month": month, **found.asDict()}


def quantity_table(rows: Sequence[dict]) -> str:
    """The figures as a Markdown table."""
    names = [name for name in rows[0] if name not in ("month", "pairs")]
    lines = [f"| month | pairs | {' | '.join(names)} |", "|---|--:|" + "--:|" * len(names)]
    for row in rows:
        lines.append(f"| {row['month']} | {row['pairs']:,} | {' | '.join(f'{row[name]:.3f}' for name in names)} |")
    return "\n".join(lines)
