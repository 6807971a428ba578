"""``GrowingText``: the text of one answer while it grows; which appends it takes. No I/O."""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

from msgspec import Struct
from msgspec.json import encode

from wsserver.errors import AnswerTooLong, OutOfOrder

STALL_S = 2.0
"""A longer pause between two texts is a stall."""
STALLS_LIMIT = 100
"""Stalls that are recorded of one answer: the first ones."""


class Stall(Struct, frozen=True):
    """A pause in which no text came."""

    at: float
    """Its begin, in seconds since the epoch."""
    ms: int


class Accepted(NamedTuple):
    """Result of an append."""

    seq: int
    length: int
    """Code points of the whole text."""
    is_new: bool
    """False: this append was accepted before."""


class Unsaved(NamedTuple):
    """What storage does not have yet."""

    text: str
    parts: int
    """Number of appends in it that are not empty."""
    seq: int
    """Of the latest append."""
    length: int
    """Code points of the whole text."""


class GrowingText:
    """The text of an answer, from appends numbered 1, 2, …, each of which counts once.

    ``size_limit``: bytes of the text as JSON, as it is sent: escaped characters are longer.
    ``now`` is monotonic, ``wall`` in seconds since the epoch.
    """

    __slots__ = (
        "_last",
        "_last_digest",
        "_saved",
        "_size_limit",
        "_unsaved",
        "first_text_at",
        "heard_at",
        "last_text_at",
        "length",
        "seq",
        "size",
        "stalls",
        "text_at",
    )

    def __init__(self, content: str, size_limit: int, *, wall: float, now: float) -> None:
        """A new answer; ``content``: its first text, may be empty. Raises ``AnswerTooLong``."""
        self._size_limit = size_limit
        self.size = require_size(content, size_limit)
        self._saved = [content] if content else []
        """Stored parts of the text, one for each time that it was stored."""
        self._unsaved: list[str] = []
        """The texts of the appends since then."""
        self.length = len(content)
        self.seq = 0
        self._last: str | None = None
        self._last_digest: str | None = None
        self.first_text_at: float | None = wall if content else None
        self.last_text_at: float | None = self.first_text_at
        """Like ``first_text_at`` in seconds since the epoch."""
        self.text_at = now
        """When the latest text came, monotonic."""
        self.heard_at = now
        """When the producer was last heard of, monotonic."""
        self.stalls: list[Stall] = []

    @classmethod
    def restored(
        cls, stored: StoredText, size_limit: int, *, wall: float, now: float
    ) -> GrowingText:
        """An answer as storage has it; its producer is waited for from ``now`` on."""
        text = cls("", size_limit, wall=wall, now=now)
        text.size = size_of(stored.content)  # may be above a limit that was lowered
        text._saved = [stored.content] if stored.content else []
        text.length = len(stored.content)
        text.seq = stored.seq
        text._last_digest = stored.last_digest
        text.first_text_at = stored.first_text_at
        text.last_text_at = stored.last_text_at
        if stored.last_text_at is not None:  # a pause goes on over a restart
            text.text_at = now - max(0.0, wall - stored.last_text_at)
        text.stalls = list(stored.stalls)
        return text

    @property
    def expected(self) -> int:
        """The number of the next append."""
        return self.seq + 1

    @property
    def content(self) -> str:
        """The whole text."""
        return "".join([*self._saved, *self._unsaved])

    def append(self, seq: int, text: str, *, wall: float, now: float) -> Accepted:
        """Take the next append, or recognise the latest one. Changes nothing if it raises.

        Raises ``OutOfOrder`` for another number, or another text with the latest number;
        ``AnswerTooLong``.
        """
        if seq != self.seq + 1:
            if self.is_latest(seq, text):
                self.heard_at = now
                return Accepted(seq, self.length, False)
            raise OutOfOrder(seq, self.seq + 1)
        self.size += require_size(text, self._size_limit - self.size, self._size_limit)
        self.seq = seq
        self._last = text
        self._last_digest = None
        self.heard_at = now
        if text:
            self._unsaved.append(text)
            self.length += len(text)
            self._note_text(wall, now)
        return Accepted(seq, self.length, True)

    def require_fitting(self, content: str) -> None:
        """Raise ``AnswerTooLong`` for a text that is too long to replace this one."""
        require_size(content, self._size_limit)

    def require_latest(self, seq: int) -> None:
        """Raise ``OutOfOrder`` if the latest append has another number."""
        if seq != self.seq:
            raise OutOfOrder(seq, self.seq + 1, is_end=True)

    def is_latest(self, seq: int, text: str) -> bool:
        """Whether this append is the latest one that was taken."""
        if seq != self.seq or not seq:
            return False
        return text == self._last if self._last is not None else is_text_of(self._last_digest, text)

    @property
    def last_digest(self) -> str | None:
        """The digest of the latest append's text; None: there was no append."""
        if self._last_digest is None and self._last is not None:
            self._last_digest = digest_of(self._last)
        return self._last_digest

    def unsaved(self) -> Unsaved:
        """The text since the latest call of ``saved``."""
        return Unsaved("".join(self._unsaved), len(self._unsaved), self.seq, self.length)

    def saved(self, unsaved: Unsaved) -> None:
        """Note that storage has what ``unsaved`` returned."""
        if unsaved.parts:
            del self._unsaved[: unsaved.parts]
            self._saved.append(unsaved.text)

    def _note_text(self, wall: float, now: float) -> None:
        if self.first_text_at is None:
            self.first_text_at = wall
        elif now - self.text_at > STALL_S and len(self.stalls) < STALLS_LIMIT:
            pause_s = now - self.text_at
            self.stalls.append(Stall(wall - pause_s, round(pause_s * 1000)))
        self.last_text_at = wall
        self.text_at = now


class StoredText(NamedTuple):
    """The text of a growing answer as storage has it."""

    content: str
    seq: int
    last_digest: str | None
    first_text_at: float | None
    last_text_at: float | None
    stalls: tuple[Stall, ...] = ()


def require_size(text: str, left: int, limit: int | None = None) -> int:
    """The size of a text; raises ``AnswerTooLong`` above ``left``."""
    size = size_of(text)
    if size > max(left, 0):
        raise AnswerTooLong(left if limit is None else limit)
    return size


def size_of(text: str) -> int:
    """The bytes of a text within JSON."""
    return len(encode(text)) - len('""')


def rate_of(length: int, first_at: float | None, last_at: float | None) -> float | None:
    """Characters a second; None: there is no time between the first text and the latest."""
    if first_at is None or last_at is None or last_at <= first_at:
        return None
    return round(length / (last_at - first_at), 1)


def digest_of(text: str) -> str:
    """A short digest, to recognise a repeated text."""
    return blake2b(text.encode(), digest_size=16).hexdigest()


def is_text_of(digest: str | None, text: str) -> bool:
    """Whether a stored digest is that of a text."""
    return digest == digest_of(text)
