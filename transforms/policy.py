"""The deterministic reasoner: reads a request's content and answers as a model would. Also every model's fallback.

It takes the likeliest needs: all that are likely enough to be worth a subscription, and fills a short list up to
``SHORT_LIST`` with less likely ones.
"""

from calendar import month_name
from collections.abc import Mapping
from datetime import date
from typing import Any

from transforms.diversity import hold_floor
from transforms.prompts import CADENCES_DAYS, MAX_QUANTITY, MAX_REASON_CHARACTERS
from warehouse.contracts.gold import DISCOVERY_SOURCES
from warehouse.months import add_months

WORTH_A_LINE = 0.10
"""Probability of its need from which a candidate takes a line of its own accord; high-frequency items always do."""

SHORT_LIST = 10
"""Lines up to which less likely candidates fill a list."""


def decide(content: dict[str, Any]) -> dict[str, Any]:
    """The list for one request.

    Args:
        content: the user message of ``transforms.prompts.render_body``, parsed.

    Returns:
        An answer object of ``transforms.prompts.answer_schema``.
    """
    new = [candidate for candidate in content["candidates"] if is_discovery(candidate)]
    known = [candidate for candidate in content["candidates"] if not is_discovery(candidate)]
    likeliest = sorted(known, key=lambda candidate: (-candidate["need_probability"], candidate["id"]))
    chosen = [candidate for place, candidate in enumerate(likeliest) if place < SHORT_LIST or _is_worth(candidate)]
    # The request offers no more discoveries than a list may carry; they come last, in its order.
    lines = min(len(chosen), max(content["limits"]["list_size"] - len(new), 0))
    floor = content["limits"].get("long_tail_share", 0.0)
    chosen = (_hold_floor(chosen, likeliest, lines, floor) if floor else chosen[:lines]) + new
    return {
        "items": [
            {
                "id": candidate["id"],
                "quantity": _quantity(candidate),
                "cadence_days": _cadence(candidate["gap_days"]),
                "reason": _reason(candidate, content["month"]),
            }
            for candidate in chosen[: content["limits"]["list_size"]]
        ]
    }


def is_discovery(candidate: Mapping[str, Any]) -> bool:
    """Whether the customer never bought the candidate."""
    return candidate["sources"][0] in DISCOVERY_SOURCES


def _hold_floor(
    chosen: list[dict[str, Any]], likeliest: list[dict[str, Any]], lines: int, share: float
) -> list[dict[str, Any]]:
    """The first ``lines`` chosen; what was not chosen comes in only where the floor asks for it. Likeliest first."""
    others = [candidate for candidate in likeliest if candidate not in chosen]
    held = hold_floor([*chosen, *others], lines, share, lambda candidate: candidate["is_long_tail"])
    return [candidate for candidate in likeliest if candidate in held]


def _is_worth(candidate: dict[str, Any]) -> bool:
    return "high_frequency" in candidate["sources"] or candidate["need_probability"] >= WORTH_A_LINE


def _cadence(gap_days: float) -> int:
    return min(CADENCES_DAYS, key=lambda cadence: (abs(cadence - gap_days), cadence))


def _quantity(candidate: dict[str, Any]) -> int:
    """Units for one delivery: what the customer uses in the time until the next."""
    wanted = candidate["units_per_order"] * _cadence(candidate["gap_days"]) / max(candidate["gap_days"], 1)
    return max(1, min(MAX_QUANTITY, round(wanted)))


def _reason(candidate: dict[str, Any], month: str) -> str:
    sources = candidate["sources"]
    if is_discovery(candidate):
        return _reason_to_try(candidate)
    if "due" in sources and candidate["orders_so_far"] == 1:
        rhythm = f"products of its kind are bought about every {_count(candidate['gap_days'], 'day')}"
        return f"Bought once, on {_day(candidate['last_ordered'])}; {rhythm}: {_when(candidate, month)}."
    if "due" in sources:
        rhythm = f"about every {_count(candidate['gap_days'], 'day')}, last on {_day(candidate['last_ordered'])}"
        text = f"{_count(candidate['orders_so_far'], 'order')} so far, {rhythm}: {_when(candidate, month)}."
        return text if candidate["orders_this_month"] < 2 else f"{_this_month(candidate, month)} {text}"
    if "high_frequency" in sources:
        return _this_month(candidate, month)
    related = candidate.get("similar_to") or candidate.get("bought_with") or ""
    how = "similar to" if "similar_to" in candidate else "often in one basket with"
    ending = f", {_count(candidate['orders_so_far'], 'order')} so far."
    return _naming(f"You bought it before, and it is {how} ", related, ending)


def _reason_to_try(candidate: dict[str, Any]) -> str:
    if "profile_neighbour" in candidate["sources"]:
        return "New to you; chosen by customers who buy much the same."
    if "similar_to" in candidate:
        return _naming("New in the shop, and similar to ", candidate["similar_to"], ".")
    if "bought_with" in candidate:
        return _naming("New to you; chosen by customers who buy ", candidate["bought_with"], ".")
    return "New to you, and bought by many this month."


def _naming(start: str, product: str, ending: str) -> str:
    """A reason that names a product, whose name is cut where the whole would be too long."""
    room = MAX_REASON_CHARACTERS - len(start) - len(ending)
    return start + (product if len(product) <= room else product[: room - 1].rstrip() + "…") + ending


def _when(candidate: dict[str, Any], month: str) -> str:
    """The date where it lies in the next month; a later one is too far off to name, and the chance is told instead."""
    after = add_months(month, 1)
    if candidate["need_due"][:7] == after:
        return f"due around {_day(candidate['need_due'])}"
    return f"{candidate['need_probability']:.0%} likely to be needed in {month_name[int(after[5:])]}"


def _this_month(candidate: dict[str, Any], month: str) -> str:
    return f"{_count(candidate['orders_this_month'], 'order')} in {month_name[int(month[5:])]} {month[:4]}."


def _count(number: float, noun: str) -> str:
    return f"{number:g} {noun}{'' if number == 1 else 's'}"


def _day(text: str) -> str:
    day = date.fromisoformat(text)
    return f"{day.day} {month_name[day.month]}"
