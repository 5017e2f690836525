"""The lookup API: its routes and their OpenAPI description, and the command that serves it.

``python -m warehouse.serving.api [--host H] [--port P] [--workers N]``

What belongs here: the declared routes, the form of errors, the command. What does not: the hot path, keys and metrics
(``gateway.py``), the server (``server.py``), and anything that writes: the API opens the store for reading only.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import APIKeyHeader
from pydantic_core import to_json
from starlette.exceptions import HTTPException

from warehouse.errors import ReplenishError
from warehouse.serving import gateway, problems
from warehouse.serving.answers import LIST_EXAMPLE, MAX_BATCH, BatchRequest, BatchResponse, Health, Ready, VersionInfo
from warehouse.serving.lists import CustomerList
from warehouse.serving.metrics import CONTENT_TYPE, Metrics
from warehouse.serving.problems import FieldProblem, Problem, ProblemError
from warehouse.serving.server import resolve_address, serve
from warehouse.serving.store import ServingReader, open_reader
from warehouse.settings import Settings, load_settings


def create_app(settings: Settings | None = None, *, hot_path: bool = True) -> gateway.Gateway:
    """The API as an ASGI application.

    Args:
        settings: read from the environment where None.
        hot_path: False answers the lookup by the declared FastAPI route; the answers are the same (a test says so).

    Raises:
        SettingsError: a setting cannot be used.
    """
    settings = settings or load_settings()
    store = open_reader(settings.serving_store, settings.dynamodb_endpoint)
    metrics = Metrics(store)
    keys = tuple(key.get_secret_value() for key in settings.api_keys)
    return gateway.Gateway(_declare(store, metrics), store=store, metrics=metrics, api_keys=keys, hot_path=hot_path)


def _declare(store: ServingReader, metrics: Metrics) -> FastAPI:
    app = FastAPI(
        title="Replenish lookup API",
        version="1",
        summary="What belongs on each customer's Subscribe & Save list, from the live published version.",
        redoc_url=None,
        redirect_slashes=False,
    )
    _add_lookups(app, store)
    _add_operations(app, store, metrics)
    for kind, handler in (
        (HTTPException, _on_http_error),
        (RequestValidationError, _on_invalid_request),
        (Exception, _on_failure),
    ):
        app.add_exception_handler(kind, handler)
    describe = app.openapi
    app.openapi = lambda: _with_problem_media_type(describe())  # type: ignore[method-assign]
    return app


_KEY = Security(APIKeyHeader(name="X-API-Key", auto_error=False, description="asked for when keys are configured"))
_UNAUTHORISED = {401: {"model": Problem, "description": "API key missing or wrong"}}
_UNAVAILABLE = {503: {"model": Problem, "description": "Nothing is published, or the store cannot be read"}}


def _add_lookups(app: FastAPI, store: ServingReader) -> None:
    found = {
        "model": CustomerList,
        "description": "The customer's list",
        "headers": {"ETag": {"description": "the version, in quotes", "schema": {"type": "string"}}},
        "content": {"application/json": {"example": LIST_EXAMPLE}},
    }
    lookup_answers: dict[int | str, Any] = {
        200: found,
        304: {"description": "The client's copy, named by If-None-Match, is still the live one"},
        404: {"model": Problem, "description": "The live version holds no list for this customer"},
    }

    # The path convertor takes ids that hold a slash (sent as %2F); OpenAPI shows a plain {customer_id}.
    @app.get(
        gateway.LOOKUP_ROUTE.replace("{customer_id}", "{customer_id:path}"),
        response_model=None,
        responses=lookup_answers | _UNAUTHORISED | _UNAVAILABLE,
        dependencies=[_KEY],
        tags=["lists"],
        summary="One customer's list",
    )
    async def customer_list(customer_id: str, request: Request) -> Response:
        """The live list of one customer. Send the ETag back in If-None-Match to be spared an unchanged body."""
        given = request.headers.get("if-none-match", "").encode("latin-1")
        status, headers, body = await gateway.reading(store, gateway.answer_lookup, store, customer_id, given)
        response = Response(body, status)
        response.raw_headers = headers
        return response

    @app.post(
        gateway.BATCH_ROUTE,
        response_model=None,
        responses={200: {"model": BatchResponse, "description": "Lists of one version"}}
        | {413: {"model": Problem, "description": "The body is longer than any valid request"}}
        | {422: {"model": Problem, "description": f"Not a list of at most {MAX_BATCH:,} ids"}}
        | _UNAUTHORISED
        | _UNAVAILABLE,
        dependencies=[_KEY],
        tags=["lists"],
        summary=f"Up to {MAX_BATCH:,} customers' lists, all from one version",
    )
    async def batch(wanted: BatchRequest) -> Response:
        """The live lists of several customers, and the ids that have none."""
        ids = list(dict.fromkeys(wanted.customer_ids))
        return _json(await gateway.reading(store, _batch_body, store, ids))

    @app.get(
        "/v1/version",
        response_model=None,
        responses={200: {"model": VersionInfo, "description": "The live version"}} | _UNAUTHORISED | _UNAVAILABLE,
        dependencies=[_KEY],
        tags=["lists"],
        summary="The live version and its age",
    )
    async def version() -> Response:
        """Which version the other routes answer from."""
        manifest = (await gateway.reading(store, gateway.live_snapshot, store)).manifest
        age = int((datetime.now(UTC) - manifest.generated_at).total_seconds())
        shown = manifest.model_dump(include={"version", "month", "generated_at", "expires_at", "customers", "lines"})
        return _json(to_json(VersionInfo(age_seconds=age, **shown)))


def _add_operations(app: FastAPI, store: ServingReader, metrics: Metrics) -> None:
    @app.get("/healthz", response_model=Health, tags=["operations"], summary="Is the process up?")
    async def healthz() -> Response:
        """Answers as long as the process does; says nothing of the store."""
        return _json(to_json(Health()))

    @app.get(
        "/readyz",
        response_model=Ready,
        responses={503: {"model": Problem, "description": "Nothing is published, or it has expired"}},
        tags=["operations"],
        summary="Is a fresh version open?",
    )
    async def readyz() -> Response:
        """Ready when a version is live, open and not expired; otherwise says what to do."""
        manifest = (await gateway.reading(store, gateway.live_snapshot, store)).manifest
        if manifest.expires_at <= datetime.now(UTC):
            raise ProblemError(
                503,
                f"The live version {manifest.version} expired at {manifest.expires_at:%Y-%m-%dT%H:%M:%SZ}; its lists "
                "are still served. Publish a later month with `python -m jobs.publish --month YYYY-MM`.",
                problems.VERSION_EXPIRED,
            )
        return _json(to_json(Ready(version=manifest.version, month=manifest.month, expires_at=manifest.expires_at)))

    @app.get(
        "/metrics",
        response_class=Response,
        responses={200: {"description": "Prometheus text format", "content": {"text/plain": {}}}},
        tags=["operations"],
        summary="Prometheus metrics",
    )
    async def show_metrics() -> Response:
        """Requests and seconds by route and status, and the live version; no customer ids."""
        text = await gateway.reading(store, metrics.render)
        return Response(text, headers={"content-type": CONTENT_TYPE})


def _batch_body(store: ServingReader, ids: list[str]) -> bytes:
    snapshot = gateway.live_snapshot(store)
    try:
        bodies = snapshot.get_many(ids)
    except ReplenishError as error:
        raise gateway.unavailable(error) from error
    missing = [customer_id for customer_id, body in zip(ids, bodies, strict=True) if body is None]
    found = b",".join(body for body in bodies if body is not None)
    version = to_json(snapshot.manifest.version)
    return b'{"version":%b,"lists":[%b],"missing":%b}' % (version, found, to_json(missing))


def _json(body: bytes) -> Response:
    return Response(body, headers={"cache-control": "no-store"}, media_type="application/json")


async def _on_http_error(request: Request, error: HTTPException) -> Response:
    if not isinstance(error, ProblemError):
        headers = dict(error.headers or {})
        detail = str(error.detail)
        if error.status_code == 404:
            detail = "There is no such route. GET /docs lists those that exist."
        elif error.status_code == 405:
            if headers.get("Allow") == "GET":
                headers["Allow"] = "GET, HEAD"
            detail = f"This route takes {headers.get('Allow', 'other methods')}."
        error = ProblemError(error.status_code, detail, headers={name.lower(): text for name, text in headers.items()})
    status, headers_out, body = gateway.answer_problem(error, request.scope)
    response = Response(body, status)
    response.raw_headers = headers_out
    return response


async def _on_invalid_request(request: Request, error: RequestValidationError) -> Response:
    # What was sent is not repeated: it may hold customer ids, and answers end up in the caller's logs.
    errors = []
    for item in error.errors():
        where, detail = item["loc"], item["msg"]
        if item["type"] == "json_invalid":
            where, detail = where[:1], f"not JSON, from character {where[-1]} on"
        pointer = "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in where)
        errors.append(FieldProblem(pointer=pointer, detail=detail))
    detail = "; ".join(f"{one.pointer}: {one.detail}" for one in errors[:3])
    body = problems.problem_body(
        422, detail, gateway.instance_of(request.scope), problems.INVALID_REQUEST, errors[:100]
    )
    return Response(body, 422, media_type=problems.MEDIA_TYPE)


async def _on_failure(request: Request, error: Exception) -> Response:
    body = problems.problem_body(500, "The server failed; its log says why.", gateway.instance_of(request.scope))
    return Response(body, 500, media_type=problems.MEDIA_TYPE)


def _with_problem_media_type(document: dict[str, Any]) -> dict[str, Any]:
    """Every declared error has the media type of problem documents, which FastAPI has no setting for."""
    for operations in document["paths"].values():
        for operation in operations.values():
            # FastAPI declares a 422 of its own form for every path parameter; a plain string cannot be invalid.
            if operation["responses"].get("422", {}).get("description") == "Validation Error":
                del operation["responses"]["422"]
            for status, answer in operation["responses"].items():
                if status >= "400" and "application/json" in answer.get("content", {}):
                    answer["content"][problems.MEDIA_TYPE] = answer["content"].pop("application/json")
    for unused in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(unused, None)
    return document


def main(argv: Sequence[str] | None = None) -> None:
    """Serves the API until it is interrupted."""
    parser = argparse.ArgumentParser(description="Serves the lookup API from the live published version.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on (default %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="worker processes (default %(default)s)")
    arguments = parser.parse_args(argv)
    try:
        settings = load_settings()
        open_reader(settings.serving_store, settings.dynamodb_endpoint)
        address = resolve_address(arguments.host, arguments.port)
    except ReplenishError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    print(f"Lookup API on http://{arguments.host}:{arguments.port}, store {settings.serving_store}; routes at /docs")
    serve("warehouse.serving.api:create_app", address, arguments.port, arguments.workers)


if __name__ == "__main__":
    main()
