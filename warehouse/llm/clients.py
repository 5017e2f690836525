"""The clients behind the contract, chosen by ``REPLENISH_LLM``."""

import json
from collections.abc import Callable
from typing import Any

from warehouse.errors import SettingsError
from warehouse.llm.contract import BatchClient, response_line

Decide = Callable[[dict[str, Any]], dict[str, Any]]


class PolicyClient:
    """No model: a deterministic function reads the request's own content and answers in the same schema.

    It sees exactly what a model would see, so its lists are a fair yardstick for one. Token counts are 0.
    """

    name = "policy"
    model = "policy"

    def __init__(self, decide: Decide) -> None:
        """``decide`` takes the content of the user message and returns the answer object."""
        self._decide = decide

    def answer(self, lines: list[str]) -> list[str]:
        """One finished answer for each request, in order."""
        return [self._answer(json.loads(line)) for line in lines]

    def _answer(self, request: dict[str, Any]) -> str:
        content = json.loads(request["body"]["messages"][-1]["content"])
        decided = json.dumps(self._decide(content), ensure_ascii=False, separators=(",", ":"))
        return response_line(request["custom_id"], self.model, decided, 0, 0)


def open_client(spec: str, decide: Decide) -> BatchClient:
    """The client that ``REPLENISH_LLM`` names.

    Raises:
        SettingsError: the client is not part of this version.
    """
    kind = spec.split(":", 1)[0]
    if kind == "policy":
        return PolicyClient(decide)
    raise SettingsError(f"REPLENISH_LLM is {spec!r}: the {kind} client is not part of this version; it takes: policy")


def model_of(spec: str) -> str:
    """Name of the model that a ``REPLENISH_LLM`` value asks."""
    kind, _, rest = spec.partition(":")
    return {"policy": "policy", "openai": rest.rpartition("#")[2]}.get(kind, rest)
