"""Tables of accounts: sessions of contacts, ids in both directions, and the outbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple

from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.extension_schema import Migration
from wsserver.storage.engine.leased_table import FENCE, Lease, LeasedTable, Result

KEPT_S = 30 * 86_400.0
"""Retention of ids and of messages that were sent or given up."""
RECENT_S = 86_400.0
"""Sessions that are looked at after a start: what was written before it may not have been sent."""
_BATCH_ROWS = 300

MIGRATIONS = (
    Migration(
        "0075_accounts",
        (
            """
            CREATE TABLE account_sessions (
                session_id TEXT PRIMARY KEY,
                account TEXT NOT NULL,
                contact TEXT NOT NULL,
                sent_offset INTEGER NOT NULL DEFAULT 0,
                active_at REAL NOT NULL
            )
            """,
            "CREATE INDEX account_sessions_by_time ON account_sessions (active_at)",
            """
            CREATE TABLE account_messages (
                account TEXT NOT NULL,
                provider_id TEXT NOT NULL,
                message_id TEXT NOT NULL,
                at REAL NOT NULL,
                PRIMARY KEY (account, provider_id)
            )
            """,
            "CREATE INDEX account_messages_by_message ON account_messages (message_id)",
            "CREATE INDEX account_messages_by_time ON account_messages (at)",
            """
            CREATE TABLE account_outbox (
                id INTEGER PRIMARY KEY,
                message_id TEXT NOT NULL UNIQUE,
                account TEXT NOT NULL,
                session_id TEXT NOT NULL,
                contact TEXT NOT NULL,
                sender TEXT,
                content BLOB NOT NULL,
                at REAL NOT NULL,
                state TEXT NOT NULL DEFAULT 'pending',
                attempts INTEGER NOT NULL DEFAULT 0,
                due_at REAL NOT NULL,
                detail TEXT NOT NULL DEFAULT '',
                owner TEXT,
                lease_until REAL
            )
            """,
            "CREATE INDEX account_outbox_due ON account_outbox (account, session_id, id)"
            " WHERE state = 'pending'",
            "CREATE INDEX account_outbox_leased ON account_outbox (lease_until)"
            " WHERE owner IS NOT NULL",
            "CREATE INDEX account_outbox_by_time ON account_outbox (at)",
        ),
    ),
)

_CLAIM = """
    UPDATE account_outbox SET owner = :owner, lease_until = :until WHERE id IN (
        SELECT id FROM account_outbox WHERE due_at <= :now AND owner IS NULL AND id IN (
            SELECT min(id) FROM account_outbox
            WHERE account = :lane AND state = 'pending' GROUP BY session_id
        ) ORDER BY id LIMIT :limit
    ) RETURNING id, message_id, session_id, contact, sender, content, attempts
"""
_RECORD = f"""
    UPDATE account_outbox SET state = :state, due_at = :due_at, detail = :detail,
        attempts = attempts + 1, owner = NULL, lease_until = NULL {FENCE}
"""  # noqa: S608 - constants only
_ADD = (
    "INSERT INTO account_outbox"
    " (message_id, account, session_id, contact, sender, content, at, due_at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (message_id) DO NOTHING"
)
_PRUNED = {
    "account_messages": "at < ?",
    "account_outbox": "at < ? AND state != 'pending'",
}


class ContactSession(NamedTuple):
    """The session of a contact."""

    session_id: str
    account: str
    contact: str
    sent_offset: int
    """Offset up to which its messages are in the outbox."""


class Outgoing(NamedTuple):
    """A message for a contact."""

    message_id: str
    sender: str | None
    content: bytes
    """Content and its type, as JSON."""


class ClaimedSend(NamedTuple):
    """A message that is leased for an attempt."""

    id: int
    delivery_id: str
    """The message's id."""
    session_id: str
    contact: str
    sender: str | None
    content: bytes
    attempts: int
    """Before this one."""

    @property
    def attempt(self) -> int:
        """Number of this attempt, from 1."""
        return self.attempts + 1

    @property
    def ids(self) -> list[int]:
        """The one row that the attempt is for."""
        return [self.id]


class AccountOutbox(LeasedTable[ClaimedSend]):
    """The table ``account_outbox``, a lane for each account; in a session one after the other."""

    TABLE = "account_outbox"
    LANE = "account"
    WAITING = "state = 'pending' AND owner IS NULL"
    LEASED = "owner IS NOT NULL"
    ACCEPTED_AT = "at"

    async def claim(self, lane: str, now: float, limit: int, lease: Lease) -> list[ClaimedSend]:
        """Lease the oldest message of each session, as far as they are due."""
        values = {"lane": lane, "now": now, "limit": limit, **lease._asdict()}
        rows = await self._database.run(lambda db: db.execute(_CLAIM, values).fetchall())
        return sorted(map(ClaimedSend._make, rows), key=attrgetter("id"))

    def _recording(self, result: Result) -> tuple[str, Mapping[str, Any]]:
        """Note an attempt; a message that ended stays with its state."""
        due_at = result.at if result.due_at is None else result.due_at
        return _RECORD, {"state": result.state, "due_at": due_at, "detail": result.detail}

    async def counts(self) -> dict[tuple[str, str], int]:
        """Number of messages by account and state."""
        rows = await self._database.read(
            lambda db: db.execute(
                "SELECT account, state, count(*) FROM account_outbox GROUP BY account, state"
            ).fetchall()
        )
        return {(account, state): count for account, state, count in rows}

    async def retry(self, account: str, now: float) -> int:
        """Send again what was given up; returns the number."""
        return await self._database.run(
            lambda db: (
                db.execute(
                    "UPDATE account_outbox SET state = 'pending', attempts = 0, due_at = ?"
                    " WHERE account = ? AND state IN ('failed', 'dead')",
                    [now, account],
                ).rowcount
            )
        )


class AccountStore:
    """Sessions and ids of accounts; methods raise ``StorageUnavailable``, ``StorageFull``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def session(self, session_id: str) -> ContactSession | None:
        """The session of a contact; None: it is none."""
        return await self._database.read(partial(_session, session_id=session_id))

    async def message_of(self, account: str, provider_id: str) -> str | None:
        """Our id of a message that the messenger has reported, or that was sent to it."""
        row = await self._database.read(
            lambda db: db.execute(
                "SELECT message_id FROM account_messages WHERE account = ? AND provider_id = ?",
                [account, provider_id],
            ).fetchone()
        )
        return None if row is None else row[0]

    async def sent(self, account: str, provider_id: str, message_id: str, at: float) -> None:
        """Note the messenger's id of a message that was sent."""
        await self._database.run(
            partial(
                note_message, account=account, provider_id=provider_id, message_id=message_id, at=at
            )
        )

    async def add(
        self, session: ContactSession, until: int, outgoing: Sequence[Outgoing], now: float
    ) -> int:
        """Queue messages of a session, which is done up to an offset then; returns the number.

        What was reported by the messenger itself is left out, and what is queued already.
        """
        return await self._database.run(
            partial(_add, session=session, until=until, outgoing=outgoing, now=now)
        )

    async def recent(self, now: float) -> list[str]:
        """Sessions with messages of the last day."""
        rows = await self._database.read(
            lambda db: db.execute(
                "SELECT session_id FROM account_sessions WHERE active_at > ?", [now - RECENT_S]
            ).fetchall()
        )
        return [session_id for (session_id,) in rows]

    async def prune(self, now: float) -> None:
        """Delete ids and messages that are older than ``KEPT_S``, in batches."""
        for table, condition in _PRUNED.items():
            key = "message_id"
            delete = (
                f"DELETE FROM {table} WHERE {key} IN"  # noqa: S608 - constants only
                f" (SELECT {key} FROM {table} WHERE {condition} LIMIT {_BATCH_ROWS})"
            )
            while await self._database.run(partial(_delete, sql=delete, before=now - KEPT_S)):
                pass


def begin_session(db: Connection, session_id: str, account: str, contact: str, at: float) -> None:
    """Note the session of a contact, and that something was written in it."""
    db.execute(
        "INSERT INTO account_sessions (session_id, account, contact, active_at)"
        " VALUES (?1, ?2, ?3, ?4) ON CONFLICT (session_id) DO UPDATE SET active_at = ?4",
        [session_id, account, contact, at],
    )


def note_message(
    db: Connection, account: str, provider_id: str, message_id: str, at: float
) -> None:
    """Note the messenger's id of a message, inside of a transaction."""
    db.execute(
        "INSERT INTO account_messages (account, provider_id, message_id, at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (account, provider_id) DO NOTHING",
        [account, provider_id, message_id, at],
    )


def _session(db: Connection, session_id: str) -> ContactSession | None:
    row = db.execute(
        "SELECT session_id, account, contact, sent_offset FROM account_sessions"
        " WHERE session_id = ?",
        [session_id],
    ).fetchone()
    return None if row is None else ContactSession(*row)


def _add(
    db: Connection, session: ContactSession, until: int, outgoing: Sequence[Outgoing], now: float
) -> int:
    moved = db.execute(
        "UPDATE account_sessions SET sent_offset = ?1 WHERE session_id = ?2 AND sent_offset < ?1",
        [until, session.session_id],
    ).rowcount
    if not moved or not outgoing:
        return 0
    ids = db.listed([each.message_id for each in outgoing])
    reported = {
        message_id
        for (message_id,) in db.execute(
            "SELECT message_id FROM account_messages"
            " WHERE message_id IN (SELECT value FROM json_each(?))",
            [ids],
        ).fetchall()
    }
    rows = [
        (each.message_id, session.account, session.session_id, session.contact, each.sender,
         each.content, now, now)
        for each in outgoing
        if each.message_id not in reported
    ]  # fmt: skip
    db.executemany(_ADD, rows)
    return len(rows)


def _delete(db: Connection, sql: str, before: float) -> int:
    return db.execute(sql, [before]).rowcount
