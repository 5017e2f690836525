"""The demo's page: rendered from small figures, self-contained, safe against hostile names, readable by machines."""

import re
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from html.parser import HTMLParser

import pytest

from jobs.demo_figures import Calibration, DemoFigures, Household, MonthScore
from jobs.demo_page import render_page
from transforms.list_changes import list_changes
from transforms.month_flow import flow_steps
from transforms.probability_metrics import ReliabilityBin
from warehouse.serving.store import Manifest, VersionDiff

HOSTILE = "<script>alert('x')</script> & \"Söhne\" <img src=https://evil.example/x.png>"
NOW = datetime(2026, 12, 1, 15, 0, tzinfo=UTC)
LIVE = Manifest(
    version="2017-12-0123456789ab",
    month="2017-12",
    generated_at=NOW,
    expires_at=NOW,
    customers=2,
    lines=21,
    checksum="",
    released_at=NOW,
)


def line(rank: int, product: str, name: str) -> dict:
    return {
        "rank": rank,
        "product_id": product,
        "name": name,
        "quantity": 2,
        "cadence_days": 21,
        "next_due_date": date(2018, 1, 4),
        "probability": 0.5,
        "reason": f"3 orders so far of {name}.",
        "price_usd": Decimal("1.25"),
        "need": product,
        "need_probability": 0.914,
        "alternates": [{"product_id": "a", "name": f"other {name}", "probability": 0.2, "price_usd": None}],
        "has_consent_email": False,
    }


def figures() -> DemoFigures:
    lines = [line(rank, f"p{rank}", f"product {rank}") for rank in range(1, 11)]
    lines[0] = line(1, "p1", HOSTILE)
    before = [line(1, "p2", "product 2"), line(2, "gone", HOSTILE)]
    parts = [ReliabilityBin(5, 0.1, 0.12), ReliabilityBin(5, 0.7, 0.66)]
    scores = [
        MonthScore(
            "2017-11", {"published": 0.097, "decayed_frequency": 0.092, "personal_top": 0.086}, 9, 0.0109, 0.001
        ),
        MonthScore("2017-12", {"published": 0.096, "decayed_frequency": 0.093, "personal_top": 0.085}, 9, -0.002, None),
    ]
    return DemoFigures(
        live=LIVE,
        diff=VersionDiff("2017-11-0123456789ab", LIVE.version, 1, 0, 1, 0, 12, 9, 9, 4),
        household=Household("1", lines, {"p1": [date(2017, 11, 30), date(2017, 12, 29)]}, list_changes(before, lines)),
        scores=scores,
        calibration=Calibration(["2017-11", "2017-12"], 10, parts, parts),
        flow=flow_steps(
            order_lines=100,
            refused={"zero_quantity": 3},
            pairs=900,
            candidates=60,
            dropped={"not_subscribable": 40, "over_budget": 2},
            lists=2,
            lines=21,
        ),
    )


class Page(HTMLParser):
    """Tags with their attributes, in order, and the text; raises on tags that do not close as they opened."""

    VOID = frozenset({"meta", "br", "img", "link", "input", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def html() -> str:
    return render_page(figures())


def test_the_page_loads_nothing_from_anywhere(html: str):
    page = Page(html)
    assert not {"script", "link", "iframe", "img", "object", "embed", "base", "form"} & {tag for tag, _ in page.tags}
    fetched = {"src", "srcset", "href", "xlink:href", "data", "poster", "action"}
    assert [attributes for tag, attributes in page.tags if tag != "a" and fetched & attributes.keys()] == []
    assert "url(" not in html
    assert "@import" not in html


def test_hostile_names_are_text(html: str):
    page = Page(html)
    assert page.text.count(HOSTILE) == 5  # the line, its reason, its alternate; among those that came, and that left
    assert "<script" not in html
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_the_list_shows_its_evidence(html: str):
    page = Page(html)
    strips = [each["aria-label"] for each in page.all("svg") if each.get("class") == "strip"]
    assert len(strips) == 10
    assert strips[0] == "Bought on 2 days, last on 29 December; due on 4 January."
    assert strips[1] == "Bought on 0 days; due on 4 January."
    assert "3 orders so far of product 2. Or: other product 2." in page.text
    assert "$1.25" in page.text
    assert "no consent to e-mail is known of this household, so none may be sent" in page.text
    assert "2 more lines" in page.text


def test_the_figures_stand_in_words_tables_and_plots(html: str):
    page = Page(html)
    labels = [each["aria-label"] or "" for each in page.all("div") if each.get("role") == "img"]
    assert "published lists 9.6 %; decayed frequency 9.3 %; most purchase days 8.5 %" in labels[0]
    assert "10 % and 12 %; 70 % and 66 %" in labels[1]
    assert "differ from most purchase days by −0.20 percentage points" in page.text
    assert "var(--accent)" in html[html.index('aria-label="Calibration') :]  # the plot follows light and dark
    assert all("scope" in each for each in page.all("th"))
    assert re.findall(r"<dt>([a-z ]+)</dt><dd>([\d,]+)</dd>", html) == [
        ("lines in", "12"),
        ("lines out", "9"),
        ("lines kept", "9"),
        ("of these moved", "4"),
    ]


def test_the_flow_accounts_for_every_row(html: str):
    landed, kept, pairs, candidates, lists, lines = figures().flow
    assert landed.rows - sum(kept.dropped.values()) == kept.rows == 100
    assert pairs.rows - sum(candidates.dropped.values()) == candidates.rows == 60
    assert candidates.dropped == {"not_subscribable": 40, "not likely enough": 800}
    assert (lists.rows, lines.rows, lines.dropped) == (2, 21, {"over_budget": 2})
    assert "800 not likely enough" in Page(html).text


def test_a_home_with_one_version_and_no_judged_month_has_a_page_too():
    alone = replace(figures(), diff=None, scores=[], calibration=None)
    household = replace(figures().household, changes=None)
    page = Page(render_page(replace(alone, household=household)))
    assert "How good the lists are" not in page.text
    assert "since the list before" not in page.text
    assert "December 2017 in numbers" in page.text
    Page(render_page(replace(alone, household=None)))
