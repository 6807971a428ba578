"""The tables ``rule_sessions`` (when to look at a session again) and ``rule_firings``."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from wsserver.extensions.rules.model import Firing, Timeline
from wsserver.extensions.rules.options import Rule
from wsserver.extensions.rules.timelines import read_timeline
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.extension_schema import Migration
from wsserver.storage.messages.message_rows import SESSION

KEPT_S = 90 * 86_400.0
"""How long firings are kept, as the log of changes of sessions."""
LOOKS_AT_ONCE = 100
LEAD_S = 2 * 86_400.0
"""Messages of this time before are looked at, so that the state at its end is known."""
LATEST_MESSAGES = 500
"""Messages of a session that are looked at while the server runs."""
_BATCH_ROWS = 300

MIGRATIONS = (
    Migration(
        "0072_rules",
        (
            """
            CREATE TABLE rule_sessions (
                session_id TEXT PRIMARY KEY,
                look_at REAL NOT NULL,
                changes INTEGER NOT NULL DEFAULT 0
            )
            """,
            "CREATE INDEX rule_sessions_by_time ON rule_sessions (look_at)",
            """
            CREATE TABLE rule_firings (
                session_id TEXT NOT NULL,
                rule TEXT NOT NULL,
                cause TEXT NOT NULL,
                at REAL NOT NULL,
                organization_id TEXT,
                PRIMARY KEY (session_id, rule, cause)
            )
            """,
            "CREATE INDEX rule_firings_by_time ON rule_firings (at)",
        ),
    ),
)

_ADD = (
    "INSERT INTO rule_sessions (session_id, look_at) VALUES (?, ?)"
    " ON CONFLICT (session_id) DO UPDATE SET changes = rule_sessions.changes + 1"
)
_HASTEN = (
    "UPDATE rule_sessions SET look_at = ?2, changes = changes + 1"
    " WHERE session_id = ?1 AND look_at > ?2"
)
_SWEEP = (
    f"SELECT substr(name, {len(SESSION) + 1}) FROM streams"  # noqa: S608 - constants only
    f" WHERE substr(name, 1, {len(SESSION)}) = '{SESSION}' AND message_at > ?"
    f" AND substr(name, {len(SESSION) + 1}) NOT IN (SELECT session_id FROM rule_sessions)"
)
_STALLED = (
    "SELECT a.session_id, c.organization_id FROM answers a"
    " LEFT JOIN conversations c ON c.session_id = a.session_id"
    " WHERE a.state = 'growing' AND coalesce(a.last_text_at, a.started_at) <= ?"
    " AND NOT EXISTS (SELECT 1 FROM rule_firings f WHERE f.session_id = a.session_id"
    " AND f.rule = ? AND f.cause = a.message_id)"
)
_FIRED = (
    "INSERT INTO rule_firings (session_id, rule, cause, at, organization_id)"
    " VALUES (?, ?, ?, ?, ?) ON CONFLICT (session_id, rule, cause) DO NOTHING"
)


class Look(NamedTuple):
    """A session that is to be looked at, and the number of changes that were noted of it."""

    session_id: str
    changes: int


class Seen(NamedTuple):
    """A session as it is, and what has fired in it: pairs of rule and cause."""

    timeline: Timeline
    fired: frozenset[tuple[str, str]]


class Fired(NamedTuple):
    """How often a rule has fired of late, and when last."""

    times: int
    last_at: float


class RuleStore:
    """Sessions in which a customer waits, and what has fired.

    Methods raise ``StorageUnavailable``, those that write also ``StorageFull``.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def note(self, sessions: Mapping[str, float], hasten: Collection[str], at: float) -> None:
        """Look at sessions at their times, or earlier if that was noted before.

        ``hasten``: those that are looked at anyway, but soon: at ``at``.
        """

        def write(db: Connection) -> None:
            db.executemany(_ADD, sorted(sessions.items()))
            db.executemany(_HASTEN, [(session_id, at) for session_id in sorted(hasten)])

        await self._database.run(write)

    async def sweep(self, since: float, now: float) -> int:
        """Look at all sessions with a message since a time, in case that was not noted.

        Reads every stream: 100,000 take 8 ms of a reading thread. An index of ``message_at`` would
        add half of its cost to each append, for a few scans an hour.
        """

        def missing(db: Connection) -> list[str]:
            return [session_id for (session_id,) in db.execute(_SWEEP, [since]).fetchall()]

        found = await self._database.read(missing)
        for start in range(0, len(found), _BATCH_ROWS):
            part = dict.fromkeys(found[start : start + _BATCH_ROWS], now)
            await self.note(part, (), now)
        return len(found)

    async def due(self, now: float) -> list[Look]:
        """Sessions that are to be looked at, some of them."""
        sql = (
            "SELECT session_id, changes FROM rule_sessions WHERE look_at <= ?"
            " ORDER BY look_at LIMIT ?"
        )
        return await self._database.read(
            lambda db: [Look(*row) for row in db.execute(sql, [now, LOOKS_AT_ONCE]).fetchall()]
        )

    async def stalled(self, rules: Mapping[str, Rule], now: float) -> list[str]:
        """Sessions with an answer that stalls by a rule that has not fired for it yet."""

        def select(db: Connection) -> list[str]:
            found: dict[str, None] = {}
            for name, rule in rules.items():
                for session_id, organization_id in db.execute(
                    _STALLED, [now - rule.after_s, name]
                ).fetchall():
                    if rule.concerns(session_id, organization_id):
                        found[session_id] = None
            return list(found)[:LOOKS_AT_ONCE]

        return await self._database.read(select)

    async def see(self, session_id: str, now: float) -> Seen | None:
        """A session with what has fired in it; None: there is none."""
        return await self._database.read(partial(_see, session_id=session_id, now=now))

    async def settle(self, look: Look, next_at: float | None) -> None:
        """Look at a session again at a time; None: only when something happens.

        Nothing is changed if something has happened since it was read as due.
        """

        def write(db: Connection) -> None:
            if next_at is None:
                db.execute(
                    "DELETE FROM rule_sessions WHERE session_id = ? AND changes = ?", list(look)
                )
            else:
                db.execute(
                    "UPDATE rule_sessions SET look_at = ? WHERE session_id = ? AND changes = ?",
                    [next_at, *look],
                )

        await self._database.run(write)

    async def fire(
        self, rule: str, session_id: str, organization_id: str | None, firing: Firing
    ) -> bool:
        """Note that a rule has fired; False: it was noted already."""
        values = [session_id, rule, firing.cause, firing.at, organization_id]
        return await self._database.run(lambda db: db.execute(_FIRED, values).rowcount == 1)

    async def fired(self, since: float, organization_id: str | None) -> dict[str, Fired]:
        """How often rules have fired since a time; in one organization, or everywhere."""
        sql = (
            "SELECT rule, count(*), max(at) FROM rule_firings WHERE at >= ?1"
            " AND (CAST(?2 AS TEXT) IS NULL OR organization_id = ?2) GROUP BY rule"
        )
        rows = await self._database.read(
            lambda db: db.execute(sql, [since, organization_id]).fetchall()
        )
        return {rule: Fired(times, last_at) for rule, times, last_at in rows}

    async def sessions(self, after: int, since: float, limit: int) -> list[tuple[int, str]]:
        """Streams of sessions with a message from a time on, by their numbers, and session ids."""
        sql = (
            "SELECT id, name FROM streams WHERE id > ?"  # noqa: S608 - constants only
            f" AND substr(name, 1, {len(SESSION)}) = '{SESSION}' AND message_at >= ?"
            " ORDER BY id LIMIT ?"
        )
        rows = await self._database.read(
            lambda db: db.execute(sql, [after, since, limit]).fetchall()
        )
        return [(number, name.removeprefix(SESSION)) for number, name in rows]

    async def timelines(self, session_ids: Sequence[str], since: float) -> list[Timeline]:
        """The facts about sessions; those that do not exist are left out."""

        def read(db: Connection) -> list[Timeline]:
            found = [read_timeline(db, session_id, since) for session_id in session_ids]
            return [each for each in found if each is not None]

        return await self._database.read(read)

    async def prune(self, now: float) -> None:
        """Delete what fired long ago."""

        def delete(db: Connection) -> int:
            return db.execute(
                "DELETE FROM rule_firings WHERE (session_id, rule, cause) IN (SELECT session_id,"
                " rule, cause FROM rule_firings WHERE at < ? ORDER BY at LIMIT ?)",
                [now - KEPT_S, _BATCH_ROWS],
            ).rowcount

        while await self._database.run(delete):
            pass


def _see(db: Connection, session_id: str, now: float) -> Seen | None:
    timeline = read_timeline(db, session_id, now - LEAD_S, LATEST_MESSAGES)
    if timeline is None:
        return None
    fired = db.execute(
        "SELECT rule, cause FROM rule_firings WHERE session_id = ? AND at >= ?",
        [session_id, now - LEAD_S],
    ).fetchall()
    return Seen(timeline, frozenset((rule, cause) for rule, cause in fired))
