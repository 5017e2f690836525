"""The inference container for SageMaker Batch Transform, in front of an OpenAI-compatible engine (vLLM, NIM).

``python -m warehouse.llm.container --engine http://127.0.0.1:8000/v1 [--port 8080] [--timeout-s 120]``; a key that the
engine asks for stands in ``REPLENISH_LLM_API_KEY``.

- ``GET /ping``: 200 once the engine lists its models, else 503, so that SageMaker waits for a model that still loads.
- ``POST /invocations``: one request line of the contract (SplitType=Line, BatchStrategy=SingleRecord), answered with
  one response line; several lines (MultiRecord) with as many.

SageMaker writes a shard's output only if each of its records was answered with 200. So a record that the engine
refuses is answered with 200 and an error line, and only an engine that cannot be asked fails the invocation: with 503,
which SageMaker tries again, or with 500 where the engine refuses every record alike.

Not here: the engine, and the client that starts transform jobs.
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from warehouse.errors import ReplenishError
from warehouse.llm.contract import error_line
from warehouse.llm.openai_client import REFUSED, Outcome, ask, open_engine
from warehouse.serving.server import resolve_address, serve

Ask = Callable[[dict[str, Any]], Awaitable[Outcome]]
"""Answers one request line, parsed."""

_ENGINE, _TIMEOUT, _KEY = "REPLENISH_CONTAINER_ENGINE", "REPLENISH_CONTAINER_TIMEOUT_S", "REPLENISH_LLM_API_KEY"
# SageMaker gives a ping two seconds.
_PING_TIMEOUT_S = 1.5
_WORTH_A_RETRY = frozenset({408, 409, 425, 429})


def create_app(
    engine_url: str,
    api_key: SecretStr | None = None,
    timeout_s: float = 120.0,
    max_retries: int = 2,
    concurrency: int = 64,
) -> Starlette:
    """The container's ASGI application.

    Args:
        engine_url: the engine's address up to and with ``/v1``.
        api_key: None for an engine that asks for none.
        timeout_s: most seconds of an attempt. All attempts together must stay below the transform job's
            ``InvocationsTimeoutInSeconds``.
        max_retries: attempts at the engine after the first; SageMaker adds its own.
        concurrency: most requests at the engine.

    Raises:
        SettingsError: the address or the key cannot be used.
    """
    engine = open_engine(engine_url, api_key, timeout_s, max_retries, concurrency)
    places = asyncio.Semaphore(concurrency)

    async def ask_engine(request: dict[str, Any]) -> Outcome:
        async with places:
            return await ask(engine, request)

    async def ping(_: Request) -> Response:
        return Response(status_code=200 if await _is_ready(engine) else 503)

    async def invocations(request: Request) -> Response:
        return await answer_invocation(await request.body(), ask_engine)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with engine:
            yield

    routes = [Route("/ping", ping), Route("/invocations", invocations, methods=["POST"])]
    return Starlette(routes=routes, lifespan=lifespan)


async def _is_ready(engine: Any) -> bool:
    import httpx
    from openai import OpenAIError

    try:
        await engine.get(
            "/models", cast_to=httpx.Response, options={"max_retries": 0, "timeout": httpx.Timeout(_PING_TIMEOUT_S)}
        )
    except OpenAIError:
        return False
    return True


async def answer_invocation(payload: bytes, ask_one: Ask) -> Response:
    """Answers the lines of one invocation, in their order.

    Args:
        payload: request lines in UTF-8.
        ask_one: answers one of them.

    Returns:
        200 with as many response lines, or the status that fails the invocation.
    """
    # Not splitlines: a product's name may hold characters that end a line to Python but not to JSONL.
    lines = [line for line in payload.split(b"\n") if line.strip()]
    outcomes = await asyncio.gather(*(_answer_record(line, ask_one) for line in lines))
    for outcome in outcomes:
        if failure := _failure(outcome):
            return PlainTextResponse(failure[1], status_code=failure[0])
    return Response("\n".join(outcome.line for outcome in outcomes), media_type="application/json")


async def _answer_record(line: bytes, ask_one: Ask) -> Outcome:
    """A line outside the contract is answered too: with an error, under its id if that can be read."""
    custom_id = ""
    try:
        record = json.loads(line)
        if isinstance(record.get("custom_id"), str):
            custom_id = record["custom_id"]
            if isinstance(record.get("body"), dict):
                return await ask_one(record)
    except (ValueError, AttributeError, RecursionError):
        pass
    return Outcome(error_line(custom_id, 400, "bad_record", "not a request line of the contract"), 400)


def _failure(outcome: Outcome) -> tuple[int, str] | None:
    """Status and text that fail the whole invocation for this outcome of a record; None where the record stands."""
    if outcome.status is None or outcome.status >= 500 or outcome.status in _WORTH_A_RETRY:
        shown = "no response" if outcome.status is None else f"HTTP {outcome.status}"
        return 503, f"the engine did not answer ({shown})"
    if outcome.status in REFUSED:
        return 500, f"the engine refuses every record (HTTP {outcome.status}): mend the model's name or the key"
    return None


def app_from_environment() -> Starlette:
    """The application in a server's worker, by the variables that :func:`main` sets."""
    key = os.environ.get(_KEY)
    return create_app(os.environ[_ENGINE], SecretStr(key) if key else None, float(os.environ[_TIMEOUT]))


def main() -> None:
    """Serves the container's contract until it is interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", nargs="?", choices=["serve"], help="what SageMaker appends; changes nothing")
    parser.add_argument("--engine", required=True, help="address of the engine, up to and with /v1")
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--timeout-s", type=float, default=120.0)
    arguments = parser.parse_args()
    os.environ[_ENGINE], os.environ[_TIMEOUT] = arguments.engine, str(arguments.timeout_s)
    try:
        app_from_environment()
        address = resolve_address(arguments.host, arguments.port)
    except ReplenishError as error:
        sys.exit(str(error))
    serve("warehouse.llm.container:app_from_environment", address, arguments.port)


if __name__ == "__main__":
    main()
