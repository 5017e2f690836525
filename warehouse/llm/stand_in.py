"""A stand-in for a model's server, for tests and laptops. No language model is in it: a short rule answers.

``python -m warehouse.llm.stand_in [--port 9000] [--misbehave truncated=0.1 --misbehave slow=0.05] [--latency-ms 20]``

It speaks what real servers speak, so that clients are tested over real HTTP: the OpenAI chat contract
(``POST /v1/chat/completions``, ``GET /v1/models``) and SageMaker's container contract (``GET /ping``,
``POST /invocations``). ``GET /stats`` and ``GET /stats/ids`` say what it was asked. In every answer the model's name is
``stand-in``. Its rule says nothing about how well a model would decide.

What belongs here: the server and its command line. What does not: what it answers (``stand_in_answers.py``), and how
tests start it (``stand_in_process.py``).
"""

import argparse
import asyncio
import json
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from warehouse.errors import ReplenishError, SettingsError
from warehouse.llm.container import answer_invocation
from warehouse.llm.contract import content_of, error_line
from warehouse.llm.openai_client import Outcome, read_reply
from warehouse.llm.stand_in_answers import (
    MISBEHAVIOURS,
    MODEL,
    Reply,
    decide,
    error_body,
    failure_of,
    misbehaviour_of,
    spoil,
)
from warehouse.serving.server import resolve_address, serve

ARGUMENTS = "REPLENISH_STAND_IN"
"""Environment variable that brings the arguments of :func:`create_app`, in JSON, to the server's worker."""

_COUNTED = frozenset({"/v1/chat/completions", "/v1/models", "/ping", "/invocations"})


class _ShardFailure(Exception):
    """A record that fails the shard it is in."""


class _Stats:
    """What was asked. ``server_seconds`` is the time from a request's arrival to its answer, summed."""

    def __init__(self) -> None:
        self.paths: Counter[str] = Counter()
        self.ids: Counter[str] = Counter()
        self.misbehaved: Counter[str] = Counter()
        self.in_flight = self.max_in_flight = 0
        self.server_seconds = 0.0

    @contextmanager
    def watching(self, path: str) -> Iterator[None]:
        """Counts a request as long as it is in the server."""
        started = time.perf_counter()
        self.paths[path] += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            yield
        finally:
            self.in_flight -= 1
            self.server_seconds += time.perf_counter() - started

    def summary(self) -> dict[str, Any]:
        """Body of ``GET /stats``."""
        again = sum(count > 1 for count in self.ids.values())
        return {
            "requests": dict(self.paths),
            "ids": {"asked": len(self.ids), "once": len(self.ids) - again, "more_than_once": again},
            "misbehaved": dict(self.misbehaved),
            "max_in_flight": self.max_in_flight,
            "server_seconds": round(self.server_seconds, 6),
        }


class _StandIn:
    """The server's state and its replies."""

    def __init__(self, shares: Mapping[str, float], latency_ms: float, seed: int, slow_s: float) -> None:
        unknown = shares.keys() - MISBEHAVIOURS.keys()
        if unknown or sum(shares.values()) > 1 + 1e-9 or any(not 0 <= share <= 1 for share in shares.values()):
            known = ", ".join(MISBEHAVIOURS)
            raise SettingsError(f"the stand-in misbehaves to shares of requests, at most 1 in all, by: {known}")
        self._shares, self._latency_s, self._seed, self._slow_s = dict(shares), latency_ms / 1000, seed, slow_s
        self.stats = _Stats()

    async def reply(self, custom_id: str, request: Mapping[str, Any]) -> Reply:
        """Answers one chat request."""
        self.stats.ids[custom_id] += 1
        kind = misbehaviour_of(custom_id, self._shares, self._seed)
        if kind:
            self.stats.misbehaved[kind] += 1
        await asyncio.sleep(self._latency_s + (self._slow_s if kind == "slow" else 0))
        if failure := failure_of(kind, is_first=self.stats.ids[custom_id] == 1):
            return failure
        try:
            content, finish = spoil(kind, decide(content_of(request)), request)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            return Reply(400, error_body("the stand-in's rule reads the requests of Replenish alone"))
        body = json.dumps(_completion(custom_id, content, finish, request)).encode()
        return Reply(200, body[: len(body) // 2] if kind == "broken_body" else body)

    async def answer_record(self, record: Mapping[str, Any]) -> Outcome:
        """Answers one record of ``/invocations``, as the container would with this server as its engine."""
        custom_id = record["custom_id"]
        reply = await self.reply(custom_id, record["body"])
        if misbehaviour_of(custom_id, self._shares, self._seed) == "shard_failure":
            raise _ShardFailure
        if reply.is_dropped:
            return Outcome(error_line(custom_id, None, "connection", "dropped"), None)
        return read_reply(custom_id, reply.status, reply.body)


def _completion(custom_id: str, content: str, finish: str, request: Mapping[str, Any]) -> dict[str, Any]:
    asked = sum(len(message["content"]) for message in request["messages"])
    tokens = {"prompt_tokens": math.ceil(asked / 4), "completion_tokens": math.ceil(len(content) / 4)}
    message = {"role": "assistant", "content": content}
    return {
        "id": f"stand-in-{custom_id}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": tokens | {"total_tokens": sum(tokens.values())},
    }


class _BrokenOff(Response):
    """Promises more than it sends; the server can then only close the connection."""

    async def __call__(self, scope: MutableMapping, receive: Callable, send: Callable) -> None:
        """Sends the beginning of an answer."""
        headers = [(b"content-type", b"application/json"), (b"content-length", b"1000")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"id":', "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Watched:
    """ASGI application that counts and times what another one is asked."""

    def __init__(self, app: Starlette, stats: _Stats) -> None:
        self._app, self._stats = app, stats

    async def __call__(self, scope: MutableMapping, receive: Callable, send: Callable) -> None:
        """Passes the request on."""
        if scope["type"] != "http" or scope["path"] not in _COUNTED:
            await self._app(scope, receive, send)
            return
        with self._stats.watching(scope["path"]):
            await self._app(scope, receive, send)


def create_app(
    misbehave: Mapping[str, float] | None = None,
    latency_ms: float = 0.0,
    seed: int = 0,
    *,
    slow_s: float = 5.0,
    api_key: str | None = None,
) -> Callable:
    """The stand-in as an ASGI application. Its counts are the process's own: serve it with one worker.

    Args:
        misbehave: share of requests, 0 to 1, for each of ``MISBEHAVIOURS``. Which requests these are follows from
            ``custom_id`` and ``seed`` alone.
        latency_ms: milliseconds that each answer takes.
        seed: draws other requests.
        slow_s: seconds that a slow answer takes.
        api_key: asked for on the OpenAI routes where it is given.

    Raises:
        SettingsError: a misbehaviour is unknown, or the shares are more than the whole.
    """
    server = _StandIn(misbehave or {}, latency_ms, seed, slow_s)

    def is_let_in(request: Request) -> bool:
        return api_key is None or request.headers.get("authorization") == f"Bearer {api_key}"

    async def models(request: Request) -> Response:
        if not is_let_in(request):
            return Response(error_body("a key is asked for"), 401, media_type="application/json")
        model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "a rule, not a language model"}
        return JSONResponse({"object": "list", "data": [model]})

    async def chat(request: Request) -> Response:
        if not is_let_in(request):
            return Response(error_body("a key is asked for"), 401, media_type="application/json")
        payload = await request.body()
        custom_id = request.headers.get("idempotency-key") or blake2b(payload, digest_size=8).hexdigest()
        try:
            body = json.loads(payload)
        except ValueError:
            return Response(error_body("no JSON"), 400, media_type="application/json")
        reply = await server.reply(custom_id, body)
        if reply.is_dropped:
            return _BrokenOff()
        return Response(reply.body, reply.status, dict(reply.headers), reply.media_type)

    async def invocations(request: Request) -> Response:
        try:
            return await answer_invocation(await request.body(), server.answer_record)
        except _ShardFailure:
            return PlainTextResponse("the stand-in was told to fail this shard", 500)

    async def ping(_: Request) -> Response:
        return PlainTextResponse("stand-in: a rule, not a language model")

    async def stats(_: Request) -> Response:
        return JSONResponse(server.stats.summary())

    async def ids(_: Request) -> Response:
        return JSONResponse(dict(server.stats.ids))

    routes = [
        Route("/v1/chat/completions", chat, methods=["POST"]),
        Route("/v1/models", models),
        Route("/ping", ping),
        Route("/invocations", invocations, methods=["POST"]),
        Route("/stats", stats),
        Route("/stats/ids", ids),
    ]
    return _Watched(Starlette(routes=routes), server.stats)


def app_from_environment() -> Callable:
    """The application in a server's worker, by the variable that :func:`main` sets."""
    return create_app(**json.loads(os.environ.get(ARGUMENTS, "{}")))


def _share(text: str) -> tuple[str, float]:
    name, _, share = text.partition("=")
    return name, float(share)


def main() -> None:
    """Serves the stand-in until it is interrupted."""
    kinds = "\n".join(f"  {name:16} {meaning}" for name, meaning in MISBEHAVIOURS.items())
    parser = argparse.ArgumentParser(
        description=f"{__doc__}\nMisbehaviours:\n{kinds}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--misbehave", type=_share, action="append", metavar="NAME=SHARE")
    parser.add_argument("--latency-ms", type=float)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--slow-s", type=float)
    given = vars(parser.parse_args())
    host, port, shares = given.pop("host"), given.pop("port"), given.pop("misbehave")
    arguments = {name: value for name, value in given.items() if value is not None}
    if shares:
        arguments["misbehave"] = dict(shares)
    # What the command line leaves open, the variable may say.
    arguments = json.loads(os.environ.get(ARGUMENTS, "{}")) | arguments
    try:
        create_app(**arguments)
        address = resolve_address(host, port)
    except ReplenishError as error:
        sys.exit(str(error))
    os.environ[ARGUMENTS] = json.dumps(arguments)
    serve("warehouse.llm.stand_in:app_from_environment", address, port)


if __name__ == "__main__":
    main()
