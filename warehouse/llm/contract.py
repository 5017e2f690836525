"""The portable contract: OpenAI batch lines in, OpenAI batch lines out, joined by ``custom_id``.

The same request file feeds SageMaker Batch Transform, ``vllm run-batch`` and any OpenAI-compatible server. An answer
belongs to its request by ``custom_id`` alone, which carries the hash of what was asked: an answer found again for the
same id needs no second request.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

SHARD_RECORDS = 1_000
"""Most records of a shard. SageMaker writes a file's output only if all of it succeeded, so shards stay small."""


@dataclass(frozen=True)
class PendingShard:
    """Requests of one shard that have no answer yet: the shard's file name and its request lines."""

    name: str
    lines: list[str]


Deliver = Callable[[str, list[str]], None]
"""Takes a shard's name and response lines of it, at once or bit by bit; what was delivered survives a kill."""


class BatchClient(Protocol):
    """Answers requests. ``name`` is what decisions say they were decided by, ``model`` what was asked."""

    name: str
    model: str

    def answer(self, month: str, pending: Iterable[PendingShard], deliver: Deliver) -> None:
        """Asks for every pending request, and delivers the response lines as they come, in any order.

        A request may stay unanswered, or be answered with an error line. Shards are taken one after the other, so that
        a month need not fit into memory. ``deliver`` is called from one thread at a time.

        Raises:
            LlmUnavailable: nothing can be asked, and a later run may succeed.
            SettingsError: the address, the model or the credentials are wrong.
        """
        ...


@dataclass(frozen=True)
class Answer:
    """A response line, taken apart. ``finish_reason`` is ``error`` where the request itself failed."""

    custom_id: str
    content: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int

    @property
    def is_finished(self) -> bool:
        """Whether the server answered at all; a bad answer is an answer, and is not asked for again."""
        return self.finish_reason != "error"


def prompt_hash(body: dict[str, Any], template_version: str) -> str:
    """SHA-256 of everything that an answer depends on: template, model, parameters and content."""
    text = json.dumps([template_version, body], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def pseudonym(customer_id: str, salt: str) -> str:
    """Salted hash that stands for the customer outside: 16 hexadecimal digits."""
    return hashlib.blake2b(customer_id.encode(), key=salt.encode()[:64], digest_size=8).hexdigest()


def request_line(custom_id: str, body: dict[str, Any]) -> str:
    """One line of a request shard."""
    record = {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def response_line(custom_id: str, model: str, content: str, prompt_tokens: int, completion_tokens: int) -> str:
    """One line of a response shard, as a server writes it for a finished answer."""
    message = {"role": "assistant", "content": content}
    body = {
        "object": "chat.completion",
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        },
    }
    record = {"custom_id": custom_id, "response": {"status_code": 200, "body": body}, "error": None}
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def content_of(body: dict[str, Any]) -> dict[str, Any]:
    """What a request's body says of the customer: the content of its last message, parsed."""
    return json.loads(body["messages"][-1]["content"])


def custom_id_of(line: str) -> str:
    """Id of a request line."""
    return str(json.loads(line)["custom_id"])


def to_jsonl(lines: Iterable[str]) -> bytes:
    """Lines as they stand in a file."""
    return "".join(f"{line}\n" for line in lines).encode("utf-8")


def from_jsonl(content: bytes) -> list[str]:
    """Lines of a file, empty ones left out."""
    # Not splitlines, which also breaks at characters that JSON leaves as they are, such as U+2028.
    return [line for line in content.decode("utf-8").split("\n") if line.strip()]


def error_line(custom_id: str, status_code: int | None, code: str, message: str) -> str:
    """One line of a response shard for a request that failed for good; no status where no response came."""
    response = None if status_code is None else {"status_code": status_code, "body": {}}
    record = {"custom_id": custom_id, "response": response, "error": {"code": code, "message": message[:200]}}
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def parse_response(line: str) -> Answer | None:
    """The answer of a response line; ``None`` if the line is not one of the contract."""
    try:
        record = json.loads(line)
        custom_id = record["custom_id"]
        response = record.get("response") or {}
        if record.get("error") or response.get("status_code") != 200:
            return Answer(str(custom_id), "", "error", 0, 0)
        body = response["body"]
        choice, usage = body["choices"][0], body.get("usage") or {}
        content = choice["message"].get("content") or ""
        if not isinstance(content, str):
            return None
        return Answer(
            str(custom_id),
            content,
            choice.get("finish_reason") or "error",
            int(usage.get("prompt_tokens", 0)),
            int(usage.get("completion_tokens", 0)),
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError):
        return None
