"""Access lists: session members, organizations of users, revoked tokens.

Small tables that a server reads as a whole at start and keeps in memory. Each change is numbered in
``access_changes``, in its own transaction, so that several servers read only what is new to them.
Erasures of users are numbered with them: they change what every server has in memory, too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from wsserver.errors import StorageUnavailable
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.messages.conversations import ensure, log_change
from wsserver.storage.messages.participants import change_members

CHANGES_AT_ONCE = 1000
ERASURES_KEPT = 1000
"""Numbered erasures, the latest ones; a server hears of one within seconds."""
_VERSION = "version"
_COUNT = """
    INSERT INTO access_changes (kind, key, number) VALUES ('version', '', 1)
    ON CONFLICT (kind, key) DO UPDATE SET number = access_changes.number + 1 RETURNING number
"""
"""Locks the row until the commit: changes are committed in the order of their numbers."""
_NOTE = """
    INSERT INTO access_changes (kind, key, number) VALUES (?, ?, ?)
    ON CONFLICT (kind, key) DO UPDATE SET number = excluded.number
"""

_DELETE_ERASURES = """
    DELETE FROM access_changes WHERE kind = 'erased' AND number <= (
        SELECT number FROM access_changes WHERE kind = 'erased'
        ORDER BY number DESC LIMIT 1 OFFSET ?
    )
"""


def number_members(db: Connection, session_id: str) -> int:
    """Number a change of who may enter a session; returns the number."""
    return _numbered(db, "members", session_id)


def number_erasure(db: Connection, user_id: str) -> int:
    """Number the erasure of a user; returns the number."""
    number = _numbered(db, "erased", user_id)
    db.execute(_DELETE_ERASURES, [ERASURES_KEPT])
    return number


def _numbered(db: Connection, kind: str, key: str) -> int:
    """Number a change; before anything is read, so that changes of other servers are seen."""
    number: int = db.execute(_COUNT).fetchall()[0][0]
    db.execute(_NOTE, [kind, key, number])
    return number


class MemberChange(NamedTuple):
    """The change made by replacing a member list; user ids in ascending order."""

    added: list[str]
    removed: list[str]
    version: int = 0
    """The number of the change."""


class MemberStore:
    """The table ``session_members``."""

    def __init__(self, database: Database, default_ai: str | None = None) -> None:
        self._database = database
        self._default_ai = default_ai

    async def all(self) -> list[tuple[str, str]]:
        """Every (session_id, user_id), by session. Raises ``StorageUnavailable``."""
        return await self._database.read(
            lambda db: db.execute(
                "SELECT session_id, user_id FROM session_members ORDER BY session_id, user_id"
            ).fetchall()
        )

    async def replace(
        self, session_id: str, user_ids: Iterable[str], by: str, at: float
    ) -> MemberChange:
        """Make ``user_ids`` the members of a session, which exists then; returns the change.

        ``by``: user id of the requester; ``at``: seconds since the epoch; both are stored with the
        added members. Raises ``StorageUnavailable``, ``StorageFull``; the list is unchanged then.
        """
        wanted = frozenset(user_ids)

        def replace(db: Connection) -> MemberChange:
            version = number_members(db, session_id)
            rows = db.execute(
                "SELECT user_id FROM session_members WHERE session_id = ?", [session_id]
            )
            present = frozenset(user_id for (user_id,) in rows)
            added, removed = sorted(wanted - present), sorted(present - wanted)
            db.executemany(
                "DELETE FROM session_members WHERE session_id = ? AND user_id = ?",
                [(session_id, user_id) for user_id in removed],
            )
            db.executemany(
                "INSERT INTO session_members (session_id, user_id, added_by, added_at)"
                " VALUES (?, ?, ?, ?)",
                [(session_id, user_id, by, at) for user_id in added],
            )
            change_members(db, session_id, added, removed, at)
            if wanted:
                ensure(db, {session_id: at}, self._default_ai)
            if added or removed:
                change = {"members": {"added": added, "removed": removed}}
                log_change(db, session_id, at, by, change)
            return MemberChange(added, removed, version)

        return await self._database.run(replace)


class OrganizationStore:
    """The table ``user_organizations``: assigned by a service or an administrator."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> list[tuple[str, str]]:
        """Every (user_id, organization_id). Raises ``StorageUnavailable``."""
        return await self._database.read(
            lambda db: db.execute(
                "SELECT user_id, organization_id FROM user_organizations"
            ).fetchall()
        )

    async def put(self, user_id: str, organization_id: str | None, by: str, at: float) -> int:
        """Replace the organization of a user, None: delete it; returns the change's number.

        ``by``: user id of the requester; ``at``: seconds since the epoch. Raises
        ``StorageUnavailable``, ``StorageFull``.
        """

        def store(db: Connection) -> int:
            version = _numbered(db, "organization", user_id)
            if organization_id is None:
                db.execute("DELETE FROM user_organizations WHERE user_id = ?", [user_id])
                return version
            db.execute(
                "INSERT INTO user_organizations (user_id, organization_id, entered_by, entered_at)"
                " VALUES (?, ?, ?, ?) ON CONFLICT (user_id) DO UPDATE SET"
                " organization_id = excluded.organization_id,"
                " entered_by = excluded.entered_by, entered_at = excluded.entered_at",
                [user_id, organization_id, by, at],
            )
            return version

        return await self._database.run(store)


class RevocationStore:
    """The table ``revocations``: the deny list of tokens."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, kind: Literal["jti", "user"], value: str, at: float) -> int:
        """Revoke a token (by ``jti``), or a user's tokens issued before ``at``.

        Returns the change's number.

        ``at``: seconds since the epoch; of two revocations of the same value the later one counts.
        Raises ``StorageUnavailable``, ``StorageFull``.
        """

        def insert(db: Connection) -> int:
            version = _numbered(db, kind, value)
            db.execute(
                "INSERT INTO revocations (kind, value, at) VALUES (?, ?, ?)"
                " ON CONFLICT (kind, value) DO UPDATE SET at = excluded.at"
                " WHERE excluded.at > revocations.at",
                [kind, value, at],
            )
            return version

        return await self._database.run(insert)

    async def time(self, wall: float) -> float:
        """The time up to which a user's tokens are revoked, by the clock that is ahead.

        ``wall``: that of this node, which may be behind; the database's is one for all nodes.
        """
        with contextlib.suppress(StorageUnavailable):
            return max(wall, await self._database.clock() or wall)
        return wall

    async def all(self) -> list[tuple[Literal["jti", "user"], str, float]]:
        """Every (kind, value, at). Raises ``StorageUnavailable``."""
        return await self._database.read(
            lambda db: db.execute("SELECT kind, value, at FROM revocations").fetchall()
        )


class ListChange(NamedTuple):
    """What an access list says after a change, or that a user was erased."""

    number: int
    kind: Literal["jti", "user", "members", "organization", "erased"]
    key: str
    """``jti``, user or session."""
    value: Any
    """user: seconds since the epoch; members: user ids; organization: its id, or None."""


class AccessChangeStore:
    """The table ``access_changes``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def version(self) -> int:
        """The number of the latest change; 0: none. Raises ``StorageUnavailable``."""
        return await self._database.read(_version)

    async def since(self, number: int) -> list[ListChange]:
        """The state of what has changed after ``number``, at most ``CHANGES_AT_ONCE``, in order.

        Raises ``StorageUnavailable``.
        """

        def read(db: Connection) -> list[ListChange]:
            rows = db.execute(
                "SELECT number, kind, key FROM access_changes WHERE number > ? AND kind <> ?"
                " ORDER BY number LIMIT ?",
                [number, _VERSION, CHANGES_AT_ONCE],
            ).fetchall()
            keys: dict[str, list[str]] = {}
            for _, kind, key in rows:
                keys.setdefault(kind, []).append(key)
            values = _values(db, keys)
            return [
                ListChange(
                    number, kind, key, values.get(kind, {}).get(key, _WITHOUT_VALUE.get(kind))
                )
                for number, kind, key in rows
            ]

        return await self._database.read(read)


_WITHOUT_VALUE: dict[str, Any] = {"members": ()}


def _version(db: Connection) -> int:
    row = db.execute(
        "SELECT number FROM access_changes WHERE kind = ? AND key = ''", [_VERSION]
    ).fetchone()
    return 0 if row is None else row[0]


def _values(db: Connection, keys: dict[str, list[str]]) -> dict[str, dict[str, Any]]:
    """Kind → key → what the list says."""
    members: dict[str, list[str]] = {}
    for session_id, user_id in db.execute(
        "SELECT session_id, user_id FROM session_members"
        " WHERE session_id IN (SELECT value FROM json_each(?)) ORDER BY session_id, user_id",
        [db.listed(keys.get("members", []))],
    ):
        members.setdefault(session_id, []).append(user_id)
    organizations = db.execute(
        "SELECT user_id, organization_id FROM user_organizations"
        " WHERE user_id IN (SELECT value FROM json_each(?))",
        [db.listed(keys.get("organization", []))],
    )
    users = db.execute(
        "SELECT value, at FROM revocations"
        " WHERE kind = 'user' AND value IN (SELECT value FROM json_each(?))",
        [db.listed(keys.get("user", []))],
    )
    return {
        "members": members,
        "organization": dict(organizations.fetchall()),
        "user": dict(users.fetchall()),
    }
