"""Judges an answer before it becomes a list: finished, readable, of the candidates, plausible, and safe to show.

An answer is repaired only where its meaning is certain. One that does not stand is not mended line by line: the caller
falls back to the policy and counts the reason.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from transforms.prompts import CADENCES_DAYS, MAX_QUANTITY, MAX_REASON_CHARACTERS, is_safe_text

PLENTY = 3.0
"""Times what a customer uses between two deliveries from which a quantity is no longer believed."""

_FENCE = re.compile(r"```(?:json)?\s*\n(.*?)\n?\s*```", re.DOTALL | re.IGNORECASE)
_THOUGHT = re.compile(r"^\s*<think>.*?</think>\s*", re.DOTALL | re.IGNORECASE)
_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
_ECHOES = ("need_probability", "list_size", "cadences_days", "candidate", "json", "schema", "prompt", "instruction")
"""Words of the request that have no place in a sentence for a customer."""


class AnswerItem(BaseModel):
    """One line of an answer."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: str
    quantity: Annotated[int, Field(ge=1, le=MAX_QUANTITY)]
    cadence_days: int
    reason: Annotated[str, Field(min_length=1, max_length=MAX_REASON_CHARACTERS)]


class ListAnswer(BaseModel):
    """A whole answer."""

    model_config = ConfigDict(extra="forbid", strict=True)

    items: list[AnswerItem]


@dataclass(frozen=True)
class Verdict:
    """The answer, or why it cannot stand (``warehouse.contracts.gold.FALLBACK_REASONS``); and what was repaired."""

    answer: ListAnswer | None
    fallback: str | None = None
    repairs: tuple[str, ...] = ()


def judge_answer(content: str, finish_reason: str, request: Mapping[str, Any]) -> Verdict:
    """Judges what a model wrote.

    Args:
        content: the text of the answer.
        finish_reason: how it ended.
        request: the content of the user message (``transforms.prompts.render_body``), parsed.
    """
    if finish_reason == "error":
        return Verdict(None, "request_failed")
    if finish_reason != "stop":
        return Verdict(None, "not_finished")
    text, repairs = _unwrapped(content)
    try:
        answer = ListAnswer.model_validate_json(text)
    except ValidationError as error:
        is_json = all(item["type"] != "json_invalid" for item in error.errors())
        return Verdict(None, "invalid_schema" if is_json else "invalid_json")
    fallback = _fault(answer, request)
    return Verdict(None, fallback) if fallback else Verdict(answer, None, repairs)


def _unwrapped(content: str) -> tuple[str, tuple[str, ...]]:
    """The JSON of an answer without what models put around it, and what was taken off."""
    repairs = []
    text = _THOUGHT.sub("", content)
    if text != content:
        repairs.append("thinking")
    fenced = _FENCE.search(text)
    if fenced and not text.lstrip().startswith("{"):
        repairs.append("code_fence")
        if (text[: fenced.start()] + text[fenced.end() :]).strip():
            repairs.append("prose")
        text = fenced.group(1)
    return text, tuple(repairs)


def _fault(answer: ListAnswer, request: Mapping[str, Any]) -> str | None:
    candidates = {candidate["id"]: candidate for candidate in request["candidates"]}
    ids = [item.id for item in answer.items]
    if len(ids) > request["limits"]["list_size"]:
        return "invalid_schema"
    if any(item.cadence_days not in CADENCES_DAYS for item in answer.items):
        return "invalid_schema"
    if not candidates.keys() >= set(ids):
        return "off_list"
    if len(set(ids)) != len(ids):
        return "duplicate_item"
    pairs = [(item, candidates[item.id]) for item in answer.items]
    if any(item.quantity > most_believable(candidate, item.cadence_days) for item, candidate in pairs):
        return "impossible_quantity"
    if not all(_is_presentable(item.reason) for item in answer.items):
        return "unsafe_text"
    if not all(is_founded(item, candidate, request["month"]) for item, candidate in pairs):
        return "unfounded_number"
    return None


def most_believable(candidate: Mapping[str, Any], cadence_days: int) -> int:
    """Units of a delivery above which a quantity is not believed: ``PLENTY`` times the use until the next one."""
    used = candidate["units_per_order"] * max(1.0, cadence_days / max(candidate["gap_days"], 1))
    return max(2, ceil(PLENTY * used))


def is_founded(item: AnswerItem, candidate: Mapping[str, Any], month: str) -> bool:
    """Whether every figure in the reason stands in the candidate's evidence or in the line itself.

    Dates count by year, month and day, shares also as per cent. Numbers in words are not looked at.
    """
    known = set(_figures([candidate, month, item.quantity, item.cadence_days]))
    return all(float(found.replace(",", "")) in known for found in _NUMBER.findall(item.reason))


def _figures(value: object) -> Iterator[float]:
    """All numbers in evidence, however deep."""
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        yield from _readings(float(value))
    elif isinstance(value, str):
        yield from (float(found.replace(",", "")) for found in _NUMBER.findall(value))
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _figures(part)
    elif isinstance(value, Iterable):
        for part in value:
            yield from _figures(part)


def _readings(number: float) -> Sequence[float]:
    """How a number may be told: as it is, rounded, and a share as per cent."""
    percent = (float(round(100 * number)), round(100 * number, 1)) if 0 <= number <= 1 else ()
    return (number, float(round(number)), round(number, 1), *percent)


def _is_presentable(reason: str) -> bool:
    lowered = reason.lower()
    return is_safe_text(reason) and not any(echo in lowered for echo in _ECHOES)
