"""From candidates to a list: the request, the policy that answers it, and the guardrails that judge answers."""

import json
from datetime import date

import pytest

from transforms.guardrails import judge_answer
from transforms.needs import needs_of
from transforms.policy import decide
from transforms.prompts import CADENCES_DAYS, MAX_REASON_CHARACTERS, render_body
from warehouse.errors import SettingsError
from warehouse.llm.clients import PolicyClient, open_client
from warehouse.llm.contract import parse_response, prompt_hash, pseudonym, request_line


def candidate(name="Whole milk", **changes):
    row = {
        "product_id": "p1",
        "name": name,
        "need": "MILK",
        "need_probability": 0.85,
        "need_score": 0.85,
        "need_due_date": date(2017, 6, 3),
        "related_name": None,
        "is_due": True,
        "is_high_frequency": False,
        "is_similar_in_history": False,
        "is_copurchased": False,
        "probability": 0.8,
        "due_date_p10": date(2017, 6, 1),
        "due_date": date(2017, 6, 3),
        "due_date_p90": date(2017, 6, 9),
        "gap_days": 9.6,
        "units_per_order": 1.2,
        "orders_in_month": 1,
        "orders": 12,
        "last_ordered_date": date(2017, 5, 24),
        "similarity": None,
        "lift": None,
        "alternates": [],
    }
    return row | changes


def content_of(*candidates, list_size=20):
    body = render_body(candidates, "2017-05", "policy", list_size)
    return json.loads(body["messages"][1]["content"])


def test_the_request_offers_local_ids_only():
    body = render_body([candidate(product_id="SECRET-7", customer_id="c9")], "2017-05", "m", 20)
    assert "SECRET-7" not in json.dumps(body)
    assert "c9" not in json.dumps(body)
    items = body["response_format"]["json_schema"]["schema"]["properties"]["items"]
    assert items["items"]["properties"]["id"]["enum"] == ["c01"]
    assert items["maxItems"] == 20


def test_a_need_brings_its_best_products_and_the_likeliest_need_comes_first():
    def row(product, need, need_probability):
        return candidate(product_id=product, need=need, need_score=need_probability, name=product.upper())

    rows = [row("soap", "SOAP", 0.5), row("m1", "MILK", 0.9), *[row(f"m{n}", "MILK", 0.9) for n in (2, 3, 4)]]
    needs = needs_of(rows)
    assert [need["product_id"] for need in needs] == ["m1", "soap"]
    assert [[other["product_id"] for other in need["alternates"]] for need in needs] == [["m2", "m3"], []]
    assert rows[1]["alternates"] == [], "the rows given stay as they are"
    shown = content_of(*needs)["candidates"][0]
    assert (shown["need"], shown["need_probability"]) == ("MILK", 0.85)
    assert shown["alternates"] == [{"name": "M2", "probability": 0.8}, {"name": "M3", "probability": 0.8}]


def test_the_policy_cites_the_evidence():
    item = decide(content_of(candidate()))["items"][0]
    assert item == {
        "id": "c01",
        "quantity": 1,
        "cadence_days": 7,
        "reason": "12 orders so far, about every 10 days, last on 24 May: due around 3 June.",
    }


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"is_due": False, "is_high_frequency": True, "orders_in_month": 3}, "3 orders in May 2017."),
        (
            {"need_due_date": date(2017, 7, 9), "need_probability": 0.344},
            "12 orders so far, about every 10 days, last on 24 May: 34% likely to be needed in June.",
        ),
        (
            {"orders": 1},
            "Bought once, on 24 May; products of its kind are bought about every 10 days: due around 3 June.",
        ),
        (
            {"is_due": False, "is_similar_in_history": True, "related_name": "Skim milk", "similarity": 0.91},
            "You bought it before, and it is similar to Skim milk, 12 orders so far.",
        ),
        (
            {"is_due": False, "is_copurchased": True, "related_name": "Bread", "lift": 4.2},
            "You bought it before, and it is often in one basket with Bread, 12 orders so far.",
        ),
    ],
)
def test_reasons_by_source(changes, expected):
    assert decide(content_of(candidate(**changes)))["items"][0]["reason"] == expected


def test_the_policy_fills_short_lists_and_keeps_to_the_size():
    likely = [candidate(need_probability=p / 100) for p in range(30, 60)]
    chosen = decide(content_of(*likely, list_size=5))["items"]
    assert [item["id"] for item in chosen] == ["c30", "c29", "c28", "c27", "c26"]
    unlikely = [candidate(need_probability=0.05)] * 12
    assert len(decide(content_of(*unlikely))["items"]) == 10
    frequent = candidate(need_probability=0.01, is_high_frequency=True)
    assert len(decide(content_of(*unlikely, frequent))["items"]) == 11


def test_quantities_cover_the_time_until_the_next_delivery():
    weekly_pair = decide(content_of(candidate(gap_days=3.5, units_per_order=2.0)))["items"][0]
    assert (weekly_pair["cadence_days"], weekly_pair["quantity"]) == (7, 4)


def test_long_names_leave_the_reason_in_bounds():
    long = candidate(is_due=False, is_similar_in_history=True, related_name="n" * 400, similarity=0.9)
    assert len(decide(content_of(long))["items"][0]["reason"]) <= MAX_REASON_CHARACTERS


GOOD = {"id": "c01", "quantity": 1, "cadence_days": CADENCES_DAYS[0], "reason": "due"}


@pytest.mark.parametrize(
    ("content", "finish", "reason"),
    [
        ({"items": [GOOD]}, "stop", None),
        ({"items": []}, "stop", None),
        ({"items": [GOOD]}, "length", "not_finished"),
        ("", "error", "request_failed"),
        ('{"items": [', "stop", "invalid_json"),
        ({"lists": []}, "stop", "invalid_schema"),
        ({"items": [GOOD | {"quantity": 0}]}, "stop", "invalid_schema"),
        ({"items": [GOOD | {"quantity": "1"}]}, "stop", "invalid_schema"),
        ({"items": [GOOD | {"cadence_days": 5}]}, "stop", "invalid_schema"),
        ({"items": [GOOD | {"reason": "x" * 161}]}, "stop", "invalid_schema"),
        ({"items": [GOOD | {"id": "c77"}]}, "stop", "off_list"),
        ({"items": [GOOD, GOOD]}, "stop", "duplicate_item"),
        ({"items": [GOOD | {"id": f"c{i:02d}"} for i in range(1, 4)]}, "stop", "invalid_schema"),
    ],
)
def test_guardrails(content, finish, reason):
    text = content if isinstance(content, str) else json.dumps(content)
    answer, found = judge_answer(text, finish, ["c01", "c02", "c03"], list_size=2)
    assert found == reason
    assert (answer is None) == (reason is not None)


def test_the_policy_client_speaks_the_contract():
    line = request_line("id-1", render_body([candidate()], "2017-05", "policy", 20))
    (response,) = PolicyClient(decide).answer([line])
    answer = parse_response(response)
    assert (answer.custom_id, answer.finish_reason) == ("id-1", "stop")
    accepted, reason = judge_answer(answer.content, answer.finish_reason, ["c01"], 20)
    assert reason is None
    assert accepted.items[0].id == "c01"


@pytest.mark.parametrize("line", ["", "not json", "[]", '{"custom_id": "a"}', '{"response": {}}'])
def test_lines_outside_the_contract_are_no_answers(line):
    answer = parse_response(line)
    assert answer is None or answer.finish_reason == "error"


def test_ids_depend_on_salt_and_hashes_on_content():
    assert pseudonym("7", "a") != pseudonym("7", "b")
    assert pseudonym("7", "a") == pseudonym("7", "a")
    one, other = (render_body([candidate(orders=n)], "2017-05", "m", 20) for n in (3, 4))
    assert prompt_hash(one, "t") != prompt_hash(other, "t")
    assert prompt_hash(one, "t") != prompt_hash(one, "u")


def test_clients_that_are_not_there_yet_are_refused_clearly():
    with pytest.raises(SettingsError, match="openai"):
        open_client("openai:http://localhost:1#m", decide)
