"""Acknowledgements of notifications: states of deliveries, cancelled escalations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database, Late
from wsserver.storage.messages.message_rows import LAST_OFFSET, OFFSET_BITS

State = Literal["delivered", "read"]

_AMONG = "IN (SELECT value FROM json_each(?))"
_EARLIER = {"delivered": ("sending", "sent"), "read": ("sending", "sent", "delivered")}
"""States from which a delivery changes to the acknowledged one."""
_NOTE = {
    state: "UPDATE deliveries SET state = ?,"  # noqa: S608 - constants only
    " acknowledged_at = coalesce(acknowledged_at, ?)"
    f" WHERE id = ? AND state IN {earlier} RETURNING acknowledged_at"
    for state, earlier in _EARLIER.items()
}
_READ = "UPDATE deliveries SET read_at = ? WHERE id = ? AND read_at IS NULL"
_UNSETTLED = (
    # Conditions of the partial indexes deliveries_open and deliveries_leased.
    "d.state IN ('pending', 'sent') AND (d.state = 'pending' OR d.channel = 'websocket')",
    # What another process is sending just now, that one will settle (``SqlLeases``).
    "d.state = 'sending' AND d.owner NOT IN (SELECT id FROM processes)",
)
_ACKNOWLEDGED_IN_INBOX = f"""
    SELECT d.user_id, d.delivery_id, r.read_at IS NOT NULL,
        coalesce(r.read_at, r.delivered_at, c.at)
    FROM {{deliveries}}
    JOIN messages m ON m.message_id = d.delivery_id
    LEFT JOIN receipts r ON r.key = m.key AND r.user_id = d.user_id
    LEFT JOIN cursors c ON c.stream_id = m.key >> {OFFSET_BITS} AND c.user_id = d.user_id
        AND c."offset" >= m.key & {LAST_OFFSET}
    WHERE {{where}} AND d.channel = 'websocket'
        AND coalesce(r.delivered_at, c.at) IS NOT NULL
    """  # noqa: S608 - constants only
_SELECT_UNNOTED = " UNION ALL ".join(
    _ACKNOWLEDGED_IN_INBOX.format(deliveries="deliveries d", where=unsettled)
    for unsettled in _UNSETTLED
)
_SELECT_OF_ESCALATIONS = _ACKNOWLEDGED_IN_INBOX.format(
    deliveries="deliveries e JOIN deliveries d ON d.notification = e.notification"
    " AND d.user_id = e.user_id",
    where="e.id IN (SELECT value FROM json_each(?)) AND e.unless_acknowledged = 1"
    " AND e.state = 'pending'",
)


class Acknowledgement(NamedTuple):
    """Messages of a user's inbox that were delivered or read; or notifications."""

    user_id: str
    ids: Sequence[str]
    state: State
    at: float
    """Seconds since the epoch."""
    by_notification: bool = False
    """Whether ``ids`` are of notifications."""


class Acknowledged(NamedTuple):
    """A delivery whose state an acknowledgement has changed."""

    delivery_id: str
    after_s: float | None
    """Seconds since it was sent; since it was accepted, if the sending is not recorded yet.
    None: it was acknowledged before.
    """
    read: tuple[str, str] | None = None
    """User and notification, if the user has read it only now."""


class AcknowledgementStore:
    """Stores acknowledgements in the table ``deliveries``.

    All methods raise ``StorageUnavailable``, and ``StorageFull``; nothing is stored then.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def acknowledge(
        self, batch: Sequence[Acknowledgement], late: Late[list[Acknowledged]] | None = None
    ) -> list[Acknowledged]:
        """Mark deliveries as delivered or read, and cancel their escalations.

        Unknown ids, and those of other users' notifications, are skipped. ``late``: see
        ``Database.run``.
        """
        return await self._database.run(
            lambda db: [each for one in batch for each in acknowledge(db, one)], late
        )

    async def messages_of(self, user_id: str, notification_ids: Sequence[str]) -> list[str]:
        """The ids of the messages in a user's inbox with these notifications, oldest first."""
        sql = (
            "SELECT d.delivery_id FROM notifications n"  # noqa: S608 - constants only
            " JOIN deliveries d ON d.notification = n.id AND d.user_id = ?"
            f" WHERE n.notification_id {_AMONG} AND d.channel = 'websocket'"
            " ORDER BY n.id"
        )
        return await self._database.read(
            lambda db: [
                message_id
                for (message_id,) in db.execute(sql, [user_id, db.listed(notification_ids)])
            ]
        )

    async def reconcile(self) -> int:
        """Apply acknowledgements of the inbox that a crash prevented; returns their count.

        For the start, before anything is sent, and when another process is lost. Writes nothing
        if there are none.
        """
        if not await self._database.read(lambda db: db.execute(_SELECT_UNNOTED).fetchone()):
            return 0
        return await self._database.run(_reconcile)


def cancel_acknowledged(db: Connection, ids: Sequence[int]) -> bool:
    """Of due deliveries cancel the escalations whose user has acknowledged; whether there were any.

    To be called by the job that claims them: acknowledgements in the inbox are applied to the
    notifications a moment later, and later still if the node that does it crashes.
    """
    found = db.execute(_SELECT_OF_ESCALATIONS, [db.listed(ids)]).fetchall()
    for user_id, delivery_id, is_read, at in found:
        state: State = "read" if is_read else "delivered"
        acknowledge(db, Acknowledgement(user_id, [delivery_id], state, at))
    return bool(found)


def acknowledge(db: Connection, one: Acknowledgement) -> list[Acknowledged]:
    """Mark the deliveries of a user, and cancel their escalations."""
    changed = []
    for row in _concerned(db, one):
        id_, delivery_id, channel, state, is_later, sent_at, known_at, notification_id = row
        if is_later and state in ("pending", "sending"):
            # A running attempt may finish, but is not followed by another.
            db.execute(
                "UPDATE deliveries SET stops = 1,"
                " state = CASE state WHEN 'pending' THEN 'cancelled' ELSE state END,"
                " due_at = NULL, reason = NULL"
                " WHERE id = ? AND state IN ('pending', 'sending')",
                [id_],
            )
        elif channel == "websocket" and (one.by_notification or delivery_id in one.ids):
            read = None
            if one.state == "read" and state != "pending":
                if db.execute(_READ, [one.at, id_]).rowcount:
                    read = (one.user_id, notification_id)
            noted = None
            if state in _EARLIER[one.state]:
                noted = db.execute(_NOTE[one.state], [one.state, one.at, id_]).fetchone()
            if noted is not None:  # None: another process has noted as much meanwhile
                is_first = known_at is None and noted[0] == one.at
                after_s = one.at - sent_at if is_first else None
                changed.append(Acknowledged(delivery_id, after_s, read))
            elif read is not None:  # its time was over, and the user has read it all the same
                changed.append(Acknowledged(delivery_id, None, read))
    return changed


_Row = tuple[int, str, str, str, int, float, float | None, str]


def _concerned(db: Connection, one: Acknowledgement) -> list[_Row]:
    """The user's deliveries of the acknowledged notifications."""
    ids = db.listed(one.ids)
    if one.by_notification:
        which, values = f"id FROM notifications WHERE notification_id {_AMONG}", [ids]
    else:
        which = f"notification FROM deliveries WHERE delivery_id {_AMONG} AND user_id = ?"
        values = [ids, one.user_id]
    rows: list[_Row] = db.execute(
        "SELECT d.id, d.delivery_id, d.channel, d.state, d.unless_acknowledged,"  # noqa: S608
        " coalesce(d.sent_at, n.at), d.acknowledged_at, n.notification_id"
        " FROM deliveries d JOIN notifications n ON n.id = d.notification"
        f" WHERE d.notification IN (SELECT {which}) AND d.user_id = ? ORDER BY d.id",
        [*values, one.user_id],
    ).fetchall()
    return rows


def _reconcile(db: Connection) -> int:
    found = db.execute(_SELECT_UNNOTED).fetchall()
    for user_id, delivery_id, is_read, at in found:
        # The run that sent it has ended and will not record that.
        db.execute(
            "UPDATE deliveries SET state = 'sent', sent_at = ?, due_at = NULL, owner = NULL,"
            " lease_until = NULL WHERE delivery_id = ? AND state IN ('pending', 'sending')",
            [at, delivery_id],
        )
        state: State = "read" if is_read else "delivered"
        acknowledge(db, Acknowledgement(user_id, [delivery_id], state, at))
    return len(found)
