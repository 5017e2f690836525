"""The reliability of probabilities as an SVG, drawn by hand: said against bought, and the line where both agree."""

from collections.abc import Sequence

SIZE, MARGIN = 360, 44
_STYLE = "font-family='sans-serif' font-size='12' fill='#444'"


def reliability_svg(said: Sequence[float], bought: Sequence[float]) -> str:
    """The plot as SVG text.

    Args:
        said: mean probability of each part, 0 to 1.
        bought: share of it that was bought.
    """
    lines = [f"<line x1='{_x(0)}' y1='{_y(0)}' x2='{_x(1)}' y2='{_y(1)}' stroke='#bbb' stroke-dasharray='4 3'/>"]
    for step in range(0, 11, 2):
        share = step / 10
        lines.append(f"<text x='{_x(share)}' y='{_y(0) + 18}' text-anchor='middle' {_STYLE}>{share:.1f}</text>")
        lines.append(f"<text x='{_x(0) - 8}' y='{_y(share) + 4}' text-anchor='end' {_STYLE}>{share:.1f}</text>")
    points = [(_x(x), _y(y)) for x, y in zip(said, bought, strict=True)]
    path = " ".join(f"{x},{y}" for x, y in points)
    lines.append(f"<polyline points='{path}' fill='none' stroke='#2563a8' stroke-width='2'/>")
    lines += [f"<circle cx='{x}' cy='{y}' r='4' fill='#2563a8'/>" for x, y in points]
    lines.append(f"<text x='{_x(0.5)}' y='{SIZE - 6}' text-anchor='middle' {_STYLE}>said</text>")
    lines.append(
        f"<text x='14' y='{_y(0.5)}' text-anchor='middle' transform='rotate(-90 14 {_y(0.5)})' {_STYLE}>bought</text>"
    )
    frame = (
        f"<rect x='{_x(0)}' y='{_y(1)}' width='{_x(1) - _x(0)}' height='{_y(0) - _y(1)}' fill='none' stroke='#888'/>"
    )
    head = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {SIZE} {SIZE}' width='{SIZE}' height='{SIZE}'>"
    return "\n".join([head, "<rect width='100%' height='100%' fill='white'/>", frame, *lines, "</svg>"]) + "\n"


def _x(share: float) -> float:
    return round(MARGIN + share * (SIZE - MARGIN - 16), 1)


def _y(share: float) -> float:
    return round(SIZE - MARGIN - share * (SIZE - MARGIN - 16), 1)
