"""Row types of kept messages, and the keys of messages in the database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from wsserver.errors import WsServerError
from wsserver.storage.engine.connection import Connection

OFFSET_BITS = 38
LAST_OFFSET = (1 << OFFSET_BITS) - 1
"""2³⁸ messages in a stream leave 2²⁵ streams in 63 bits."""
INBOX = "user:"
"""Prefix of the names of inboxes; the rest is the owner's user id."""
SESSION = "session:"
"""Prefix of the names of streams of sessions; the rest is the session's id."""


class Subject(NamedTuple):
    """A stored message that is to be changed, as it is in the transaction of the change."""

    key: int
    message_id: str
    type: str
    at: float
    sender: str | None
    payload: bytes
    """The push without its position."""
    revision: int
    """How often it was changed."""
    deleted_at: float | None
    """Seconds since the epoch; None: it is not deleted."""
    stream: str
    epoch: str

    @property
    def offset(self) -> int:
        """Its offset in the stream."""
        return self.key & LAST_OFFSET


class Revised(NamedTuple):
    """The new version of a message."""

    payload: bytes
    """The push without its position."""
    deleted_at: float | None = None
    """Set: the message is deleted, and ``payload`` is the deleted form."""


Revise = Callable[[Subject], Revised]
"""Makes the new version of a message; raises ``WsServerError`` to refuse the change. Pure: it runs
in the writing thread, inside the transaction, and maybe more than once."""


class Revision(NamedTuple):
    """A change of a stored message in place."""

    stream: str
    message_id: str
    revise: Revise


class Change(NamedTuple):
    """A change of a message that was stored."""

    offset: int
    """Of the changed message, which it keeps."""
    revision: int
    """How often the message was changed, this time included."""
    message: bytes
    """The member ``message`` of its newest version, as JSON."""


class TransactionHook(NamedTuple):
    """What is checked and written in the transaction of a message. Both run in the writing thread.

    For rows of other tables that must agree with the message. It may run more than once.
    """

    check: Callable[[Connection], Any]
    """Raises ``WsServerError`` to refuse the message; writes nothing."""
    write: Callable[[Connection, Any, Appended], None]
    """Gets what ``check`` has returned, and the position of the message."""


class View(NamedTuple):
    """What the sender of a message has seen of its stream."""

    user_id: str
    """Of the sender: own messages need not be seen."""
    seen_offset: int
    admits: Callable[[str | None], bool] | None
    """Whether a message with this audience (JSON; None: all) is for the sender; None: any is."""
    budget: int
    """Bytes of the missed messages that a refusal has at most; one message in any case."""

    def shows(self, audience: str | None) -> bool:
        """Whether a message with this audience is for the sender."""
        return self.admits is None or self.admits(audience)


class Append(msgspec.Struct, frozen=True, gc=False):
    """A message to be appended to a stream."""

    stream: str
    """``session:<id>``, ``user:<id>``, ``organization:<id>`` or ``broadcast``."""
    message_id: str
    type: str
    payload: bytes
    """The push as a JSON object without ``stream``, ``epoch`` and ``offset``."""
    at: float
    """Time of publishing; like ``expires_at`` in seconds since the epoch."""
    expires_at: float
    has_ttl: bool = False
    """Whether ``expires_at`` was set by the publisher, rather than by retention."""
    sender: str | None = None
    """User id that gets its status updates."""
    origin: str = "{}"
    """JSON: its publisher, for traces."""
    audience: str | None = None
    """JSON: a filter of the stream's readers; None: all."""
    dedup: tuple[str, str] | None = None
    """Scope and key: a second message with the same pair within 24 h is not stored."""
    revision: Revision | None = None
    """Of a change record: the change that it records, stored in the same transaction. ``payload``
    is without the member ``message`` then."""
    hook: TransactionHook | None = None
    replies_to: tuple[str, str] | None = None
    """Stream and id of the message that it replies to, which has to be there."""
    view: View | None = None
    """Refused if somebody else has written after it."""


class Appended(NamedTuple):
    """Position of an appended message; ``is_new`` is False if it was stored before.

    Then the other fields, including the id, are those of the first one.
    """

    message_id: str
    stream: str
    epoch: str
    offset: int
    is_new: bool
    change: Change | None = None
    """Of a change record."""
    refusal: WsServerError | None = None
    """Why it was refused, by its change or its hook or as a reply: nothing of it is stored."""
    checked: Any = None
    """What the ``check`` of its hook has returned."""


class Head(NamedTuple):
    """The end of a stream.

    ``offset``: of the last message, 0 before the first. ``first_offset``: retention has deleted
    nothing from here on, so a reader who has everything before it can resume.
    """

    epoch: str
    offset: int
    first_offset: int


class Kept(NamedTuple):
    """A stored message; the fields as in ``Append``, the payload as it was stored."""

    offset: int
    message_id: str
    type: str
    at: float
    expires_at: float
    has_ttl: int
    """1: ``expires_at`` was set by the publisher; 0: by retention."""
    sender: str | None
    audience: str | None
    payload: bytes
    """Of a change record: with the newest version of the message."""
    changes: int = 0
    """Of a change record: the offset of the changed message."""
    revision: int = 0
    """How often it was changed; of a change record: how often the changed message was."""


class Slice(NamedTuple):
    """Stored messages of a range, up to a limit and a number of bytes."""

    messages: list[Kept]
    """Ascending."""
    rest: int | None
    """Offset to continue from: all up to it (inclusive, in the direction of reading) were read or
    skipped. None: the range is finished."""
    is_over: bool = False
    """Whether it ended at the number of bytes; then there is a further message for the reader."""
    is_for_all: bool = True
    """Whether all messages that were read or skipped are for every reader."""
    is_too_old: bool = False
    """Whether nothing was read, as the first message is only in the archive."""


class Span(NamedTuple):
    """A range of offsets."""

    after: int
    """Exclusive."""
    until: int
    """Inclusive."""


class Found(NamedTuple):
    """A stored message found by its id: ``Kept`` with its stream."""

    offset: int
    message_id: str
    type: str
    at: float
    expires_at: float
    has_ttl: int
    sender: str | None
    audience: str | None
    payload: bytes
    changes: int
    revision: int
    stream: str
    epoch: str
    origin: str


class Located(NamedTuple):
    """A stored message found by its id, without its payload."""

    offset: int
    message_id: str
    type: str
    at: float
    expires_at: float
    audience: str | None
    stream: str
    epoch: str
    origin: str
    session_id: str | None
    """As in the payload; of messages in inboxes only."""


class Row(NamedTuple):
    """A row of the table ``streams``."""

    id: int
    epoch: str
    last_offset: int
    first_offset: int


def stream_row(db: Connection, name: str) -> Row | None:
    """The row of a stream; None if nothing was ever appended, or it was pruned."""
    row = db.execute(
        "SELECT id, epoch, last_offset, first_offset FROM streams WHERE name = ?", [name]
    ).fetchone()
    return None if row is None else Row(*row)


def position_bytes(stream: str, epoch: str) -> int:
    """Bytes that a position adds to a payload, without the offset's digits.

    Including the comma between messages in an answer.
    """
    return len(f',"stream":"{stream}","epoch":"{epoch}","offset":,')


def key_of(stream_id: int, offset: int) -> int:
    """The key of a message; offsets out of range are clamped."""
    return stream_id << OFFSET_BITS | max(0, min(offset, LAST_OFFSET))
