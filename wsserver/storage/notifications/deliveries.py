"""The queue of deliveries: what is due is leased, tried, and its outcome recorded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from wsserver.protocol.notifications import Contact
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.notifications.contacts import contact_of

INTERRUPTED = "interrupted"
"""Outcome of an attempt that a crash has cut off: it may have gone out."""
COMPANIONS_LIMIT = 500
"""Of deliveries that go as one."""
DETAIL_LIMIT = 1000

HeldUntil = Callable[[Sequence[float], float], float | None]
"""``DigestRule.held_until``: from the times of those sent lately and now."""

_COLUMNS = (
    "d.id, d.delivery_id, n.notification_id, d.user_id, d.number, d.forgiven, d.expires_at,"
    " n.at, n.type, n.template, n.content, n.organization_id, d.digest, d.is_held,"
    " c.organization_id, c.contact"
)
_SOURCE = (
    " FROM deliveries d JOIN notifications n ON n.id = d.notification"
    " LEFT JOIN contacts c ON c.user_id = d.user_id"
)
_SELECT_DUE = (
    f"SELECT {_COLUMNS}{_SOURCE} WHERE d.channel = ? AND d.state = 'pending'"
    " AND d.due_at <= ? AND d.expires_at > ? ORDER BY d.due_at, d.id LIMIT ?"
)
_SELECT_HELD = (
    f"SELECT {_COLUMNS}{_SOURCE} WHERE d.user_id = ? AND d.channel = ? AND d.digest = ?"
    " AND d.state = 'pending' AND d.is_held = 1 AND d.expires_at > ? AND d.id != ?"
    " ORDER BY d.id LIMIT ?"
)
_SELECT_HELD_UNTIL = (
    "SELECT min(due_at) FROM deliveries WHERE user_id = ? AND channel = ? AND digest = ?"
    " AND state = 'pending' AND is_held = 1"
)
_SELECT_RECENT = (
    "SELECT CASE state WHEN 'sending' THEN ? ELSE sent_at END FROM deliveries"
    " WHERE user_id = ? AND channel = ? AND digest = ?"
    " AND (state = 'sending' OR sent_at IS NOT NULL) ORDER BY id DESC LIMIT 1000"
)
_BRING_FORWARD = """
    UPDATE deliveries SET due_at = due_at - ?1 WHERE state = 'pending' AND NOT EXISTS (
        SELECT 1 FROM notifications n
        WHERE n.id = notification AND n.at >= ?2 AND n.at <= ?3
    )
"""
_LEFT = (
    "state = 'sending' AND (owner != ?1"
    " OR lease_until <= ?2 AND id NOT IN (SELECT value FROM json_each(?3)))"
)
_LEASE = "UPDATE deliveries SET state = 'sending', owner = ?, lease_until = ? WHERE id = ?"
_RECORD = """
    UPDATE deliveries SET
        state = CASE
            WHEN state != 'sending' THEN state
            WHEN stops AND ?1 = 'pending' THEN 'cancelled'
            ELSE ?1
        END,
        due_at = CASE WHEN state = 'sending' AND NOT stops THEN ?2 END,
        sent_at = ?3, number = number + 1, is_held = CASE ?1 WHEN 'pending' THEN is_held ELSE 0 END,
        owner = NULL, lease_until = NULL
    WHERE id = ?4 AND owner = ?5 RETURNING number, state
"""


class Claimed(NamedTuple):
    """A delivery that is leased to be tried; times in epoch seconds."""

    id: int
    delivery_id: str
    notification_id: str
    user_id: str
    number: int
    """Attempts before this one."""
    forgiven: int
    """Those of them that do not count any more."""
    expires_at: float
    at: float
    """When the notification was accepted."""
    type: str
    template: str | None
    content: str
    organization_id: str | None
    """Of the notification: the one that it was for, or confined to."""
    digest: str | None
    is_held: int
    contact_owner: str | None
    """The organization whose manager has entered the contact; None: none has."""
    contact: Contact
    companions: Sequence[Claimed] = ()
    """Others of the same kind for the same user that go together with it, oldest first."""

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1, since it was accepted or retried by hand."""
        return self.number - self.forgiven + 1

    @property
    def ids(self) -> list[int]:
        """All that the attempt is for."""
        return [self.id, *[each.id for each in self.companions]]


class Result(NamedTuple):
    """What came of an attempt, or why there was none."""

    ids: Sequence[int]
    state: str
    due_at: float | None
    """With ``pending``: when it is tried again."""
    at: float
    outcome: str | None
    """None: it was not tried, and no attempt is counted."""
    detail: str = ""


class Ended(NamedTuple):
    """A delivery whose time has run out."""

    delivery_id: str
    notification_id: str
    user_id: str
    channel: str
    is_pending: int
    """1: it was never sent; 0: it was, into the inbox, but nobody came for it."""


class DeliveryStore:
    """The table ``deliveries``, as a queue, with ``attempts``.

    All methods raise ``StorageUnavailable``; those that write also ``StorageFull``, and then
    nothing of the call is stored.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(
        self,
        channel: str,
        now: float,
        limit: int,
        *,
        owner: str,
        lease_until: float,
        held_until: HeldUntil,
    ) -> list[Claimed]:
        """Lease what is due by a channel, the longest due first.

        What ``held_until`` puts off is put off in the same transaction; when its time has come, all
        that wait with it go along as ``companions``.
        """
        return await self._database.run(
            partial(
                _claim,
                channel=channel,
                now=now,
                limit=limit,
                lease=(owner, lease_until),
                held_until=held_until,
            )
        )

    async def record(self, owner: str, results: Sequence[Result]) -> dict[int, str]:
        """Record outcomes and give the leases back; answers the states by id.

        What has been acknowledged meanwhile keeps that state; what was called off meanwhile is
        ``cancelled`` instead of waiting to be tried again; what is not leased is left alone.
        """
        return await self._database.run(partial(_record, owner=owner, results=results))

    async def release(self, owner: str, now: float, busy: Iterable[int] = ()) -> int:
        """Make everything due again that another run has left behind, or that was held too long.

        ``busy``: what this run is at, however old its lease looks on a wall clock that was set.
        The attempts are recorded as interrupted. Answers how many there were. Writes only where
        there is something to write.
        """
        values = [owner, now, json.dumps(sorted(busy))]
        if not await self._database.read(partial(_is_left, values=values)):
            return 0
        return await self._database.run(partial(_release, values=values))

    async def bring_forward(self, by_s: float, since: float, now: float) -> int:
        """Make everything that waits due so much earlier; answers how many there were.

        Not what was accepted from ``since`` to ``now``: that was planned by the new time.
        """
        values = [by_s, since, now]
        return await self._database.run(lambda db: db.execute(_BRING_FORWARD, values).rowcount)

    async def next_due(self, channel: str, now: float) -> float | None:
        """When the next delivery by a channel is due; None: none is waiting."""
        return await self._database.read(
            lambda db: _scalar(
                db,
                "SELECT min(due_at) FROM deliveries WHERE channel = ? AND state = 'pending'"
                " AND expires_at > ?",
                [channel, now],
            )
        )

    async def next_expiry(self) -> float | None:
        """When the time of the next delivery runs out that is not settled."""
        return await self._database.read(
            lambda db: _scalar(
                db,
                "SELECT min(expires_at) FROM deliveries WHERE state IN ('pending', 'sent')"
                " AND (state = 'pending' OR channel = 'websocket')",
                [],
            )
        )

    async def expire(self, now: float, limit: int = 300) -> list[Ended]:
        """End deliveries whose time has run out, at most so many."""
        return await self._database.run(partial(_expire, now=now, limit=limit))

    async def waiting(self) -> dict[str, int]:
        """How many deliveries wait, by channel."""
        return await self._database.read(
            lambda db: dict(
                db.execute(
                    "SELECT channel, count(*) FROM deliveries WHERE state = 'pending'"
                    " GROUP BY channel"
                ).fetchall()
            )
        )


def _claim(
    db: Connection,
    channel: str,
    now: float,
    limit: int,
    lease: tuple[str, float],
    held_until: HeldUntil,
) -> list[Claimed]:
    claimed = []
    leased: set[int] = set()
    for row in db.execute(_SELECT_DUE, [channel, now, now, limit]).fetchall():
        due = _claimed(row)
        if due.id in leased:  # it goes along with an earlier one
            continue
        if due.digest is not None:
            kind = [due.user_id, channel, due.digest]
            if due.is_held:
                rows = db.execute(_SELECT_HELD, [*kind, now, due.id, COMPANIONS_LIMIT])
                due = due._replace(companions=[_claimed(each) for each in rows.fetchall()])
            else:
                (until,) = db.execute(_SELECT_HELD_UNTIL, kind).fetchone()
                if until is None:  # nothing waits yet with which it could go
                    recent = [at for (at,) in db.execute(_SELECT_RECENT, [now, *kind])]
                    until = held_until(recent, now)
                if until is not None and until < due.expires_at:
                    db.execute(
                        "UPDATE deliveries SET due_at = ?, is_held = 1 WHERE id = ?",
                        [until, due.id],
                    )
                    continue
        db.executemany(_LEASE, [(*lease, id_) for id_ in due.ids])
        leased.update(due.ids)
        claimed.append(due)
    return claimed


def _claimed(row: tuple[Any, ...]) -> Claimed:
    return Claimed._make([*row[:-1], contact_of(row[3], row[-1]), ()])


def _record(db: Connection, owner: str, results: Sequence[Result]) -> dict[int, str]:
    states = {}
    for result in results:
        sent_at = result.at if result.state == "sent" else None
        for id_ in result.ids:
            if result.outcome is None:
                row = db.execute(
                    _RECORD.replace("number = number + 1", "number = number"),
                    [result.state, result.due_at, sent_at, id_, owner],
                ).fetchone()
            else:
                row = db.execute(
                    _RECORD, [result.state, result.due_at, sent_at, id_, owner]
                ).fetchone()
            if row is None:
                continue
            number, states[id_] = row
            if result.outcome is not None:
                _note_attempt(db, id_, number, result.at, result.outcome, result.detail)
    return states


def _note_attempt(
    db: Connection, id_: int, number: int, at: float, outcome: str, detail: str
) -> None:
    db.execute(
        "INSERT OR REPLACE INTO attempts (delivery, number, at, outcome, detail)"
        " VALUES (?, ?, ?, ?, ?)",
        [id_, number, at, outcome, detail[:DETAIL_LIMIT]],
    )


def _is_left(db: Connection, values: list[Any]) -> bool:
    sql = f"SELECT 1 FROM deliveries WHERE {_LEFT} LIMIT 1"  # noqa: S608 - constants only
    return db.execute(sql, values).fetchone() is not None


def _release(db: Connection, values: list[Any]) -> int:
    now = values[1]
    left = db.execute(
        "UPDATE deliveries SET state = CASE WHEN stops THEN 'cancelled' ELSE 'pending' END,"  # noqa: S608 - constants only
        " due_at = CASE WHEN stops THEN NULL ELSE ?2 END,"
        f" number = number + 1, owner = NULL, lease_until = NULL WHERE {_LEFT}"
        " RETURNING id, number",
        values,
    ).fetchall()
    for id_, number in left:
        detail = "the server stopped before the outcome was known"
        _note_attempt(db, id_, number, now, INTERRUPTED, detail)
    return len(left)


def _expire(db: Connection, now: float, limit: int) -> list[Ended]:
    ended = db.execute(
        "SELECT d.id, d.delivery_id, n.notification_id, d.user_id, d.channel,"
        " d.state = 'pending' FROM deliveries d JOIN notifications n ON n.id = d.notification"
        " WHERE d.state IN ('pending', 'sent')"
        " AND (d.state = 'pending' OR d.channel = 'websocket')"
        " AND d.expires_at <= ? ORDER BY d.expires_at LIMIT ?",
        [now, limit],
    ).fetchall()
    db.executemany(
        "UPDATE deliveries SET state = 'expired', due_at = NULL WHERE id = ?",
        [(id_,) for id_, *_ in ended],
    )
    return [Ended(*rest) for _, *rest in ended]


def _scalar(db: Connection, sql: str, values: list[Any]) -> float | None:
    value: float | None = db.execute(sql, values).fetchone()[0]
    return value
