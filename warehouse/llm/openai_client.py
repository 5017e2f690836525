"""Asks any OpenAI-compatible server (NIM, vLLM, Ollama) over HTTP: many requests at once, none of them streamed.

Retries are the ``openai`` package's own: connection errors, timeouts, 408, 409, 429 and 5xx, after the server's
``Retry-After`` (up to two minutes) or else after a jittered pause that doubles from half a second to eight.

``vllm run-batch`` needs no client. A file of ``llm/<month>/requests`` is its input as it stands, and its output is read
once it lies in ``llm/<month>/responses`` under the same name; a later run asks only for what it left open::

    vllm run-batch --model MODEL -i requests/shard-00000.jsonl -o responses/shard-00000.jsonl

Not here: what a line looks like (``contract.py``), where lines are kept (``shards.py``). Nothing in this file puts a
prompt or an answer into a log or an error.
"""

import asyncio
import json
import logging
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from warehouse.errors import LlmUnavailable, ReplenishError, SettingsError
from warehouse.llm.contract import Deliver, PendingShard, error_line, parse_response

if TYPE_CHECKING:
    from openai import APIConnectionError, AsyncOpenAI

REFUSED = frozenset({401, 403, 404})
"""Statuses by which a server refuses every request alike: key, permission, model or route."""

_FEWEST_IN_A_ROW, _MOST_IN_A_ROW = 4, 32
_CONNECT_TIMEOUT_S = 10.0
_NO_KEY = "none"
"""Stands in the header where no key is set: local servers look at none, and the package refuses to send none."""


@dataclass(frozen=True)
class Outcome:
    """What became of one request.

    Attributes:
        line: its response line, of an answer or of an error.
        status: the HTTP status; None where no response came.
        unreachable: why no connection could be opened; None where one was.
    """

    line: str
    status: int | None
    unreachable: str | None = None


class OpenAiClient:
    """Answers requests through ``POST BASE_URL/chat/completions``."""

    name = "openai"

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: SecretStr | None = None,
        concurrency: int = 16,
        timeout_s: float = 120.0,
        max_retries: int = 5,
    ) -> None:
        """Opens no connection.

        Args:
            base_url: address up to and with ``/v1``.
            model: name under which the server knows the model; the requests carry it already.
            api_key: None for a server that asks for none.
            concurrency: most requests in flight.
            timeout_s: most seconds that one attempt may wait for its answer.
            max_retries: attempts after the first.

        Raises:
            SettingsError: the address or the key cannot be used.
        """
        _checked_key(api_key)
        self.model = model
        self._url = base_url
        self._shown_url = shown_address(base_url)
        self._key = api_key
        self._concurrency, self._timeout_s, self._max_retries = concurrency, timeout_s, max_retries

    def answer(self, month: str, pending: Iterable[PendingShard], deliver: Deliver) -> None:
        """Asks for every pending request and delivers each answer as it comes; a failure becomes an error line.

        A shard is taken when the one before has been sent whole, while its last answers are still awaited.

        Raises:
            LlmUnavailable: one request after the other found no server; those without an answer can be asked again.
            SettingsError: one request after the other was refused with 401, 403 or 404.
        """
        asyncio.run(self._answer(_requests_of(pending), deliver))

    async def _answer(self, requests: Iterator[tuple[str, dict[str, Any]]], deliver: Deliver) -> None:
        watch = _Watch(self._problem_of, min(max(self._concurrency, _FEWEST_IN_A_ROW), _MOST_IN_A_ROW))
        trust = _trusted_certificates()

        async def work() -> None:
            # Each worker has a pool of one connection: the time that a pool takes for a request grows with the square
            # of its connections, and with 32 of them exceeds all else that the client does.
            async with open_engine(self._url, self._key, self._timeout_s, self._max_retries, 1, trust) as engine:
                # All workers draw from the one iterator, so that a slow answer holds up no other and the end of a
                # shard none at all.
                for shard, request in requests:
                    outcome = await ask(engine, request)
                    deliver(shard, [outcome.line])
                    watch.see(outcome)

        workers = [asyncio.create_task(work()) for _ in range(self._concurrency)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        watch.close()

    def _problem_of(self, outcome: Outcome) -> ReplenishError | None:
        """What is wrong with the server rather than with this request; None where it is this request, or nothing."""
        if outcome.unreachable:
            return LlmUnavailable(
                f"no model's server answers at {self._shown_url} ({outcome.unreachable}): "
                "start it, or mend the address in REPLENISH_LLM"
            )
        if outcome.status in REFUSED:
            return SettingsError(f"the server at {self._shown_url} {self._refusal(outcome.status)}")
        return None

    def _refusal(self, status: int) -> str:
        if status == 401 and self._key is None:
            return "asks for a key (HTTP 401): set REPLENISH_LLM_API_KEY"
        if status == 401:
            return "does not take the key of REPLENISH_LLM_API_KEY (HTTP 401): set a valid one"
        if status == 403:
            return (
                f"does not allow the model {self.model!r} (HTTP 403): mend REPLENISH_LLM_API_KEY or the model in "
                "REPLENISH_LLM, or see what a firewall before the server refuses"
            )
        return (
            f"knows no model {self.model!r}, or no /chat/completions below that address (HTTP 404): mend "
            "REPLENISH_LLM, which takes openai:BASE_URL#MODEL with a base that ends in /v1"
        )


class _Watch:
    """Tells a server that cannot be asked from requests that fail.

    One 403 proves nothing: a firewall may refuse a single request for a product's name. A row of failures does that is
    as long as requests are in flight; and, but for a 403, a shorter one where nothing was ever answered.
    """

    def __init__(self, problem_of: Callable[[Outcome], ReplenishError | None], limit: int) -> None:
        self._problem_of, self._limit = problem_of, limit
        self._in_a_row = 0
        self._has_answered = False
        self._certain: ReplenishError | None = None

    def see(self, outcome: Outcome) -> None:
        """Counts an outcome, and raises when it is one failure too many."""
        problem = self._problem_of(outcome)
        if problem is None:
            self._in_a_row, self._has_answered = 0, True
            return
        self._in_a_row += 1
        if outcome.status != 403:
            self._certain = problem
        if self._in_a_row >= self._limit:
            raise problem

    def close(self) -> None:
        """Raises where all requests failed, few as they may have been."""
        if self._certain is not None and not self._has_answered:
            raise self._certain


def open_engine(
    base_url: str,
    api_key: SecretStr | None,
    timeout_s: float,
    max_retries: int,
    connections: int,
    trust: ssl.SSLContext | None = None,
) -> "AsyncOpenAI":
    """The package's client, set up for one event loop; it opens no connection yet.

    Args:
        base_url: address up to and with ``/v1``.
        api_key: None for a server that asks for none.
        timeout_s: most seconds of an attempt.
        max_retries: attempts after the first.
        connections: most connections, all of which are kept open.
        trust: certificates to trust; None reads the machine's.

    Raises:
        SettingsError: the address or the key cannot be used.
    """
    # Imported here: a month that the policy decides needs neither.
    import httpx
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient

    # At DEBUG the package writes whole requests, which hold what customers buy; at INFO each request makes a line.
    for name in ("openai", "httpx"):
        logging.getLogger(name).setLevel(logging.WARNING)
    shown_address(base_url)
    timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, _CONNECT_TIMEOUT_S))
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    return AsyncOpenAI(
        base_url=base_url,
        # Never None: the package would take OPENAI_API_KEY from the environment and send it to whatever server this is.
        api_key=_checked_key(api_key),
        timeout=timeout,
        max_retries=max_retries,
        http_client=DefaultAsyncHttpxClient(timeout=timeout, limits=limits, verify=trust or _trusted_certificates()),
    )


def _trusted_certificates() -> ssl.SSLContext:
    """What httpx itself would trust. Reading it takes longer than a request, so that clients share it."""
    import httpx

    return httpx.create_ssl_context()


async def ask(engine: "AsyncOpenAI", request: Mapping[str, Any]) -> Outcome:
    """Sends one request of the contract, with the package's retries, and reads what comes back; raises nothing for it.

    Args:
        engine: from :func:`open_engine`.
        request: a request line, parsed.
    """
    import httpx
    from openai import APIConnectionError, APIStatusError

    custom_id = request["custom_id"]
    # A gateway that knows the header answers a retry without computing again.
    options = {"headers": {"Idempotency-Key": custom_id}}
    try:
        response = await engine.post("/chat/completions", cast_to=httpx.Response, body=request["body"], options=options)
    except APIStatusError as error:
        return read_reply(custom_id, error.status_code, b"")
    except APIConnectionError as error:
        return _unanswered(custom_id, error)
    return read_reply(custom_id, response.status_code, response.content)


def _unanswered(custom_id: str, error: "APIConnectionError") -> Outcome:
    import httpx
    from openai import APITimeoutError

    code = "timeout" if isinstance(error, APITimeoutError) else "connection"
    cause = error.__cause__
    line = error_line(custom_id, None, code, type(cause).__name__)
    if isinstance(cause, httpx.ConnectError | httpx.ConnectTimeout):
        return Outcome(line, None, str(cause) or type(cause).__name__)
    return Outcome(line, None)


def read_reply(custom_id: str, status: int, content: bytes) -> Outcome:
    """Response line of what a server answered: its own body where that is a chat completion, else an error.

    Args:
        custom_id: whose reply it is.
        status: HTTP status.
        content: body of a 200; not looked at otherwise.
    """
    if status != 200:
        return Outcome(error_line(custom_id, status, "http_status", f"HTTP {status}"), status)
    try:
        body = json.loads(content)
        record = {"custom_id": custom_id, "response": {"status_code": 200, "body": body}, "error": None}
        # As ASCII: an answer may hold half a surrogate pair, which no file takes, or a character that ends a line.
        line = json.dumps(record, separators=(",", ":"))
        answer = parse_response(line)
    except (ValueError, RecursionError, OverflowError):
        answer = None
    if answer is None or not answer.is_finished:
        return Outcome(error_line(custom_id, 200, "not_a_completion", "the body is no finished chat completion"), 200)
    return Outcome(line, 200)


def shown_address(base_url: str) -> str:
    """The address as an error may show it, without a user's name and password.

    Raises:
        SettingsError: it is no address.
    """
    import httpx

    try:
        url = httpx.URL(base_url)
        if url.host and (url.port or 0) < 1 << 16:
            return str(url.copy_with(userinfo=b"", query=None))
    except httpx.InvalidURL:
        pass
    raise SettingsError(
        "the address of the model's server cannot be used: it takes one such as http://127.0.0.1:8000/v1, "
        "which REPLENISH_LLM names as openai:ADDRESS#MODEL"
    )


def _checked_key(api_key: SecretStr | None) -> str:
    """The key as the header takes it; a header with a line break would be shown, key and all, in an error."""
    if api_key is None:
        return _NO_KEY
    key = api_key.get_secret_value().strip()
    if not key or not key.isascii() or not key.isprintable():
        raise SettingsError("REPLENISH_LLM_API_KEY is empty or holds characters that no HTTP header can carry")
    return key


def _requests_of(pending: Iterable[PendingShard]) -> Iterator[tuple[str, dict[str, Any]]]:
    for shard in pending:
        for line in shard.lines:
            yield shard.name, json.loads(line)
