"""The clients behind the contract, chosen by ``REPLENISH_LLM``."""

import json
from collections.abc import Callable, Iterable
from math import ceil
from typing import Any

from warehouse.errors import SettingsError
from warehouse.llm.contract import BatchClient, Deliver, PendingShard, content_of, response_line
from warehouse.settings import Settings

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

    def answer(self, month: str, pending: Iterable[PendingShard], deliver: Deliver) -> None:
        """One finished answer for each request, shard by shard."""
        for shard in pending:
            deliver(shard.name, [self._answer(json.loads(line)) for line in shard.lines])

    def _answer(self, request: dict[str, Any]) -> str:
        content = content_of(request["body"])
        decided = json.dumps(self._decide(content), ensure_ascii=False, separators=(",", ":"))
        return response_line(request["custom_id"], self.model, decided, 0, 0)


def open_client(settings: Settings, decide: Decide) -> BatchClient:
    """The client that ``REPLENISH_LLM`` names.

    Args:
        settings: the platform's settings.
        decide: what the policy client answers with.

    Raises:
        SettingsError: a setting that the client needs is missing or cannot be used.
    """
    kind, _, rest = settings.llm.partition(":")
    if kind == "openai":
        from warehouse.llm.openai_client import OpenAiClient

        return OpenAiClient(
            rest.rpartition("#")[0],
            model_of(settings.llm),
            api_key=settings.llm_api_key,
            concurrency=settings.llm_concurrency,
            timeout_s=settings.llm_timeout_s,
        )
    if kind == "sagemaker":
        from warehouse.llm.sagemaker_client import SageMakerClient, TransformParams

        if not settings.llm_staging_uri:
            raise SettingsError("REPLENISH_LLM_STAGING_URI is not set: the sagemaker client takes s3://bucket/prefix")
        return SageMakerClient(
            TransformParams(
                model_name=rest,
                staging_uri=settings.llm_staging_uri,
                instance_type=settings.llm_instance_type,
                instance_count=settings.llm_instance_count,
                jobs_at_once=settings.llm_jobs_at_once,
                concurrent_transforms=settings.llm_concurrency,
                timeout_s=ceil(settings.llm_timeout_s),
                deadline_s=3600 * settings.llm_deadline_hours,
            )
        )
    return PolicyClient(decide)


def model_of(spec: str) -> str:
    """Name of the model that a ``REPLENISH_LLM`` value asks."""
    kind, _, rest = spec.partition(":")
    return {"policy": "policy", "openai": rest.rpartition("#")[2]}.get(kind, rest)
