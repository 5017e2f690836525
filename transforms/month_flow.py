"""A month from landed rows to published lines, with what did not come through at each step, by reason."""

from collections.abc import Mapping
from dataclasses import dataclass

OVER_BUDGET = "over_budget"
"""Reason of needs that a customer's budget had no room for; all other reasons leave out pairs before the candidates."""


@dataclass(frozen=True)
class FlowStep:
    """A table on the way of the month: its rows, and what did not come through to it, by reason."""

    name: str
    rows: int
    dropped: Mapping[str, int]


def flow_steps(
    *,
    order_lines: int,
    refused: Mapping[str, int],
    pairs: int,
    candidates: int,
    dropped: Mapping[str, int],
    lists: int,
    lines: int,
) -> list[FlowStep]:
    """The steps in order.

    Args:
        order_lines: rows of ``silver/order_lines``.
        refused: order rows in quarantine, by reason.
        pairs: rows of ``gold/replenishment_state``.
        candidates: rows of ``gold/candidates``. A pair that no policy dropped and that is none was not likely enough.
        dropped: what policies left out, by reason.
        lists: published lists.
        lines: lines on them.
    """
    policies = {reason: count for reason, count in dropped.items() if reason != OVER_BUDGET and count}
    unlikely = pairs - candidates - sum(policies.values())
    budget = dropped.get(OVER_BUDGET, 0)
    return [
        FlowStep("order lines landed", order_lines + sum(refused.values()), {}),
        FlowStep("order lines kept", order_lines, refused),
        FlowStep("products in households' histories", pairs, {}),
        FlowStep("candidates", candidates, {**policies, **({"not likely enough": unlikely} if unlikely > 0 else {})}),
        FlowStep("lists", lists, {}),
        FlowStep("lines on them", lines, {OVER_BUDGET: budget} if budget else {}),
    ]
