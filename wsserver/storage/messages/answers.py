"""``AnswerStore``: answers that grow, their text as far as it is written, and how they ended.

An answer is a message of a session's stream. While it grows, the row of the message has its first
text, and ``answer_texts`` what followed, written behind by the process that owns the answer. When
it ends, the whole text replaces that of the message (``revisions``) in the transaction that stores
the closing record, and the parts are deleted.

The owner is fenced: it has the id of its process in ``owner``, and counts only while that is so and
``generation`` is the one that it took the answer with. Answers of a process that has left or is
lost (``SqlLeases``) are taken over by the first one that claims them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from wsserver.errors import AnswerEnded, NodeUnreachable, NotFound, TermChanged
from wsserver.protocol.contents import GROWING
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.messages.conversations import terms
from wsserver.storage.messages.message_rows import (
    LAST_OFFSET,
    OFFSET_BITS,
    Appended,
    TransactionHook,
)

CLAIM_LIMIT = 200
"""Answers that are taken over in one transaction."""

_COLUMNS = (
    "a.message_id, a.session_id, a.state, a.reason, a.term, a.owner, a.node, a.generation, a.seq,"
    " a.length, a.last_digest, a.started_at, a.first_text_at, a.last_text_at, a.ended_at,"
    " a.stalls, a.watchers, a.token_usage, a.closing_offset, a.closing_digest, a.closing_length,"
    " a.ended_by"
)
_ROW_COLUMNS = _COLUMNS.count(",") + 1
_WITH_MESSAGE = (
    f"SELECT {_COLUMNS}, m.payload, m.key & {LAST_OFFSET}, m.audience, s.epoch, m.expires_at"  # noqa: S608
    " FROM answers a JOIN messages m ON m.message_id = a.message_id"
    f" JOIN streams s ON s.id = m.key >> {OFFSET_BITS}"
    " WHERE a.message_id IN (SELECT value FROM json_each(?))"
)
_SELECT_TEXTS = (
    "SELECT message_id, text FROM answer_texts"
    " WHERE message_id IN (SELECT value FROM json_each(?)) ORDER BY message_id, seq"
)
_SELECT_GROWING = (
    "SELECT a.message_id, a.session_id, a.node"
    " FROM answers a JOIN messages m ON m.message_id = a.message_id"
    " WHERE a.state = 'growing' AND a.session_id IN (SELECT value FROM json_each(?))"
    " ORDER BY m.key"
)
_INSERT = (
    "INSERT INTO answers (message_id, session_id, term, owner, node, length, started_at,"
    " first_text_at, last_text_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)"
)
_SELECT_HELD = (
    "SELECT message_id, generation, length FROM answers"
    " WHERE message_id IN (SELECT value FROM json_each(?)) AND owner = ? AND state = 'growing'"
)
_END_DELETED = (
    "UPDATE answers SET state = 'cancelled', reason = 'deleted', ended_at ="
    " (SELECT m.deleted_at FROM messages m WHERE m.message_id = answers.message_id)"
    " WHERE message_id IN (SELECT value FROM json_each(?)) AND state = 'growing'"
)
_SELECT_SUPERSEDED = (
    "SELECT a.message_id FROM answers a JOIN conversations c ON c.session_id = a.session_id"
    " WHERE a.state = 'growing' AND a.owner = ? AND c.term <> a.term"
)
_DELETE_TEXTS = "DELETE FROM answer_texts WHERE message_id IN (SELECT value FROM json_each(?))"
_PROGRESS = (
    "seq = ?, length = ?, last_digest = ?, first_text_at = ?, last_text_at = ?, stalls = ?,"
    " watchers = ?"
)
_NOTE_USAGE = (
    "UPDATE answers SET token_usage = ? WHERE message_id = ? AND token_usage IS NULL"
    " AND state IN ('cancelled', 'interrupted') RETURNING session_id, state, ended_at"
)
_SAVE = f"UPDATE answers SET {_PROGRESS} WHERE message_id = ?"  # noqa: S608 - constants only
_SAVE_TEXT = "INSERT INTO answer_texts (message_id, seq, text) VALUES (?, ?, ?)"
_END = (
    f"UPDATE answers SET {_PROGRESS}, state = ?, reason = ?, ended_at = ?, token_usage = ?,"  # noqa: S608
    " closing_digest = ?, closing_length = ?, ended_by = ?, closing_offset = ? WHERE message_id = ?"
)
_FREE = "(owner = '' OR owner NOT IN (SELECT id FROM processes))"
"""SQL condition of answers whose owner has left, in a database of several processes."""
_CLAIM = (
    "UPDATE answers SET owner = ?, node = ?, generation = generation + 1"
    " WHERE message_id IN (SELECT value FROM json_each(?))"
)
_RELEASE = (
    "UPDATE answers SET owner = '' WHERE owner = ? AND state = 'growing'"
    " AND message_id IN (SELECT value FROM json_each(?))"
)


class AnswerMoved(NodeUnreachable):
    """Another process owns the answer meanwhile."""


class GrowingPlace(NamedTuple):
    """Where a growing answer is."""

    message_id: str
    session_id: str
    node: str
    """Name of the node that owns it."""


class AnswerRow(NamedTuple):
    """A row of the table ``answers``; times in seconds since the epoch."""

    message_id: str
    session_id: str
    state: str
    reason: str | None
    term: int
    """Of the session when it began."""
    owner: str
    """Id of the process that owns it; empty: released."""
    node: str
    generation: int
    """Number of owners so far."""
    seq: int
    """Of the latest append."""
    length: int
    """Code points."""
    last_digest: str | None
    """Of the text of the latest append."""
    started_at: float
    first_text_at: float | None
    last_text_at: float | None
    ended_at: float | None
    stalls: str
    """JSON, as ``watchers`` and ``usage``."""
    watchers: str
    usage: str | None
    closing_offset: int | None
    """Of the record that closed it."""
    closing_digest: str | None
    """Of the request that ended it, to recognise the same one."""
    closing_length: int | None
    """Code points of the final text, which may have replaced what was appended."""
    ended_by: str | None
    """User id; None: the server."""


class StoredAnswer(NamedTuple):
    """An answer with its message."""

    row: AnswerRow
    push: bytes
    """The ``new_message`` without its position: with the first text while it grows, with the
    whole one when it has ended."""
    offset: int
    audience: str | None
    epoch: str
    expires_at: float
    """Of the message."""
    text: str
    """What follows the first text, as far as it was written; empty when it has ended."""


class Progress(NamedTuple):
    """How far an answer has come; fields as in ``AnswerRow``."""

    seq: int
    length: int
    last_digest: str | None
    first_text_at: float | None
    last_text_at: float | None
    stalls: str
    watchers: str


class Write(NamedTuple):
    """What an owner writes behind."""

    message_id: str
    generation: int
    progress: Progress
    text: str
    """Since the last time."""


class Closing(NamedTuple):
    """The end of an answer; fields as in ``AnswerRow``."""

    message_id: str
    generation: int
    progress: Progress
    state: str
    reason: str | None
    ended_at: float
    usage: str | None
    digest: str | None
    length: int
    """Code points of the final text."""
    ended_by: str | None


class EndedAnswer(NamedTuple):
    """An answer that is being ended, for what is stored in the same transaction."""

    message_id: str
    session_id: str
    state: str
    ended_at: float
    usage: str | None
    """JSON, as its producer has reported it."""


NoteEnd = Callable[[Connection, EndedAnswer], None]
"""Stores something together with the end of an answer; runs in the writing thread."""


class AnswerStore:
    """The tables ``answers`` and ``answer_texts``.

    All methods raise ``StorageUnavailable``; those that write also ``StorageFull``, and then
    nothing is stored. ``node``: name of this node; ``notes``: what is stored with each end.
    """

    def __init__(self, database: Database, node: str, notes: Sequence[NoteEnd] = ()) -> None:
        self._database = database
        self._node = node
        self._notes = notes
        self.owner = database.process
        """The owner of this process's answers."""

    def beginning(
        self,
        message_id: str,
        session_id: str,
        content: str,
        at: float,
        check: Callable[[Connection], int],
    ) -> TransactionHook:
        """What is stored together with the message of a new answer; ``check`` returns its term."""

        def write(db: Connection, term: int, _: Appended) -> None:
            first_text_at = at if content else None
            values = [message_id, session_id, term, self.owner, self._node, len(content), at]
            db.execute(_INSERT, [*values, first_text_at])

        return TransactionHook(check, write)

    def ending(
        self, closing: Closing, check: Callable[[Connection, AnswerRow], None]
    ) -> TransactionHook:
        """What is stored together with the closing record of an answer.

        Refused with ``AnswerEnded`` if it has ended, ``NotFound`` if it is unknown, ``AnswerMoved``
        if another process owns it, and by ``check``.
        """
        id_, generation, progress, *end = closing

        def require(db: Connection) -> str:
            row = _row(db, id_)
            if row is None:
                raise NotFound("answer", id_)
            if row.state != GROWING:
                raise AnswerEnded(row.state, row.reason)
            if (row.owner, row.generation) != (self.owner, generation):
                raise AnswerMoved(f"answer {id_} is another process's")
            check(db, row)
            return row.session_id

        def write(db: Connection, session_id: str, record: Appended) -> None:
            db.execute(_END, [*progress, *end, record.offset, id_])
            db.execute("DELETE FROM answer_texts WHERE message_id = ?", [id_])
            ended = EndedAnswer(id_, session_id, closing.state, closing.ended_at, closing.usage)
            for note in self._notes:
                note(db, ended)

        return TransactionHook(require, write)

    async def note_usage(self, message_id: str, usage: str) -> None:
        """Note what an answer has used that others than its producer have ended.

        Only the first report counts.
        """

        def note(db: Connection) -> None:
            row = db.execute(_NOTE_USAGE, [usage, message_id]).fetchone()
            if row is None:
                return
            session_id, state, ended_at = row
            for each in self._notes:
                each(db, EndedAnswer(message_id, session_id, state, ended_at, usage))

        await self._database.run(note)

    async def find(self, message_id: str) -> AnswerRow | None:
        """An answer by the id of its message; None: there is none."""
        return await self._database.read(partial(_row, message_id=message_id))

    async def read(self, message_ids: Sequence[str]) -> list[StoredAnswer]:
        """Answers with their messages; those whose message is gone are left out."""
        return await self._database.read(partial(_read, message_ids=message_ids))

    async def growing(self, session_ids: Sequence[str]) -> list[GrowingPlace]:
        """The growing answers of sessions, by stream and offset."""
        return await self._database.read(partial(growing, session_ids=session_ids))

    async def save(self, writes: Sequence[Write]) -> set[str]:
        """Write behind; returns the ids of the answers that this process does not own any more.

        Nothing is written of these.
        """
        return await self._database.run(partial(_save, owner=self.owner, writes=writes))

    async def claim(self, message_id: str | None = None) -> list[StoredAnswer]:
        """Take over growing answers that no living process owns, or one of them.

        At most ``CLAIM_LIMIT``: call again until the list is empty. Nothing is written if there are
        none.
        """
        select = partial(self._claimable, message_id=message_id)
        if not await self._database.read(select):
            return []

        def claim(db: Connection) -> list[StoredAnswer]:
            ids = select(db)
            if not ids:
                return []
            db.execute(_CLAIM, [self.owner, self._node, db.listed(ids)])
            return _read(db, ids)

        return await self._database.run(claim)

    def _claimable(self, db: Connection, message_id: str | None) -> list[str]:
        is_free = _FREE if self._database.is_shared else "owner <> ?2"
        rows = db.execute(
            "SELECT message_id FROM answers WHERE state = 'growing'"  # noqa: S608 - constants only
            f" AND (CAST(?1 AS TEXT) IS NULL OR message_id = ?1) AND {is_free} LIMIT {CLAIM_LIMIT}",
            [message_id] if self._database.is_shared else [message_id, self.owner],
        )
        return [id_ for (id_,) in rows]

    async def own(self) -> list[str]:
        """The ids of the growing answers of this process."""
        sql = "SELECT message_id FROM answers WHERE state = 'growing' AND owner = ?"
        return await self._database.read(
            lambda db: [id_ for (id_,) in db.execute(sql, [self.owner])]
        )

    async def superseded(self) -> list[str]:
        """The ids of growing answers of this process whose session is in another term meanwhile."""
        return await self._database.read(
            lambda db: [id_ for (id_,) in db.execute(_SELECT_SUPERSEDED, [self.owner])]
        )

    async def release(self, message_ids: Sequence[str]) -> None:
        """Let other processes take answers over at once."""
        await self._database.run(
            lambda db: db.execute(_RELEASE, [self.owner, db.listed(message_ids)]).rowcount
        )


def require_begin(db: Connection, session_id: str, expected_term: int | None) -> int:
    """The term of a session in which an answer may begin.

    Raises ``TermChanged`` if another one is expected.
    """
    term = terms(db, [session_id]).get(session_id, 0)
    if expected_term not in (None, term):
        raise TermChanged(term)
    return term


def require_same_holder(db: Connection, session_id: str, term: int) -> None:
    """Raise ``TermChanged`` for an answer that began in another term than the session is in now.

    Without a row of the session nobody has taken it meanwhile.
    """
    now = terms(db, [session_id]).get(session_id, term)
    if now != term:
        raise TermChanged(now)


def growing(db: Connection, session_ids: Sequence[str]) -> list[GrowingPlace]:
    """The growing answers of sessions."""
    return list(map(GrowingPlace._make, db.execute(_SELECT_GROWING, [db.listed(session_ids)])))


def end_deleted(db: Connection, message_ids: Sequence[str]) -> None:
    """End answers whose messages have been replaced by their deleted form; removes their text."""
    ids = db.listed(message_ids)
    db.execute(_END_DELETED, [ids])
    db.execute(_DELETE_TEXTS, [ids])


def delete_answers(db: Connection, message_ids: Sequence[str]) -> None:
    """Delete what is stored about answers whose messages were deleted."""
    ids = db.listed(message_ids)
    db.execute("DELETE FROM answers WHERE message_id IN (SELECT value FROM json_each(?))", [ids])
    db.execute(_DELETE_TEXTS, [ids])


def _row(db: Connection, message_id: str) -> AnswerRow | None:
    sql = f"SELECT {_COLUMNS} FROM answers a WHERE a.message_id = ?"  # noqa: S608 - constants only
    row = db.execute(sql, [message_id]).fetchone()
    return None if row is None else AnswerRow(*row)


def _read(db: Connection, message_ids: Sequence[str]) -> list[StoredAnswer]:
    ids = db.listed(message_ids)
    texts: dict[str, list[bytes]] = {}
    for message_id, text in db.execute(_SELECT_TEXTS, [ids]).fetchall():
        texts.setdefault(message_id, []).append(text)
    found = []
    for values in db.execute(_WITH_MESSAGE, [ids]).fetchall():
        row = AnswerRow(*values[:_ROW_COLUMNS])
        push, offset, audience, epoch, expires_at = values[_ROW_COLUMNS:]
        text = b"".join(texts.get(row.message_id, ())).decode()
        found.append(StoredAnswer(row, push, offset, audience, epoch, expires_at, text))
    return found


def _save(db: Connection, owner: str, writes: Sequence[Write]) -> set[str]:
    ids = [write.message_id for write in writes]
    rows = db.execute(_SELECT_HELD, [db.listed(ids), owner])
    held = {message_id: (generation, length) for message_id, generation, length in rows}
    kept = [
        _without_stored(write, held[write.message_id][1])
        for write in writes
        if held.get(write.message_id, (0, 0))[0] == write.generation
    ]
    db.executemany(_SAVE, [(*write.progress, write.message_id) for write in kept])
    db.executemany(
        _SAVE_TEXT,
        [(w.message_id, w.progress.seq, w.text.encode()) for w in kept if w.text],
    )
    return set(ids) - {write.message_id for write in kept}


def _without_stored(write: Write, length: int) -> Write:
    """A write without text that is stored: the commit before it had an unknown outcome.

    ``length``: of the stored text.
    """
    stored = length - (write.progress.length - len(write.text))
    return write._replace(text=write.text[stored:]) if stored > 0 else write
