"""The table ``responder_turns``: what is to be answered in a session, and which process does it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.extension_schema import Migration
from wsserver.storage.maintenance.user_tables import UserTable
from wsserver.storage.messages.answers import EndedAnswer

LEASE_S = 15.0
"""A process that does not renew it is lost, and another one goes on."""
PENDING_AT_ONCE = 100
KEPT_S = 30 * 86_400.0
"""How long the row of a session stays without messages."""
FAILURES_KEPT = 20
"""Latest failures of each responder."""
QUEUE_SHOWN = 100
_BATCH_ROWS = 300

MIGRATIONS = (
    Migration(
        "0071_responder_turns",
        (
            """
            CREATE TABLE responder_turns (
                session_id TEXT PRIMARY KEY,
                responder TEXT NOT NULL,
                due INTEGER NOT NULL,
                due_at REAL NOT NULL,
                answered INTEGER NOT NULL DEFAULT 0,
                failures INTEGER NOT NULL DEFAULT 0,
                message_id TEXT,
                question BLOB,
                owner TEXT,
                lease_until REAL NOT NULL DEFAULT 0
            )
            """,
            "CREATE INDEX responder_turns_due ON responder_turns (due_at) WHERE due > answered",
            "CREATE INDEX responder_turns_by_time ON responder_turns (due_at)",
        ),
    ),
    Migration(
        "0071_responder_failures",
        (
            """
            CREATE TABLE responder_failures (
                id INTEGER PRIMARY KEY AUTOINCREMENT,
                responder TEXT NOT NULL,
                session_id TEXT NOT NULL,
                at REAL NOT NULL,
                reason TEXT NOT NULL
            )
            """,
            "CREATE INDEX responder_failures_by_name ON responder_failures (responder, id)",
        ),
    ),
    Migration(
        "0071_responder_answering",
        ("ALTER TABLE responder_turns ADD COLUMN answering INTEGER NOT NULL DEFAULT 0",),
    ),
)

USER_TABLES = (
    UserTable(
        table="responder_turns",
        key="session_id",
        where="question IS NOT NULL AND session_id IN"
        " (SELECT p.session_id FROM participants p"
        " WHERE p.user_id = :user_id AND p.has_written = 1)",
        columns="session_id, responder, question",
        json_columns=frozenset({"question"}),
        change="SET question = NULL",
    ),
)
"""Questions of an AI to those who have written in a session."""

_NOTE = """
INSERT INTO responder_turns (session_id, responder, due, due_at) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (session_id) DO UPDATE SET responder = ?2, due = ?3, due_at = ?4
WHERE responder_turns.due < ?3
"""
_CLAIM = """
UPDATE responder_turns SET owner = ?1, lease_until = ?2
WHERE session_id = ?3 AND due > answered AND (owner IS NULL OR owner = ?1 OR lease_until < ?4)
"""
_READ = """
SELECT session_id, responder, due, answered, failures, message_id, question FROM responder_turns
WHERE session_id = ? AND owner = ?
"""
_BEGIN = """
UPDATE responder_turns SET message_id = ?, answering = ? WHERE session_id = ? AND owner = ?
"""
_COMPLETED = """
UPDATE responder_turns SET answered = answering, failures = 0
WHERE session_id = ? AND message_id = ? AND answering > answered
"""
_END = """
UPDATE responder_turns SET answered = ?, failures = ?, question = ?, message_id = NULL, owner = NULL
WHERE session_id = ? AND owner = ?
"""
_PENDING = """
SELECT session_id FROM responder_turns
WHERE due > answered AND (owner IS NULL OR lease_until < ?) ORDER BY due_at LIMIT ?
"""
_PRUNE = """
DELETE FROM responder_turns WHERE session_id IN (
    SELECT session_id FROM responder_turns WHERE due_at < ? AND owner IS NULL LIMIT ?
)
"""


_COUNT = """
SELECT responder, count(*), sum(CASE WHEN failures > 0 THEN 1 ELSE 0 END), min(due_at)
FROM responder_turns WHERE due > answered GROUP BY responder
"""
_QUEUE = """
SELECT session_id, due_at, failures, owner IS NOT NULL AND lease_until >= ? FROM responder_turns
WHERE due > answered AND responder = ? ORDER BY due_at LIMIT ?
"""
_TRIM_FAILURES = """
DELETE FROM responder_failures WHERE responder = ?1 AND id NOT IN (
    SELECT id FROM responder_failures WHERE responder = ?1 ORDER BY id DESC LIMIT ?2
)
"""


class Waiting(NamedTuple):
    """What a responder has to answer, on all nodes."""

    due: int = 0
    """Sessions."""
    failing: int = 0
    """Those of them whose last answers have failed."""
    since: float | None = None
    """The oldest."""


class Turn(NamedTuple):
    """A session that is to be answered, or is being answered."""

    session_id: str
    due_at: float
    failures: int
    is_answering: bool


class FailureRow(NamedTuple):
    """An answer that failed."""

    session_id: str
    at: float
    reason: str


class Claim(NamedTuple):
    """A session that this process answers."""

    session_id: str
    responder: str
    due: int
    """Offset of the latest message that is to be answered."""
    answered: int
    """Offset of the latest message that has been answered."""
    failures: int
    """Answers in a row that have failed."""
    message_id: str | None
    """The answer that grew when its process was lost."""
    question: bytes | None
    """The interactive node that the next message replies to, as JSON."""


class TurnStore:
    """What is to be answered; all methods raise ``StorageUnavailable``, writing ``StorageFull``.

    A session is answered by one process at a time: the owner of its row, until the lease expires.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def note(self, session_id: str, responder: str, due: int, now: float) -> None:
        """The message at the offset ``due`` is to be answered, unless a later one is already."""
        await self._database.run(
            lambda db: db.execute(_NOTE, [session_id, responder, due, now]).rowcount
        )

    async def claim(self, session_id: str, now: float) -> Claim | None:
        """Begin to answer a session; None: nothing is due, or another process does it."""
        return await self._database.run(
            partial(_claim, session_id=session_id, owner=self._database.process, now=now)
        )

    async def renew(self, session_ids: Sequence[str], now: float) -> None:
        """Renew the leases of this process."""
        rows = [(now + LEASE_S, each, self._database.process) for each in session_ids]
        await self._database.run(lambda db: _renew(db, rows))

    async def begin(self, session_id: str, message_id: str, due: int) -> None:
        """An answer to the messages up to an offset has begun to grow.

        It is ended if this process is lost.
        """
        values = [message_id, due, session_id, self._database.process]
        await self._database.run(lambda db: db.execute(_BEGIN, values).rowcount)

    async def end(
        self, session_id: str, answered: int, failures: int = 0, question: bytes | None = None
    ) -> None:
        """Messages up to the offset ``answered`` need no answer any more."""
        values = [answered, failures, question, session_id, self._database.process]
        await self._database.run(lambda db: db.execute(_END, values).rowcount)

    async def release(self, session_id: str) -> None:
        """What is due is answered later, or by another process."""
        values = [session_id, self._database.process]
        await self._database.run(
            lambda db: (
                db.execute(
                    "UPDATE responder_turns SET owner = NULL, message_id = NULL"
                    " WHERE session_id = ? AND owner = ?",
                    values,
                ).rowcount
            )
        )

    async def pending(self, now: float) -> list[str]:
        """Sessions that no living process answers, the oldest first."""
        return await self._database.read(
            lambda db: [id_ for (id_,) in db.execute(_PENDING, [now, PENDING_AT_ONCE]).fetchall()]
        )

    async def note_failure(self, responder: str, session_id: str, reason: str, at: float) -> None:
        """Note why an answer failed; the latest ``FAILURES_KEPT`` stay."""

        def note(db: Connection) -> None:
            db.execute(
                "INSERT INTO responder_failures (responder, session_id, at, reason)"
                " VALUES (?, ?, ?, ?)",
                [responder, session_id, at, reason],
            )
            db.execute(_TRIM_FAILURES, [responder, FAILURES_KEPT])

        await self._database.run(note)

    async def waiting(self) -> dict[str, Waiting]:
        """What is to be answered, by responder."""
        rows = await self._database.read(lambda db: db.execute(_COUNT).fetchall())
        return {name: Waiting(*counts) for name, *counts in rows}

    async def queue(self, responder: str, now: float) -> list[Turn]:
        """The sessions that a responder has to answer, the longest waiting first."""
        rows = await self._database.read(
            lambda db: db.execute(_QUEUE, [now, responder, QUEUE_SHOWN]).fetchall()
        )
        return [
            Turn(session_id, due_at, failures, bool(is_leased))
            for session_id, due_at, failures, is_leased in rows
        ]

    async def failures(self, responder: str) -> list[FailureRow]:
        """The latest failures of a responder, newest first."""
        rows = await self._database.read(
            lambda db: db.execute(
                "SELECT session_id, at, reason FROM responder_failures WHERE responder = ?"
                " ORDER BY id DESC",
                [responder],
            ).fetchall()
        )
        return list(map(FailureRow._make, rows))

    async def prune(self, now: float) -> None:
        """Delete the rows of sessions without messages for ``KEPT_S``, in batches."""
        values = [now - KEPT_S, _BATCH_ROWS]
        while await self._database.run(lambda db: db.execute(_PRUNE, values).rowcount):
            pass


def note_answer(db: Connection, answer: EndedAnswer) -> None:
    """What a completed answer replies to needs no other one, even if its process is lost now."""
    if answer.state == "completed":
        db.execute(_COMPLETED, [answer.session_id, answer.message_id])


def _claim(db: Connection, session_id: str, owner: str, now: float) -> Claim | None:
    if not db.execute(_CLAIM, [owner, now + LEASE_S, session_id, now]).rowcount:
        return None
    return Claim(*db.execute(_READ, [session_id, owner]).fetchone())


def _renew(db: Connection, rows: Sequence[tuple[float, str, str]]) -> None:
    db.executemany(
        "UPDATE responder_turns SET lease_until = ? WHERE session_id = ? AND owner = ?", rows
    )
