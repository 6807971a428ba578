"""Deliveries of notifications as a queue: leased when due, attempted, their results recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from wsserver.protocol.notifications import Contact
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.leased_table import Lease, LeasedTable, Result, scalar
from wsserver.storage.notifications.acknowledgements import cancel_acknowledged
from wsserver.storage.notifications.contacts import contact_of

INTERRUPTED = "interrupted"
"""Outcome of an attempt that a crash cut off: the notification may have been sent."""
COMPANIONS_LIMIT = 500
"""Deliveries that one digest takes along."""
DETAIL_LIMIT = 1000

HeldUntil = Callable[[Sequence[float], float], float | None]
"""``DigestRule.held_until``: from the times of the recently sent ones, and now."""

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
_EXPIRING = "state IN ('pending', 'sent') AND (state = 'pending' OR channel = 'websocket')"
_FIRST_EXPIRY = f"SELECT min(expires_at) FROM deliveries WHERE {_EXPIRING}"  # noqa: S608
_LEASE = "UPDATE deliveries SET state = 'sending', owner = ?, lease_until = ? WHERE id = ?"
_RECORD = """
    UPDATE deliveries SET
        state = CASE
            WHEN state != 'sending' THEN state
            WHEN stops = 1 AND ?1 = 'pending' THEN 'cancelled'
            ELSE ?1
        END,
        due_at = CASE WHEN state = 'sending' AND stops = 0
            THEN CAST(?2 AS DOUBLE PRECISION) END,
        sent_at = ?3, number = number + ?7,
        is_held = CASE ?1 WHEN 'pending' THEN is_held ELSE 0 END,
        owner = NULL, lease_until = NULL
    WHERE id = ?4 AND owner = ?5 AND lease_until = ?6 RETURNING number, state
"""


class Claimed(NamedTuple):
    """A delivery that is leased for an attempt; times in seconds since the epoch."""

    id: int
    delivery_id: str
    notification_id: str
    user_id: str
    number: int
    """Attempts before this one."""
    forgiven: int
    """Attempts before the latest retry by hand, which no longer count."""
    expires_at: float
    at: float
    """When the notification was accepted."""
    type: str
    template: str | None
    content: str
    organization_id: str | None
    """Organization that the notification was addressed or confined to."""
    digest: str | None
    is_held: int
    contact_owner: str | None
    """Organization whose manager entered the contact; None: no manager did."""
    contact: Contact
    companions: Sequence[Claimed] = ()
    """Others of the same kind for the same user that are sent with it, oldest first."""

    @property
    def attempt(self) -> int:
        """Number of this attempt, from 1, since it was accepted or retried by hand."""
        return self.number - self.forgiven + 1

    @property
    def ids(self) -> list[int]:
        """All deliveries that the attempt is for."""
        return [self.id, *[each.id for each in self.companions]]


class Ended(NamedTuple):
    """A delivery that has expired."""

    delivery_id: str
    notification_id: str
    user_id: str
    channel: str
    is_pending: int
    """1: it was never sent; 0: it was stored in the inbox and not acknowledged."""


class DeliveryStore(LeasedTable[Claimed]):
    """The tables ``deliveries``, a lane for each channel, and ``attempts``."""

    TABLE = "deliveries"
    LANE = "channel"
    WAITING = "state = 'pending' AND expires_at > :now"
    LEASED = "state = 'sending'"
    ACCEPTED_AT = "(SELECT n.at FROM notifications n WHERE n.id = notification)"

    def __init__(
        self, database: Database, held_until: HeldUntil = lambda sent_at, now: None
    ) -> None:
        super().__init__(database)
        self._held_until = held_until

    async def claim(self, lane: str, now: float, limit: int, lease: Lease) -> list[Claimed]:
        """Lease deliveries of a channel that are due, the longest due first.

        What ``held_until`` postpones is postponed in the same transaction; when its time comes, all
        that wait with it are its ``companions``.
        """
        return await self._database.run(
            lambda db: _claim(db, lane, now, limit, lease, self._held_until)
        )

    def _record(self, db: Connection, lease: Lease, result: Result) -> dict[int, str]:
        """Record a result; what was acknowledged meanwhile keeps that state.

        What was cancelled meanwhile is ``cancelled`` instead of due again.
        """
        return _record(db, lease, result)

    async def expire(self, now: float, limit: int = 300) -> list[Ended]:
        """Expire deliveries whose time is over, ``limit`` at most; without any, only reads."""
        first = await self._database.read(lambda db: scalar(db, _FIRST_EXPIRY, {}))
        if first is None or first > now:
            return []
        return await self._database.run(lambda db: _expire(db, now, limit))

    def _end_leases(self, db: Connection, where: str, values: Mapping[str, Any]) -> int:
        ended = db.execute(
            "UPDATE deliveries SET state = CASE WHEN stops = 1 THEN 'cancelled' ELSE 'pending' END,"  # noqa: S608 - constants only
            " due_at = CASE WHEN stops = 1 THEN NULL ELSE :now END, number = number + 1,"
            f" owner = NULL, lease_until = NULL WHERE {where} RETURNING id, number",
            values,
        ).fetchall()
        for id_, number in ended:
            detail = "the server stopped before the outcome was known"
            _note_attempt(db, id_, number, values["now"], INTERRUPTED, detail)
        return len(ended)


def _claim(
    db: Connection,
    channel: str,
    now: float,
    limit: int,
    lease: Lease,
    held_until: HeldUntil,
) -> list[Claimed]:
    claimed = []
    leased: set[int] = set()
    for row in _unacknowledged(db, _SELECT_DUE, [channel, now, now, limit]):
        due = _claimed(row)
        if due.id in leased:  # a companion of an earlier one
            continue
        if due.digest is not None:
            kind = [due.user_id, channel, due.digest]
            if due.is_held:
                rows = _unacknowledged(db, _SELECT_HELD, [*kind, now, due.id, COMPANIONS_LIMIT])
                due = due._replace(companions=[_claimed(each) for each in rows])
            else:
                (until,) = db.execute(_SELECT_HELD_UNTIL, kind).fetchone()
                if until is None:  # none is held yet that it could join
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


def _unacknowledged(db: Connection, select: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    """The selected rows, without escalations that were acknowledged meanwhile."""
    rows = db.execute(select, values).fetchall()
    while rows and cancel_acknowledged(db, [row[0] for row in rows]):
        rows = db.execute(select, values).fetchall()
    return rows


def _claimed(row: tuple[Any, ...]) -> Claimed:
    return Claimed._make([*row[:-1], contact_of(row[3], row[-1]), ()])


def _record(db: Connection, lease: Lease, result: Result) -> dict[int, str]:
    states = {}
    sent_at = result.at if result.state == "sent" else None
    is_counted = result.outcome is not None
    for id_ in result.ids:
        row = db.execute(
            _RECORD, [result.state, result.due_at, sent_at, id_, *lease, int(is_counted)]
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
        "INSERT INTO attempts (delivery, number, at, outcome, detail) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (delivery, number) DO UPDATE SET at = excluded.at,"
        " outcome = excluded.outcome, detail = excluded.detail",
        [id_, number, at, outcome, detail[:DETAIL_LIMIT]],
    )


def _expire(db: Connection, now: float, limit: int) -> list[Ended]:
    ended = db.execute(
        "SELECT d.id, delivery_id, notification_id, user_id, channel, state = 'pending'"  # noqa: S608
        " FROM deliveries d JOIN notifications n ON n.id = d.notification"
        f" WHERE {_EXPIRING} AND d.expires_at <= ? ORDER BY d.expires_at LIMIT ?",
        [now, limit],
    ).fetchall()
    db.executemany(
        "UPDATE deliveries SET state = 'expired', due_at = NULL WHERE id = ?",
        [(id_,) for id_, *_ in ended],
    )
    return [Ended(*rest) for _, *rest in ended]
