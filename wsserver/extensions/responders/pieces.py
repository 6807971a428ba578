"""What a provider's stream consists of, whatever its kind, and the decoder of each kind."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from wsserver.extensions.responders.sse import SseEvent


class Text(NamedTuple):
    """More text of the answer; "" for a sign of life, as while the AI thinks."""

    text: str


class Usage(NamedTuple):
    """What the answer has cost by the provider's count; a later one replaces it."""

    counts: dict[str, Any]


class Failure(NamedTuple):
    """The provider has failed; ``reason`` is its own word for it, without secrets."""

    reason: str
    is_temporary: bool


Piece = Text | Usage | Failure


class Decoder(Protocol):
    """Decodes the events of one answer; wrong types and unknown members are skipped."""

    is_complete: bool
    """Whether the provider has said that the answer is whole."""
    question: bytes | None
    """An interactive node that asks for a reply, as JSON."""

    def decode(self, event: SseEvent) -> list[Piece]:
        """The pieces in an event."""
        ...

    def decode_whole(self, body: Any) -> list[Piece]:
        """The pieces of an answer that was not streamed: its JSON."""
        ...


def member(value: Any, *path: str | int) -> Any:
    """A member at a path of objects and arrays; None where anything on it is something else."""
    for step in path:
        if isinstance(step, str) and isinstance(value, dict):
            value = value.get(step)
        elif isinstance(step, int) and isinstance(value, list) and -len(value) <= step < len(value):
            value = value[step]
        else:
            return None
    return value


def text_at(value: Any, *path: str | int) -> str:
    """A text at a path; "" for anything else."""
    found = member(value, *path)
    return found if isinstance(found, str) else ""
