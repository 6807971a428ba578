"""OpenAI-compatible chat completions: the request, and the decoder of its streamed answer."""

from __future__ import annotations

from typing import Any

from msgspec import DecodeError
from msgspec.json import decode

from wsserver.extensions.responders.pieces import (
    Failure,
    Piece,
    Text,
    Usage,
    member,
    text_at,
)
from wsserver.extensions.responders.sse import SseEvent

DONE = "[DONE]"
PATH = "/chat/completions"
_USAGE = ("prompt_tokens", "completion_tokens", "total_tokens")
_TEMPORARY = ("rate_limit", "overloaded", "server_error", "timeout", "unavailable")


def request_body(
    messages: list[dict[str, str]], model: str | None, variables: dict[str, Any]
) -> dict[str, Any]:
    """The body of a request; ``variables`` are further members, as ``temperature``."""
    body: dict[str, Any] = {
        **variables,
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if model is not None:
        body["model"] = model
    return body


class OpenAiDecoder:
    """Implements ``Decoder``: ends with ``[DONE]``, or with a ``finish_reason``."""

    question: bytes | None = None

    def __init__(self) -> None:
        self.is_complete = False

    def decode(self, event: SseEvent) -> list[Piece]:
        """The pieces of a chunk."""
        if event.data.strip() == DONE:
            self.is_complete = True
            return []
        try:
            chunk = decode(event.data)
        except (DecodeError, RecursionError):
            return []
        return self._decode(chunk, "delta")

    def decode_whole(self, body: Any) -> list[Piece]:
        """The pieces of a completion that was not streamed."""
        pieces = self._decode(body, "message")
        self.is_complete = any(isinstance(piece, Text) for piece in pieces)
        return pieces

    def _decode(self, chunk: Any, part: str) -> list[Piece]:
        if failure := failure_in(chunk):
            return [failure]
        pieces: list[Piece] = [Text(text_at(chunk, "choices", 0, part, "content"))]
        if member(chunk, "choices", 0, "finish_reason"):
            self.is_complete = True
        usage = member(chunk, "usage")
        if isinstance(usage, dict):
            counts = {name: usage[name] for name in _USAGE if _is_count(usage.get(name))}
            if counts:
                pieces.append(Usage(counts))
        return pieces


def failure_in(body: Any) -> Failure | None:
    """The error in a body, ``{"error": {"message", "type", "code"}}`` or a text; None: none."""
    error = member(body, "error")
    if not error:
        return None
    if isinstance(error, str):
        return Failure(error, is_temporary=False)
    kind = f"{text_at(error, 'type')} {text_at(error, 'code')}".strip()
    reason = text_at(error, "message") or kind or "the provider reports an error"
    return Failure(reason, any(word in kind for word in _TEMPORARY))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
