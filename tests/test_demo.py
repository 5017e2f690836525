"""The demo: what it runs for MONTHS and a home's state, and what it prints of a month."""

import pytest

from orchestration.demo import YEAR, main, parse_replayed, plan_steps
from orchestration.demo_report import change_lines, diff_lines
from transforms.list_changes import list_changes
from warehouse.errors import SettingsError
from warehouse.serving.diff import diff_scans
from warehouse.serving.lists import encode_items


def test_history_is_one_step_and_the_last_months_are_a_step_each():
    assert plan_steps(2, []) == [YEAR[:10], ["2017-11"], ["2017-12"]]
    assert plan_steps(4, []) == [YEAR[:8], ["2017-09"], ["2017-10"], ["2017-11"], ["2017-12"]]
    assert plan_steps(11, [])[:2] == [["2017-01"], ["2017-02"]]


def test_only_months_after_the_last_published_one_are_run():
    assert plan_steps(2, YEAR) == []
    assert plan_steps(2, ["2017-10"]) == [["2017-11"], ["2017-12"]]
    assert plan_steps(4, ["2017-10", "2017-11"]) == [["2017-12"]]  # 2017-08 and 2017-09 would never be read
    assert plan_steps(2, ["2017-03"]) == [YEAR[3:10], ["2017-11"], ["2017-12"]]


@pytest.mark.parametrize("text", ["1", "2", "11"])
def test_months_takes_one_to_eleven(text: str):
    assert parse_replayed(text) == int(text)


@pytest.mark.parametrize("text", ["0", "12", "-1", "2.0", "two", "", "²"])
def test_other_months_are_refused_with_what_is_taken(text: str):
    with pytest.raises(SettingsError, match=r"MONTHS is .* takes a whole number from 1 to 11"):
        parse_replayed(text)


def test_the_command_ends_in_one_line_for_months_it_does_not_take(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ending:
        main(["--months", "12"])
    assert ending.value.code == 1
    assert capsys.readouterr().err.startswith("error: MONTHS is '12'. It takes a whole number from 1 to 11")


def line(rank: int, product: str) -> dict:
    return {
        "rank": rank,
        "product_id": product,
        "name": f"the {product}",
        "quantity": 1,
        "cadence_days": 28,
        "next_due_date": "2018-01-05",
        "probability": 0.5,
        "reason_code": "due",
        "reason": "3 orders so far.",
        "price_usd": 1.5,
        "need": product,
        "need_probability": 0.5,
        "alternates": [],
    }


BEFORE = [line(1, "milk"), line(2, "bread"), line(3, "eggs"), line(4, "tea")]
AFTER = [line(1, "tea"), line(2, "bread"), line(3, "rice"), line(4, "milk")]


def test_a_list_says_what_came_left_and_moved():
    changes = list_changes(BEFORE, AFTER)
    assert [each["product_id"] for each in changes.added] == ["rice"]
    assert [each["product_id"] for each in changes.removed] == ["eggs"]
    assert [(move.line["product_id"], move.from_rank, move.line["rank"]) for move in changes.moved] == [
        ("tea", 4, 1),
        ("milk", 1, 4),
    ]
    assert (changes.kept, changes.swapped) == (3, frozenset())
    assert change_lines(changes) == [
        "  in    the rice",
        "  out   the eggs",
        "  moved the tea (rank 4 → 1)",
        "  moved the milk (rank 1 → 4)",
    ]


def test_another_product_for_the_same_need_is_named_as_that():
    oat_milk = {**line(1, "oat milk"), "need": "milk"}
    changes = list_changes([line(1, "milk")], [oat_milk])
    assert changes.swapped == {"milk"}
    assert change_lines(changes) == [
        "  in    the oat milk (same need, another product)",
        "  out   the milk (same need, another product)",
    ]


def test_a_list_that_stayed_says_so_and_a_long_change_is_cut():
    assert change_lines(list_changes(BEFORE, BEFORE)) == ["  no change"]
    many = [line(rank, f"p{rank}") for rank in range(1, 8)]
    assert change_lines(list_changes([], many))[-1] == "  in    … 3 more"


def test_the_versions_diff_counts_the_lines_of_the_changes_it_names():
    def scan(*lists):
        return iter([(str(place).encode(), encode_items(items)) for place, items in enumerate(lists)])

    diff = diff_scans("2017-11-a", scan(BEFORE, BEFORE), "2017-12-b", scan(AFTER, BEFORE))

    changes = list_changes(BEFORE, AFTER)
    assert (diff.lines_added, diff.lines_removed) == (len(changes.added), len(changes.removed))
    assert (diff.lines_moved, diff.lines_kept) == (len(changes.moved), changes.kept + len(BEFORE))
    assert diff_lines(diff) == [
        "2017-11-a → 2017-12-b: 1 lists changed, 1 did not, 0 new, 0 gone",
        "lines: 1 in, 1 out, 7 kept, of which 2 moved",
    ]
