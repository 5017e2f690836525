"""How many next purchases fall between the dates P10 and P90, beside the intervals that stood before.

Part of ``benchmarks/decisions.py``; docs/decisions/0009-due-dates.md tells of both kinds.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F

from benchmarks.judged_pairs import judged_pairs
from transforms.due_dates import DueDateParams, due_dates, share_bought_by
from transforms.interval_coverage import coverage, interval_position
from warehouse.contracts.silver import ORDER_LINES
from warehouse.lake import Lake
from warehouse.months import add_months, days_in, last_date
from warehouse.settings import Settings

GAMMA_SHAPE = 1.0 / 0.75**2
"""Of the intervals that stood before (docs/decisions/0009-due-dates.md): last purchase plus gap, Gamma quantiles."""

AFTER_DAYS = (31, 61, 92)


def measure_due_dates(lake: Lake, settings: Settings, months: Sequence[str]) -> list[dict[str, object]]:
    """How many next purchases fall inside P10 to P90, for each of ``months``, and all together as ``month`` "all".

    Judged are the pairs with three purchases or more of households active in the last six months, at the end of the
    month before; purchases are followed to the end of the last of ``months``.
    """
    parts = [_due_date_positions(lake, settings, month, months[-1]) for month in months]
    rows = [{"month": month, **_due_date_row(part)} for month, part in zip(months, parts, strict=True)]
    together = {name: np.concatenate([part[name] for part in parts]) for name in ("is_observed", "dates", "gamma")}
    said = _said_and_bought(parts[0], days_in(months[0]))
    return [*rows, {"month": "all", **_due_date_row(together)}, {"month": months[0], "said": said}]


def _due_date_row(part: dict[str, np.ndarray]) -> dict[str, object]:
    is_observed = part["is_observed"]
    figures = {name: vars(coverage(part[name], is_observed)) for name in ("dates", "gamma")}
    return {"pairs": len(is_observed), "censored": float(1 - is_observed.mean()), **figures}


def _due_date_positions(lake: Lake, settings: Settings, month: str, last_month: str) -> dict[str, np.ndarray]:
    before = add_months(month, -1)
    rows = _followed_pairs(lake, settings, before, last_month)
    end = np.datetime64(last_date(before))
    last_day = np.datetime64(last_date(last_month))
    next_date = rows["next_date"].to_numpy().astype("datetime64[D]")
    is_observed = ~np.isnat(next_date)
    days = (np.where(is_observed, next_date, last_day) - end).astype(int)
    probability = rows["probability"].to_numpy()
    horizon, params = days_in(month), DueDateParams()
    low, high = (
        (rows[f"due_date_{name}"].to_numpy().astype("datetime64[D]") - end).astype(int) for name in ("p10", "p90")
    )
    dates = interval_position(
        days, is_observed, low, high, lambda at: share_bought_by(at, probability, horizon, params)
    )
    since = (end - rows["last_ordered_date"].to_numpy().astype("datetime64[D]")).astype(int)
    gamma = _gamma_positions(days, is_observed, since, rows["gap_days"].to_numpy())
    return {"is_observed": is_observed, "dates": dates, "gamma": gamma, "days": days, "probability": probability}


def _followed_pairs(lake: Lake, settings: Settings, before: str, last_month: str) -> pa.Table:
    """Pairs judged at the end of ``before``, with the date of the next purchase by the end of ``last_month``."""
    columns = ("customer_id", "product_id", "probability", "purchase_days", "gap_days", "last_ordered_date")
    later = (F.col("quantity") > 0) & F.col("ordered_date").between(
        F.date_add(F.lit(last_date(before)), 1), F.lit(last_date(last_month))
    )
    lines = lake.read(ORDER_LINES).where(later)
    bought = lines.groupBy("customer_id", "product_id").agg(F.min("ordered_date").alias("next_date"))
    pairs = judged_pairs(lake, settings, before, columns)
    kept = pairs.join(bought, ["customer_id", "product_id"], "left")
    dated = due_dates(kept.withColumn("month", F.lit(before)), DueDateParams())
    wanted = ("probability", "gap_days", "last_ordered_date", "next_date", "due_date_p10", "due_date_p90")
    return dated.select(*wanted).toArrow()


def _gamma_positions(days: np.ndarray, is_observed: np.ndarray, since: np.ndarray, gap: np.ndarray) -> np.ndarray:
    from scipy.stats import gamma

    scale = 1.0 / GAMMA_SHAPE
    low, high = (
        np.maximum(np.round(gap * gamma.ppf(share, GAMMA_SHAPE, scale=scale)) - since, 1) for share in (0.1, 0.9)
    )
    return interval_position(
        days, is_observed, low, high, lambda at: gamma.cdf((since + at) / gap, GAMMA_SHAPE, scale=scale)
    )


def _said_and_bought(part: dict[str, np.ndarray], horizon: int) -> list[dict[str, float]]:
    """Of the first month's pairs, which were followed longest: the share that was to be bought by then, and was."""
    found = []
    for least, most in ((0.0, 0.2), (0.2, 0.5), (0.5, 1.0), (0.0, 1.0)):
        kept = (part["probability"] >= least) & ((part["probability"] < most) | (most == 1.0))
        probability = part["probability"][kept]
        row: dict[str, float] = {"least": least, "most": most, "pairs": int(kept.sum())}
        for after in AFTER_DAYS:
            said = share_bought_by(np.full(len(probability), after), probability, horizon, DueDateParams())
            row[f"said_{after}d"] = float(said.mean())
            row[f"bought_{after}d"] = float((part["is_observed"] & (part["days"] <= after))[kept].mean())
        found.append(row)
    return found


def due_date_table(rows: Sequence[dict]) -> str:
    """Shares before, inside and after the intervals, as a Markdown table."""
    head = "| month | pairs | not bought yet | by | before P10 | inside | after P90 | not known | followed to P90 |"
    lines = [head, "|---|--:|--:|---|" + "--:|" * 5]
    for row in rows:
        for method, name in (("dates", "odds"), ("gamma", "gap (before)")):
            if method not in row:
                continue
            found = row[method]
            shares = " | ".join(f"{found[part]:.3f}" for part in ("below", "inside", "above", "unplaced"))
            lines.append(
                f"| {row['month']} | {row['pairs']:,} | {row['censored']:.3f} | {name} | {shares} | "
                f"{found['followed']:,} |"
            )
    return "\n".join(lines)


def said_table(rows: Sequence[dict]) -> str:
    """What the dates say and what was bought, by probability, as a Markdown table."""
    said = next(row["said"] for row in rows if "said" in row)
    head = " | ".join(f"{after} days: said | bought" for after in AFTER_DAYS)
    lines = [f"| probability | pairs | {head} |", "|---|" + "--:|" * (1 + 2 * len(AFTER_DAYS))]
    for row in said:
        values = " | ".join(f"{row[f'{kind}_{after}d']:.3f}" for after in AFTER_DAYS for kind in ("said", "bought"))
        lines.append(f"| {row['least']:.1f} to {row['most']:.1f} | {row['pairs']:,} | {values} |")
    return "\n".join(lines)
