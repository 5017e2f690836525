"""Writes the demo's page: one self-contained HTML file with a list and its evidence, and how good the lists are.

Not here: where the figures come from (``demo_figures.py``), the plots (``demo_plots.py``) and the page's form
(``templates/demo.html.j2``).
"""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from jobs.demo_figures import EXAMPLE_LINES, PLOTTED, DemoFigures, gather
from jobs.demo_plots import calibration_svg, scorecard_svg
from warehouse.lake import Lake
from warehouse.months import add_months, first_date, last_date
from warehouse.serving.store import open_store
from warehouse.settings import Settings

METHOD_NAMES = {
    "published": "published lists",
    "decayed_frequency": "decayed frequency",
    "personal_top": "most purchase days",
}


def write_page(path: Path, lake: Lake, settings: Settings, months: Sequence[str], dropped: Mapping[str, int]) -> None:
    """Writes the page of the live version; arguments as :func:`jobs.demo_figures.gather`."""
    store = open_store(settings.serving_store, settings.dynamodb_endpoint)
    page = render_page(gather(lake, settings, store, months, dropped))
    building = path.with_suffix(".building")
    building.write_text(page, encoding="utf-8")
    building.replace(path)


def render_page(figures: DemoFigures) -> str:
    """The page as HTML text, everything in it."""
    environment = Environment(
        loader=PackageLoader("jobs"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": "{:,}".format,
        "percent": lambda share, digits=0: f"{100 * share:.{digits}f} %",
        "points": lambda share: f"{100 * share:.2f}",
        "signed": lambda share: f"{100 * share:+.2f}".replace("-", "−"),
        "month": lambda month: f"{first_date(month):%B %Y}",
        "day": lambda day: f"{day.day} {day:%B}",
        "words": lambda code: code.replace("_", " "),
        "usd": lambda price: f"${price:,.2f}",
    }
    return environment.get_template("demo.html.j2").render(
        figures=figures,
        household=figures.household,
        live=figures.live,
        for_month=add_months(figures.live.month, 1),
        shown=EXAMPLE_LINES,
        methods=[(method, METHOD_NAMES[method]) for method in PLOTTED],
        changed=_changed(figures),
        strip=_strip_of(figures),
        scorecard=scorecard_svg(figures.scores) if figures.scores else None,
        calibration=calibration_svg(figures.calibration) if figures.calibration else None,
    )


def _changed(figures: DemoFigures) -> dict[str, list[tuple[str, str]]]:
    """``(name, note)`` of the lines of the example that came, left and moved."""
    changes = figures.household.changes if figures.household else None
    if changes is None:
        return {}

    def named(lines: Sequence[Mapping[str, Any]], note: str) -> list[tuple[str, str]]:
        return [(line["name"], note if line["need"] in changes.swapped else "") for line in lines]

    return {
        "came": named(changes.added, "another product for the need"),
        "left": named(changes.removed, "another product took its place"),
        "moved": [(move.line["name"], f"{move.from_rank} → {move.line['rank']}") for move in changes.moved],
    }


def _strip_of(figures: DemoFigures) -> Any:
    """Places days on a line's strip: a year up to the end of the month that the lists are for, 0 to 1000."""
    last = last_date(add_months(figures.live.month, 1))
    first = first_date(add_months(figures.live.month, -11))

    def place(day: date) -> float:
        share = (day - first).days / (last - first).days
        return round(1000 * min(1.0, max(0.0, share)), 1)

    return place
