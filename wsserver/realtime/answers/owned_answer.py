"""``OwnedAnswer``: a growing answer on the node that owns it: text, roll-up, watchers. No I/O."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Struct

from wsserver.errors import AnswerEnded
from wsserver.protocol.contents import GROWING
from wsserver.protocol.types import JsonObject
from wsserver.realtime.answers.growing_text import (
    GrowingText,
    Stall,
    StoredText,
    digest_of,
    is_text_of,
)
from wsserver.realtime.answers.roll_up import RollUp
from wsserver.storage.messages.answers import AnswerRow, Closing, Progress, StoredAnswer, Write

WATCHERS_LIMIT = 1000
"""Watchers that are recorded of one answer."""

EndState = Literal["completed", "failed", "cancelled", "interrupted"]
_stalls = msgspec.json.Decoder(tuple[Stall, ...])


class Watch(NamedTuple):
    """A time in which a user watched an answer on one node; seconds since the epoch."""

    user_id: str
    since: float
    until: float | None = None
    """None: still, or until the end of the answer."""


_watches = msgspec.json.Decoder(list[Watch])


class Ending(Struct, frozen=True):
    """How an answer is to end."""

    state: EndState
    reason: str | None = None
    content: str | None = None
    """Replaces the text."""
    usage: str | None = None
    """JSON."""
    by: str | None = None
    """User id of who ends it; None: the server."""
    seq: int | None = None
    """The number of the latest append, if the text is to be that of the appends up to it."""

    @property
    def digest(self) -> str:
        """A digest of everything, to recognise the same request."""
        what = (self.state, self.reason, self.content, self.usage)
        return digest_of(msgspec.json.encode(what).decode())


class OwnedAnswer:
    """A growing answer. ``row``: as it was stored when this node began it or took it over."""

    __slots__ = (
        "_is_changed",
        "_watches",
        "audience",
        "ending",
        "expires_at",
        "generation",
        "message_id",
        "refused_end",
        "roll_up",
        "sender",
        "session_id",
        "since",
        "started_at",
        "stream",
        "term",
        "text",
        "timer",
    )

    def __init__(
        self,
        row: AnswerRow,
        stream: str,
        audience: str | None,
        expires_at: float,
        text: GrowingText,
        window_s: float,
        sender: str | None,
    ) -> None:
        self.message_id = row.message_id
        self.sender = sender
        """User id of who answers."""
        self.session_id = row.session_id
        self.stream = stream
        self.audience = audience
        self.expires_at = expires_at
        """Of its message."""
        self.term = row.term
        self.generation = row.generation
        self.started_at = row.started_at
        self.text = text
        self.since = text.length
        """Code points that this owner has begun with."""
        self.roll_up = RollUp(window_s, text.length)
        self.timer: asyncio.TimerHandle | None = None
        """Of the next push."""
        self.ending: asyncio.Future[None] | None = None
        """Done when an attempt to end it has succeeded or failed."""
        self.refused_end: tuple[str, JsonObject] | None = None
        """Of the latest end whose caller was refused, as its outcome was not known: the id of its
        change record, and its event."""
        self._watches: dict[tuple[str, float], float | None] = {
            (user_id, since): until for user_id, since, until in _watches.decode(row.watchers)
        }
        self._is_changed = False

    def note_change(self) -> bool:
        """Note that something is to be written behind; True: the first time since a write."""
        was_changed, self._is_changed = self._is_changed, True
        return not was_changed

    def end_tried(self) -> None:
        """Let go on what waits for the attempt to end it."""
        if self.ending is not None:
            self.ending.set_result(None)
            self.ending = None

    # Watchers

    def watched(self, watches: Iterable[Watch]) -> None:
        """Who watches it, or has stopped; each by the user and the begin."""
        for user_id, since, until in watches:
            if (user_id, since) in self._watches or len(self._watches) < WATCHERS_LIMIT:
                self._watches[user_id, since] = until

    def left_by_all(self, at: float) -> None:
        """All watches have ended: the node that had them is gone, or reports them again."""
        self._watches = {key: at if end is None else end for key, end in self._watches.items()}

    @property
    def watches(self) -> list[Watch]:
        """Who has watched it, by begin."""
        found = [Watch(user_id, since, end) for (user_id, since), end in self._watches.items()]
        return sorted(found, key=lambda watch: (watch.since, watch.user_id))

    # Rows

    def progress(self) -> Progress:
        """How far it has come."""
        text = self.text
        return Progress(
            text.seq,
            text.length,
            text.last_digest,
            text.first_text_at,
            text.last_text_at,
            msgspec.json.encode(text.stalls).decode(),
            msgspec.json.encode(self.watches).decode(),
        )

    def write(self, text: str) -> Write:
        """What is to be written behind; ``text``: since the last time."""
        self._is_changed = False
        return Write(self.message_id, self.generation, self.progress(), text)

    def closing(self, ending: Ending, at: float) -> Closing:
        """The row of its end."""
        return Closing(
            self.message_id,
            self.generation,
            self.progress(),
            ending.state,
            ending.reason,
            at,
            ending.usage,
            ending.digest,
            self.text.length if ending.content is None else len(ending.content),
            ending.by,
        )

    def row(self, owner: str, node: str) -> AnswerRow:
        """Its row as it would be written now."""
        progress = self.progress()
        return AnswerRow(
            message_id=self.message_id,
            session_id=self.session_id,
            state=GROWING,
            reason=None,
            term=self.term,
            owner=owner,
            node=node,
            generation=self.generation,
            started_at=self.started_at,
            ended_at=None,
            usage=None,
            closing_offset=None,
            closing_digest=None,
            closing_length=None,
            ended_by=None,
            **progress._asdict(),
        )


def restored_text(stored: StoredAnswer, first: str) -> StoredText:
    """The text of a growing answer as it is stored; ``first``: that of its message."""
    row = stored.row
    return StoredText(
        first + stored.text,
        row.seq,
        row.last_digest,
        row.first_text_at,
        row.last_text_at,
        _stalls.decode(row.stalls),
    )


def watches_of(row: AnswerRow) -> list[Watch]:
    """Who has watched an answer."""
    return _watches.decode(row.watchers)


def stalls_of(row: AnswerRow) -> tuple[Stall, ...]:
    """The pauses in an answer's text."""
    return _stalls.decode(row.stalls)


# Of an answer that has ended


def appended_after_end(row: AnswerRow, seq: int, text: str) -> dict[str, Any]:
    """The answer to an append: that to the latest one, if it is the same, else ``AnswerEnded``."""
    if seq == row.seq and is_text_of(row.last_digest, text):
        return {"seq": seq, "length": row.length}
    raise AnswerEnded(row.state, row.reason)


def ended_after_end(row: AnswerRow, ending: Ending) -> dict[str, Any]:
    """The answer to an end: as before, if it is the same, else ``AnswerEnded``."""
    is_cancelled_again = ending.state == row.state == "cancelled"
    if is_cancelled_again or row.closing_digest == ending.digest:
        return ended_view(row.state, row.closing_length, row.closing_offset)
    raise AnswerEnded(row.state, row.reason)


def ended_view(state: str, length: int | None, offset: int | None) -> dict[str, Any]:
    """The answer to an end."""
    return {"state": state, "length": length, "offset": offset}
