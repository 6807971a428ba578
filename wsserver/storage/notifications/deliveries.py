"""Deliveries of notifications as a queue: leased when due, attempted, their results recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from wsserver.protocol.notifications import Contact, Preferences
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.leased_table import Lease, LeasedTable, Result, scalar
from wsserver.storage.notifications.acknowledgements import cancel_acknowledged
from wsserver.storage.notifications.contacts import contact_of
from wsserver.storage.notifications.preferences import preferences_of

INTERRUPTED = "interrupted"
"""Outcome of an attempt that a crash cut off: the notification may have been sent."""
COMPANIONS_LIMIT = 500
"""Deliveries that one digest takes along."""
DETAIL_LIMIT = 1000
SWITCHED_OFF = "switched_off"
"""Reason of a cancelled delivery: the user has switched the channel off."""
DIGEST = "digest"
"""Reason of a pending one: it waits to be sent with others of its template."""
DAILY_DIGEST = "daily_digest"
"""Reason of a pending one: it waits for the user's daily digest."""
_DAILY = "daily digest"
"""Begin of the key of daily digests, which no template can have as its name."""

HeldUntil = Callable[[Sequence[float], float], float | None]
"""``DigestRule.held_until``: from the times of the recently sent ones, and now."""

_COLUMNS = (
    "d.id, d.delivery_id, n.notification_id, d.user_id, d.number, d.forgiven, d.expires_at,"
    " n.at, n.type, n.template, n.content, n.organization_id, d.digest, d.is_held,"
    " p.preferences, c.organization_id, c.contact"
)
_SOURCE = (
    " FROM deliveries d JOIN notifications n ON n.id = d.notification"
    " LEFT JOIN contacts c ON c.user_id = d.user_id"
    " LEFT JOIN notification_preferences p ON p.user_id = d.user_id"
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
        reason = CASE WHEN state = 'sending' AND stops = 0 THEN CAST(?8 AS TEXT) END,
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
    preferences: Preferences
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
    def is_daily(self) -> bool:
        """Whether it is of a daily digest."""
        return self.digest is not None and self.digest.startswith(_DAILY)

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


class PreferenceRules(Protocol):
    """What the preferences of a user mean for a delivery that is due."""

    def is_off(self, claimed: Claimed, channel: str) -> bool:
        """Whether the user does not want it by this channel."""
        ...

    def daily_at(self, claimed: Claimed, channel: str, now: float) -> float | None:
        """When the daily digest is sent that it belongs to; None: it is sent separately."""
        ...


class NoRules:
    """Preferences are not looked at."""

    def is_off(self, claimed: Claimed, channel: str) -> bool:
        """False."""
        return False

    def daily_at(self, claimed: Claimed, channel: str, now: float) -> float | None:
        """None."""
        return None


class DeliveryStore(LeasedTable[Claimed]):
    """The tables ``deliveries``, a lane for each channel, and ``attempts``."""

    TABLE = "deliveries"
    LANE = "channel"
    WAITING = "state = 'pending' AND expires_at > :now"
    LEASED = "state = 'sending'"
    ACCEPTED_AT = "(SELECT n.at FROM notifications n WHERE n.id = notification)"

    def __init__(
        self,
        database: Database,
        held_until: HeldUntil = lambda sent_at, now: None,
        rules: PreferenceRules | None = None,
    ) -> None:
        super().__init__(database)
        self._held_until = held_until
        self._rules = rules or NoRules()

    async def claim(self, lane: str, now: float, limit: int, lease: Lease) -> list[Claimed]:
        """Lease deliveries of a channel that are due, the longest due first.

        What ``held_until`` or a daily digest postpones is postponed in the same transaction; when
        its time comes, all that wait with it are its ``companions``. What the user has switched
        off is cancelled, however it came to be due.
        """
        return await self._database.run(
            lambda db: _claim(db, lane, now, limit, lease, self._held_until, self._rules)
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
    rules: PreferenceRules,
) -> list[Claimed]:
    claimed = []
    leased: set[int] = set()
    for row in _unacknowledged(db, _SELECT_DUE, [channel, now, now, limit]):
        due = _claimed(row)
        if due.id in leased:  # a companion of an earlier one
            continue
        if rules.is_off(due, channel):
            _switch_off(db, due)
            continue
        # What was tried already, by hand or after a fault, does not wait for another day.
        if not due.is_held and due.number == 0:
            until = rules.daily_at(due, channel, now)
            if until is not None and until < due.expires_at:
                _hold(db, due, until, _daily_key(due), DAILY_DIGEST)
                continue
        if due.digest is not None:
            kind = [due.user_id, channel, due.digest]
            if due.is_held:
                rows = _unacknowledged(db, _SELECT_HELD, [*kind, now, due.id, COMPANIONS_LIMIT])
                due = due._replace(companions=_wanted(db, map(_claimed, rows), channel, rules))
            else:
                (until,) = db.execute(_SELECT_HELD_UNTIL, kind).fetchone()
                if until is None:  # none is held yet that it could join
                    recent = [at for (at,) in db.execute(_SELECT_RECENT, [now, *kind])]
                    until = held_until(recent, now)
                if until is not None and until < due.expires_at:
                    _hold(db, due, until, due.digest, DIGEST)
                    continue
        db.executemany(_LEASE, [(*lease, id_) for id_ in due.ids])
        leased.update(due.ids)
        claimed.append(due)
    return claimed


def _hold(db: Connection, due: Claimed, until: float, digest: str | None, reason: str) -> None:
    """Let a delivery wait, to be sent with others of the same key."""
    db.execute(
        "UPDATE deliveries SET due_at = ?, is_held = 1, digest = ?, reason = ? WHERE id = ?",
        [until, digest, reason, due.id],
    )


def _daily_key(due: Claimed) -> str:
    """Key of a daily digest, separate for each organization."""
    organization_id = due.organization_id
    return _DAILY if organization_id is None else f"{_DAILY} of organization:{organization_id}"


def _wanted(
    db: Connection, companions: Iterable[Claimed], channel: str, rules: PreferenceRules
) -> list[Claimed]:
    """The companions without those that the user has switched off meanwhile."""
    wanted = []
    for each in companions:
        if rules.is_off(each, channel):
            _switch_off(db, each)
        else:
            wanted.append(each)
    return wanted


def _switch_off(db: Connection, due: Claimed) -> None:
    db.execute(
        "UPDATE deliveries SET state = 'cancelled', due_at = NULL, is_held = 0, reason = ?"
        " WHERE id = ?",
        [SWITCHED_OFF, due.id],
    )


def _unacknowledged(db: Connection, select: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    """The selected rows, without escalations that were acknowledged meanwhile."""
    rows = db.execute(select, values).fetchall()
    while rows and cancel_acknowledged(db, [row[0] for row in rows]):
        rows = db.execute(select, values).fetchall()
    return rows


def _claimed(row: tuple[Any, ...]) -> Claimed:
    *own, preferences, contact_owner, contact = row
    user_id = row[3]
    return Claimed._make(
        [*own, preferences_of(preferences), contact_owner, contact_of(user_id, contact), ()]
    )


def _record(db: Connection, lease: Lease, result: Result) -> dict[int, str]:
    states = {}
    sent_at = result.at if result.state == "sent" else None
    is_counted = result.outcome is not None
    reason = None if is_counted else result.detail or None
    for id_ in result.ids:
        row = db.execute(
            _RECORD, [result.state, result.due_at, sent_at, id_, *lease, int(is_counted), reason]
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
