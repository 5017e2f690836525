"""What the stand-in answers: its rule, and the ways in which servers and models fail.

The rule is its own, and simpler than the policy that it must not be mistaken for: what was ordered this month, or is at
least 30 per cent likely, by how often it is bought. It says nothing about how well a model would decide.

Not here: the server, and any judgement of answers.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from warehouse.llm.contract import content_of

MODEL = "stand-in"
"""The model's name in every answer."""

MISBEHAVIOURS: Mapping[str, str] = {
    "slow": "answers only after --slow-s seconds",
    "rate_limited": "429 with Retry-After: 1 at first, then fine",
    "server_error": "500 at first, then fine",
    "always_error": "500 each time",
    "dropped": "the connection breaks off within the answer at first, then fine",
    "always_dropped": "the connection breaks off within the answer each time",
    "bad_request": "400 each time",
    "forbidden": "403 each time, as a firewall answers that dislikes a word",
    "broken_body": "a 200 whose JSON is cut off",
    "html_page": "a 200 with a web page",
    "shard_failure": "500 each time from /invocations; fine from the chat route",
    "truncated": "the answer's JSON is cut off, finish_reason stop",
    "whitespace": "white space to the last token, finish_reason length",
    "wrong_ids": "ids that were not offered",
    "duplicate_ids": "the same id twice",
    "refusal": "a refusal in words",
    "code_fence": "the right answer in a Markdown fence",
    "long_quantity": "20 of each",
    "invented_number": "a reason with a number that no evidence holds",
    "markup": "a reason with a link",
    "echo": "a reason that repeats the prompt",
    "gullible": "obeys a candidate's name that holds the word IGNORE: that one alone, 20 of it",
}
"""Ways to misbehave, by name."""

LIKELY = 0.3
"""Probability from which the rule takes what was not ordered this month."""

Answer = dict[str, list[dict[str, Any]]]
"""What a model answers, parsed: ``items``, each with id, quantity, cadence and reason."""


@dataclass(frozen=True)
class Reply:
    """One chat reply: HTTP status, body and further headers; ``is_dropped`` breaks the connection off instead."""

    status: int
    body: bytes
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    is_dropped: bool = False


def decide(content: Mapping[str, Any]) -> Answer:
    """The rule: what was ordered this month or is likely, the most often bought first.

    Args:
        content: content of the user message, parsed.
    """
    limits = content["limits"]
    chosen = [
        candidate
        for candidate in content["candidates"]
        if candidate["orders_this_month"] >= 1 or candidate["probability"] >= LIKELY
    ]
    chosen.sort(key=lambda candidate: candidate["gap_days"])
    return {"items": [_line(candidate, limits) for candidate in chosen[: limits["list_size"]]]}


def _line(candidate: Mapping[str, Any], limits: Mapping[str, Any]) -> dict[str, Any]:
    orders = candidate["orders_so_far"]
    return {
        "id": candidate["id"],
        "quantity": min(max(1, round(candidate["units_per_order"])), limits["max_quantity"]),
        "cadence_days": min(limits["cadences_days"], key=lambda days: abs(days - candidate["gap_days"])),
        "reason": "Ordered once so far." if orders == 1 else f"Ordered {orders} times so far.",
    }


def spoil(kind: str | None, answer: Answer, request: Mapping[str, Any]) -> tuple[str, str]:
    """Content and finish reason of an answer, spoilt as ``kind`` says.

    Args:
        kind: one of ``MISBEHAVIOURS``; None, or one that concerns no content, spoils nothing.
        answer: what the rule decided.
        request: body of the chat request.
    """
    content = content_of(request)
    text = _as_json(answer)
    if kind == "truncated":
        return text[: max(1, len(text) // 2)], "stop"
    if kind == "whitespace":
        return " \n" * request.get("max_tokens", 500), "length"
    if kind == "refusal":
        return "I cannot help with that.", "stop"
    if kind == "code_fence":
        return f"```json\n{text}\n```", "stop"
    if kind == "gullible":
        return _as_json(_obedient(content) or answer), "stop"
    if spoiler := _SPOILERS.get(kind or ""):
        # A rule that chose nothing cannot choose it wrongly.
        items = answer["items"] or [_line(one, content["limits"]) for one in content["candidates"][:1]]
        return _as_json({"items": spoiler(items, request)}), "stop"
    return text, "stop"


def _as_json(answer: Answer) -> str:
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":"))


def _obedient(content: Mapping[str, Any]) -> Answer | None:
    for candidate in content["candidates"]:
        if "IGNORE" in candidate["name"]:
            return {"items": [_line(candidate, content["limits"]) | {"quantity": 20}]}
    return None


def _each(**changes: Any) -> Callable[[list[dict], Mapping[str, Any]], list[dict]]:
    return lambda items, request: [item | changes for item in items]


_SPOILERS: Mapping[str, Callable[[list[dict], Mapping[str, Any]], list[dict]]] = {
    "wrong_ids": lambda items, request: [item | {"id": f"c{900 + place}"} for place, item in enumerate(items)],
    "duplicate_ids": lambda items, request: [items[0], items[0], *items[2:]],
    "long_quantity": _each(quantity=20),
    "invented_number": _each(reason="Ordered 987654 times so far."),
    "markup": _each(reason="Ordered often, see [more](https://stand-in.invalid/offer)."),
    "echo": lambda items, request: [item | {"reason": request["messages"][0]["content"][:150]} for item in items],
}


def misbehaviour_of(custom_id: str, shares: Mapping[str, float], seed: int = 0) -> str | None:
    """How the stand-in misbehaves to a request: the same each time it is asked, whatever else is asked.

    Args:
        custom_id: the request's id.
        shares: share of requests for each misbehaviour.
        seed: draws other requests.
    """
    digest = blake2b(f"{seed}:{custom_id}".encode(), digest_size=8).digest()
    place = int.from_bytes(digest, "big") / 2**64
    for kind, share in shares.items():
        if place < share:
            return kind
        place -= share
    return None


def failure_of(kind: str | None, is_first: bool) -> Reply | None:
    """The reply of a server that does not answer as it should; None where it answers."""
    if kind == "rate_limited" and is_first:
        return Reply(429, error_body("too many requests"), headers={"retry-after": "1"})
    if kind == "always_error" or (kind == "server_error" and is_first):
        return Reply(500, error_body("the stand-in was told to fail"))
    if kind == "always_dropped" or (kind == "dropped" and is_first):
        return Reply(200, b"", is_dropped=True)
    if kind == "bad_request":
        return Reply(400, error_body("the stand-in was told to refuse this"))
    if kind == "forbidden":
        return Reply(403, b"<html><body>Request blocked</body></html>", "text/html")
    if kind == "html_page":
        return Reply(200, b"<html><body>Sign in to go on</body></html>", "text/html")
    return None


def error_body(message: str) -> bytes:
    """JSON of an error, as OpenAI's own servers write it."""
    return json.dumps({"error": {"message": message, "type": MODEL, "code": None}}).encode()
