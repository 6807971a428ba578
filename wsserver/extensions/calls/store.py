"""The table ``calls``."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import msgspec

from wsserver.errors import RateLimited
from wsserver.extensions.calls import model
from wsserver.extensions.calls.errors import CallBusy
from wsserver.extensions.calls.model import Call, Limits
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database, Late
from wsserver.storage.engine.extension_schema import Migration
from wsserver.storage.maintenance.user_tables import UserTable

CALLS_A_MINUTE = 10
"""That one user may begin."""
MINUTE_S = 60.0
_AT_ONCE = 100
_BATCH_ROWS = 300
_CHANGING = "caller_connection, callee_connection, is_open, ended_at, due_at, call"

MIGRATIONS = (
    Migration(
        "0001_calls",
        (
            """
            CREATE TABLE calls (
                call_id TEXT PRIMARY KEY,
                session_id TEXT NOT NULL,
                is_open INTEGER NOT NULL,
                caller_id TEXT NOT NULL,
                caller_connection TEXT NOT NULL,
                callee_connection TEXT,
                created_at REAL NOT NULL,
                ended_at REAL,
                due_at REAL,
                call TEXT NOT NULL
            )
            """,
            "CREATE INDEX calls_open ON calls (session_id) WHERE is_open = 1",
            "CREATE INDEX calls_calling ON calls (caller_connection) WHERE is_open = 1",
            "CREATE INDEX calls_called ON calls (callee_connection) WHERE is_open = 1",
            "CREATE INDEX calls_due ON calls (due_at) WHERE due_at IS NOT NULL",
            "CREATE INDEX calls_by_caller ON calls (caller_id, created_at)",
            "CREATE INDEX calls_ended ON calls (ended_at) WHERE is_open = 0",
        ),
    ),
    Migration(
        "0002_call_users",
        (
            """
            CREATE TABLE call_users (
                call_id TEXT NOT NULL,
                user_id TEXT NOT NULL,
                PRIMARY KEY (call_id, user_id)
            )
            """,
            "CREATE INDEX call_users_by_user ON call_users (user_id)",
            "INSERT INTO call_users (call_id, user_id) SELECT call_id, caller_id FROM calls",
        ),
    ),
)

_OF_USER = "call_id IN (SELECT call_id FROM call_users WHERE user_id = :user_id)"
USER_TABLES = (
    UserTable(
        table="calls",
        key="call_id",
        where=_OF_USER,
        columns="call_id, session_id, caller_id, created_at, ended_at",
    ),
    UserTable(table="call_users", key="call_id", where=_OF_USER, columns=""),
)
"""Calls that a user has begun or was rung by; they are erased for all."""

Decide = Callable[[Call], Call]
"""The call after a change; may raise."""


class CallStore:
    """Calls; each change is decided in the writing thread, one after the other on all nodes.

    Methods raise ``StorageUnavailable``, those that write also ``StorageFull``.
    """

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self._limits = limits

    async def add(self, call: Call, late: Late[bool] | None = None) -> None:
        """Store a new call; ``late``: see ``Database.run``.

        Raises ``CallBusy`` where the session or the connection has one, ``RateLimited``.
        """

        def insert(db: Connection) -> bool:
            row = db.execute(
                "SELECT call_id FROM calls WHERE is_open = 1"
                " AND (session_id = ?1 OR caller_connection = ?2 OR callee_connection = ?2)"
                " LIMIT 1",
                [call.session_id, call.caller.connection_id],
            ).fetchone()
            if row is not None:
                raise CallBusy(row[0])
            times = db.execute(
                "SELECT created_at FROM calls WHERE caller_id = ? AND created_at > ?"
                " ORDER BY created_at",
                [call.caller.user_id, call.created_at - MINUTE_S],
            ).fetchall()
            if len(times) >= CALLS_A_MINUTE:
                free_at = times[-CALLS_A_MINUTE][0] + MINUTE_S
                raise RateLimited(int((free_at - call.created_at) * 1000) + 1)
            columns = f"call_id, session_id, caller_id, created_at, {_CHANGING}"
            whose = (call.call_id, call.session_id, call.caller.user_id, call.created_at)
            db.insert("calls", columns, [(*whose, *self._changing(call))])
            users = {call.caller.user_id, *call.rung}
            db.insert("call_users", "call_id, user_id", [(call.call_id, each) for each in users])
            return True

        await self._database.run(insert, late)

    async def get(self, call_id: str) -> Call | None:
        """A call, or None."""
        return await self._database.read(lambda db: _get(db, call_id))

    async def change(
        self,
        call_id: str,
        decide: Decide,
        entering: str | None = None,
        late: Late[tuple[Call, Call] | None] | None = None,
    ) -> tuple[Call, Call] | None:
        """Change a call: it before and after; None: there is no such call.

        ``entering``: the connection that enters the call by that; ``late``: see ``Database.run``.
        Raises ``CallBusy`` if the connection is in another call.
        """

        def update(db: Connection) -> tuple[Call, Call] | None:
            call = _get(db, call_id)
            if call is None:
                return None
            after = decide(call)
            if entering is not None and call.party(entering) is None and after != call:
                for other in _of_connections(db, [entering]):
                    if other.call_id != call_id:
                        raise CallBusy(other.call_id)
            return call, self._update(db, call, after)

        return await self._database.run(update, late)

    async def due(self, now: float) -> list[Call]:
        """Calls that time may have changed, or that have to be notified."""

        def read(db: Connection) -> list[Call]:
            found = db.execute(
                "SELECT call FROM calls WHERE due_at <= ? ORDER BY due_at LIMIT ?", [now, _AT_ONCE]
            )
            return [_call(row) for row in found]

        return await self._database.read(read)

    async def open_calls(self) -> list[Call]:
        """The calls that ring or go on."""
        return await self._database.read(_open)

    async def of_connections(self, connection_ids: Collection[str]) -> list[Call]:
        """The open calls in which connections are."""
        return await self._database.read(lambda db: _of_connections(db, connection_ids))

    async def confirm(self, connection_ids: Collection[str], now: float) -> set[str]:
        """Note that connections are there; returns those that are in an open call."""

        def update(db: Connection) -> set[str]:
            wanted = frozenset(connection_ids)
            found: set[str] = set()
            for call in _of_connections(db, wanted):
                mine = wanted & {each.connection_id for each in call.parties}
                found |= mine
                self._update(db, call, model.seen(call, mine, now))
            return found

        return await self._database.run(update)

    async def prune(self, before: float) -> None:
        """Delete calls that have ended before a time."""

        def delete(db: Connection) -> int:
            found = db.execute(
                "SELECT call_id FROM calls WHERE is_open = 0 AND ended_at < ? LIMIT ?",
                [before, _BATCH_ROWS],
            ).fetchall()
            ids = db.listed([call_id for (call_id,) in found])
            for table in ("calls", "call_users"):
                db.execute(
                    f"DELETE FROM {table}"  # noqa: S608 - constants only
                    " WHERE call_id IN (SELECT value FROM json_each(?))",
                    [ids],
                )
            return len(found)

        while await self._database.run(delete) == _BATCH_ROWS:
            pass

    def _update(self, db: Connection, former: Call, call: Call) -> Call:
        if call != former:
            db.execute(
                "UPDATE calls SET caller_connection = ?, callee_connection = ?, is_open = ?,"
                " ended_at = ?, due_at = ?, call = ? WHERE call_id = ?",
                [*self._changing(call), call.call_id],
            )
        return call

    def _changing(self, call: Call) -> tuple[Any, ...]:
        """The values of ``_CHANGING``."""
        return (
            call.caller.connection_id,
            None if call.callee is None else call.callee.connection_id,
            int(call.is_open),
            call.ended_at,
            call.due_at(self._limits),
            msgspec.json.encode(call).decode(),
        )


def _get(db: Connection, call_id: str) -> Call | None:
    row = db.execute("SELECT call FROM calls WHERE call_id = ?", [call_id]).fetchone()
    return None if row is None else _call(row)


def _open(db: Connection) -> list[Call]:
    return [_call(row) for row in db.execute("SELECT call FROM calls WHERE is_open = 1")]


def _of_connections(db: Connection, connection_ids: Collection[str]) -> list[Call]:
    found = db.execute(
        "SELECT call FROM calls WHERE is_open = 1"
        " AND (caller_connection IN (SELECT value FROM json_each(?1))"
        " OR callee_connection IN (SELECT value FROM json_each(?1))) ORDER BY call_id",
        [db.listed(connection_ids)],
    )
    return [_call(row) for row in found]


def _call(row: Any) -> Call:
    return msgspec.json.decode(row[0], type=Call)
