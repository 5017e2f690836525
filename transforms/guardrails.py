"""Judges an answer before it becomes a list: finished, readable, on the list of candidates, each only once.

An answer that fails is not mended here: the caller falls back to the policy and counts the reason.
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from transforms.prompts import CADENCES_DAYS, MAX_QUANTITY, MAX_REASON_CHARACTERS


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


def judge_answer(
    content: str, finish_reason: str, candidate_ids: Sequence[str], list_size: int
) -> tuple[ListAnswer | None, str | None]:
    """The answer, or why it cannot stand.

    Args:
        content: what the model wrote.
        finish_reason: how it ended.
        candidate_ids: the local ids that were offered.
        list_size: most lines.

    Returns:
        ``(answer, None)`` or ``(None, reason)``; reasons are ``warehouse.contracts.gold.FALLBACK_REASONS``.
    """
    if finish_reason == "error":
        return None, "request_failed"
    if finish_reason != "stop":
        return None, "not_finished"
    try:
        answer = ListAnswer.model_validate_json(content)
    except ValidationError as error:
        is_json = all(item["type"] != "json_invalid" for item in error.errors())
        return None, "invalid_schema" if is_json else "invalid_json"
    ids = [item.id for item in answer.items]
    if len(ids) > list_size or any(item.cadence_days not in CADENCES_DAYS for item in answer.items):
        return None, "invalid_schema"
    if not set(ids) <= set(candidate_ids):
        return None, "off_list"
    if len(set(ids)) != len(ids):
        return None, "duplicate_item"
    return answer, None
