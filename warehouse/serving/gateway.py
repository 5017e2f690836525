"""The ASGI layer in front of FastAPI: API keys, HEAD, the size limit, metrics, and the hot path of the lookup.

The customer lookup is most of the traffic, and a framework's routing and validation cost it far more than the
lookup itself; so it is answered here, in bytes, by the very function that the declared FastAPI route calls.
Not here: the routes and their documentation (``api.py``).
"""

import hashlib
import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from time import perf_counter
from typing import Any, TypeVar

from anyio import to_thread

from warehouse.errors import ReplenishError
from warehouse.serving.metrics import Metrics
from warehouse.serving.problems import (
    API_KEY,
    BODY_TOO_LARGE,
    MEDIA_TYPE,
    NOTHING_PUBLISHED,
    STORE_UNAVAILABLE,
    UNKNOWN_CUSTOMER,
    ProblemError,
    problem_body,
)
from warehouse.serving.store import ServingReader, Snapshot

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
_Result = TypeVar("_Result")

LOOKUP_PREFIX = "/v1/customers/"
LOOKUP_SUFFIX = "/subscribe-save"
LOOKUP_ROUTE = LOOKUP_PREFIX + "{customer_id}" + LOOKUP_SUFFIX
BATCH_ROUTE = "/v1/subscribe-save:batch"
OPEN_ROUTES = frozenset({"/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"})
_ROUTES = OPEN_ROUTES | {BATCH_ROUTE, "/v1/version"}

# A batch of 1,000 ids of the longest kind, with room for JSON escapes.
MAX_BODY_BYTES = 2 << 20
# Lists are personal, so no shared cache may keep them; a client may, and asks with its ETag whether it still holds.
CACHE_CONTROL = "private, no-cache"


def live_snapshot(store: ServingReader) -> Snapshot:
    """The live version.

    Raises:
        ProblemError: 503, nothing is published or the store cannot be read.
    """
    try:
        snapshot = store.snapshot()
    except ReplenishError as error:
        raise unavailable(error) from error
    if snapshot is None:
        raise ProblemError(
            503,
            "Nothing has been published to the serving store yet. Publish a month with "
            "`python -m jobs.publish --month YYYY-MM`, and see that REPLENISH_HOME and REPLENISH_SERVING are the same "
            "there and here. This process follows without a restart.",
            NOTHING_PUBLISHED,
            {"retry-after": "5"},
        )
    return snapshot


def unavailable(error: ReplenishError) -> ProblemError:
    """503 for a store that cannot be read."""
    return ProblemError(503, str(error), STORE_UNAVAILABLE, {"retry-after": "5"})


async def reading(store: ServingReader, work: Callable[..., _Result], *arguments: Any) -> _Result:
    """Does work that reads the store: here where the store is in memory, in a thread where it waits for a network."""
    return await to_thread.run_sync(work, *arguments) if store.waits else work(*arguments)


def answer_lookup(store: ServingReader, customer_id: str, if_none_match: bytes) -> tuple[int, Headers, bytes]:
    """Status, headers and body of a customer's list, or of "not modified".

    Raises:
        ProblemError: 404 for a customer without a list, 503 where there is nothing to look up in.
    """
    snapshot = live_snapshot(store)
    try:
        body = snapshot.get(customer_id)
    except ReplenishError as error:
        raise unavailable(error) from error
    if body is None:
        detail = f"The live version {snapshot.manifest.version} holds no list for this customer."
        raise ProblemError(404, detail, UNKNOWN_CUSTOMER)
    etag = b'"' + snapshot.manifest.version.encode() + b'"'
    headers = [(b"etag", etag), (b"cache-control", CACHE_CONTROL.encode())]
    if if_none_match and _matches(if_none_match, etag):
        return 304, headers, b""
    headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    return 200, headers, body


def _matches(if_none_match: bytes, etag: bytes) -> bool:
    """Weak comparison, as RFC 9110 asks for If-None-Match."""
    tags = [tag.strip().removeprefix(b"W/") for tag in if_none_match.split(b",")]
    return etag in tags or tags == [b"*"]


def answer_problem(error: ProblemError, scope: Scope) -> tuple[int, Headers, bytes]:
    """Status, headers and body of a problem."""
    body = problem_body(error.status_code, error.detail, instance_of(scope), error.kind)
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        *((name.encode(), value.encode()) for name, value in (error.headers or {}).items()),
    ]
    return error.status_code, headers, body


def instance_of(scope: Scope) -> str:
    """The request's path as it was sent, percent-encoded, without its query."""
    return (scope.get("raw_path") or scope["path"].encode()).split(b"?")[0].decode("latin-1")


class Gateway:
    """ASGI application in front of another one."""

    def __init__(
        self, app: Any, *, store: ServingReader, metrics: Metrics, api_keys: tuple[str, ...], hot_path: bool = True
    ) -> None:
        self._app = app
        self._store = store
        self._metrics = metrics
        self._hot_path = hot_path
        # Digests are of one length, so that comparing them tells nothing about a key's.
        self._keys = [hashlib.sha256(key.encode()).digest() for key in api_keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        path = scope["path"]
        is_lookup = path.startswith(LOOKUP_PREFIX) and path.endswith(LOOKUP_SUFFIX) and len(path) > _LOOKUP_EXTRA
        route = LOOKUP_ROUTE if is_lookup else path if path in _ROUTES else "other"
        status = 500
        try:
            if self._keys and path not in OPEN_ROUTES and not self._is_allowed(scope):
                answer = answer_problem(_NO_KEY, scope)
            elif is_lookup and self._hot_path and scope["method"] in ("GET", "HEAD"):
                answer = await self._lookup(scope)
            else:
                status = await self._pass_on(scope, receive, send)
                return
            status = answer[0]
            await _send(scope, send, *answer)
        finally:
            self._metrics.observe(route, status, perf_counter() - started)

    async def _lookup(self, scope: Scope) -> tuple[int, Headers, bytes]:
        # The server has percent-decoded the path; a customer id may hold any character, a slash too.
        customer_id = scope["path"][len(LOOKUP_PREFIX) : -len(LOOKUP_SUFFIX)]
        try:
            given = _header(scope, b"if-none-match")
            return await reading(self._store, answer_lookup, self._store, customer_id, given)
        except ProblemError as error:
            return answer_problem(error, scope)

    def _is_allowed(self, scope: Scope) -> bool:
        given = hashlib.sha256(_header(scope, b"x-api-key")).digest()
        # No early exit: the time taken must not tell which key came close.
        return sum(hmac.compare_digest(given, key) for key in self._keys) > 0

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Hands the request to the application behind and returns the status that it answered."""
        status = 500
        is_head = scope["method"] == "HEAD"

        async def watch(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif is_head:
                message = {"type": "http.response.body", "body": b"", "more_body": message.get("more_body", False)}
            await send(message)

        inner = {**scope, "method": "GET"} if is_head else scope
        await self._app(inner, _limited(scope, receive), watch)
        return status


_LOOKUP_EXTRA = len(LOOKUP_PREFIX) + len(LOOKUP_SUFFIX) - 1
_NO_KEY = ProblemError(401, "Send one of the configured keys in the X-API-Key header.", API_KEY)


def _header(scope: Scope, name: bytes) -> bytes:
    for key, value in scope["headers"]:
        if key == name:
            return value
    return b""


def _limited(scope: Scope, receive: Receive) -> Receive:
    """Stops reading a body that is longer than any valid request, before it fills the memory."""
    received = 0

    async def limited() -> MutableMapping[str, Any]:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MAX_BODY_BYTES:
            # The rest of the body stays unread, so the connection can carry no other request (HTTP/1's header).
            headers = {"connection": "close"} if scope["http_version"].startswith("1") else {}
            raise ProblemError(413, f"A request body has at most {MAX_BODY_BYTES:,} bytes.", BODY_TOO_LARGE, headers)
        return message

    return limited


async def _send(scope: Scope, send: Send, status: int, headers: Headers, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
