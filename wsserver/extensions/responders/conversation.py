"""A session's messages as a responder sees them: who wrote what, and what has no answer yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from msgspec.json import encode

from wsserver.extensions.responders.pieces import member, text_at
from wsserver.extensions.responders.provider import Turn

STOPPED = frozenset({"growing", "failed", "cancelled", "interrupted"})
"""States of answers that are not whole."""


class Seen(NamedTuple):
    """The newest messages of a session, ascending; at least one of them is of somebody else."""

    due: int
    """Offset of the latest message of somebody else."""
    user_id: str
    """Its sender."""
    username: str | None
    turns: tuple[Turn, ...]
    offsets: tuple[int, ...]
    """Of each turn."""

    def ordered(self, answered: int) -> tuple[Turn, ...]:
        """The messages with those that have no answer yet at the end.

        An answer to an earlier message may have begun after a later one was written.
        """
        after = min(answered, self.due - 1)
        both = list(zip(self.turns, self.offsets, strict=True))
        news = [turn for turn, at in both if at > after and not turn.is_answer]
        return (*(turn for turn, at in both if at <= after or turn.is_answer), *news)

    def since(self, answered: int) -> str:
        """What others have written after an offset, at least their latest message."""
        after = min(answered, self.due - 1)
        return "\n".join(
            turn.text
            for turn, at in zip(self.turns, self.offsets, strict=True)
            if at > after and not turn.is_answer
        )


def seen_in(pushes: Sequence[Any], own: str, answered: int = 0) -> Seen | None:
    """The messages of a page of history; None: nobody else has written one.

    ``own``: the sender of the responder's answers. Deleted and empty messages are left out, and
    answers that were stopped in favour of the one that follows: those after ``answered``.
    """
    turns: list[tuple[Turn, int]] = []
    latest: tuple[int, Any] | None = None
    for push in pushes:
        message, offset = member(push, "message"), member(push, "offset")
        text = text_of(message)
        if not text or not isinstance(offset, int):
            continue
        is_answer = text_at(message, "sender", "user_id") == own
        if is_answer and offset > answered and text_at(message, "state") in STOPPED:
            continue
        turns.append((Turn(is_answer, text), offset))
        if not is_answer:
            latest = (offset, message)
    if latest is None:
        return None
    due, message = latest
    sender = text_at(message, "sender", "user_id")
    username = text_at(message, "sender", "username") or None
    return Seen(
        due, sender, username, tuple(turn for turn, _ in turns), tuple(at for _, at in turns)
    )


def growing_in(pushes: Sequence[Any], own: str) -> list[str]:
    """The ids of the responder's answers that still grow, in a page of history."""
    messages = [member(push, "message") for push in pushes]
    return [
        text_at(message, "id")
        for message in messages
        if text_at(message, "state") == "growing" and text_at(message, "sender", "user_id") == own
    ]


def text_of(message: Any) -> str:
    """The content as text: JSON of anything else; "" for a deleted message."""
    content = member(message, "content")
    if isinstance(content, str):
        return content.strip()
    return "" if content is None else encode(content).decode()
