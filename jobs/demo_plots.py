"""Draws the demo page's plots as SVG text: colours are the page's CSS variables, so light and dark are one drawing.

Not here: the figures (``demo_figures.py``) and the words around the plots (``templates/demo.html.j2``).
"""

from collections.abc import Sequence
from datetime import date

import altair as alt
import vl_convert

from jobs.demo_figures import PLOTTED, Calibration, MonthScore
from transforms.probability_metrics import ReliabilityBin
from warehouse.months import first_date

_ACCENT, _MUTED, _LINE = "var(--accent)", "var(--muted)", "var(--line)"
_SIZE = {"width": 310, "height": 230}
_DASHES = {"published": [1, 0], "decayed_frequency": [6, 4], "personal_top": [1.5, 4]}


def scorecard_svg(scores: Sequence[MonthScore]) -> str:
    """Recall of each method by month, as SVG text."""
    months = [short_month(first_date(score.month)) for score in scores]
    rows = [
        {"month": month, "method": method, "recall": value}
        for month, score in zip(months, scores, strict=True)
        for method, value in score.recall.items()
    ]
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("month:O", sort=months, title=None, axis=alt.Axis(labelAngle=0, labelPadding=8)),
        y=alt.Y(
            "recall:Q", title=None, scale=alt.Scale(zero=False, nice=True), axis=alt.Axis(format=".1%", tickCount=5)
        ),
        color=_by_method([_ACCENT, _MUTED, _MUTED]),
    )
    dashes = alt.Scale(domain=list(PLOTTED), range=[_DASHES[method] for method in PLOTTED])
    lines = base.mark_line(strokeWidth=2, strokeCap="round").encode(
        strokeDash=alt.StrokeDash("method:N", scale=dashes, legend=None)
    )
    return _svg(lines + base.mark_circle(size=48, opacity=1))


def calibration_svg(calibration: Calibration) -> str:
    """Said against bought, with the line where both agree, as SVG text."""
    rows = _points("needs", calibration.needs) + _points("products", calibration.products)
    share = alt.Scale(domain=[0, 1])
    axis = alt.Axis(format="%", tickCount=5)
    agree = alt.Chart(alt.Data(values=[{"x": 0, "y": 0}, {"x": 1, "y": 1}]))
    agree = agree.mark_line(color=_MUTED, strokeDash=[2, 4], strokeWidth=1).encode(x="x:Q", y="y:Q")
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("said:Q", title="said", scale=share, axis=axis),
        y=alt.Y("bought:Q", title="bought", scale=share, axis=axis),
        color=alt.Color("what:N", scale=alt.Scale(domain=["needs", "products"], range=[_ACCENT, _MUTED]), legend=None),
    )
    needs = base.transform_filter("datum.what == 'needs'")
    products = base.transform_filter("datum.what == 'products'")
    return _svg(
        agree
        + products.mark_point(size=44, strokeWidth=1.5, opacity=1)
        + needs.mark_line(strokeWidth=2)
        + needs.mark_circle(size=56, opacity=1)
    )


def short_month(day: date) -> str:
    """``Nov``."""
    return f"{day:%b}"


def _points(what: str, parts: Sequence[ReliabilityBin]) -> list[dict[str, object]]:
    return [{"what": what, "said": part.said, "bought": part.bought} for part in parts]


def _by_method(colours: Sequence[str]) -> alt.Color:
    return alt.Color("method:N", scale=alt.Scale(domain=list(PLOTTED), range=list(colours)), legend=None)


def _svg(chart: alt.LayerChart) -> str:
    axis = alt.AxisConfig(
        grid=True,
        gridColor=_LINE,
        domain=False,
        ticks=False,
        labelColor=_MUTED,
        labelFontSize=12,
        labelPadding=6,
        titleColor=_MUTED,
        titleFontSize=12,
        titleFontWeight="normal",
    )
    config = alt.Config(
        axis=axis,
        axisX=alt.AxisConfig(grid=False),
        view=alt.ViewConfig(stroke=None),
        font="system-ui, sans-serif",
        background="transparent",
    )
    return vl_convert.vegalite_to_svg(chart.properties(**_SIZE, config=config).to_dict())
