"""Notifications with their deliveries and attempts: accepted, listed, retried, cancelled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, NamedTuple

import msgspec

from wsserver.paging import LARGEST_INT, Page, decode_cursor, encode_cursor
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.notifications.notification_rows import (
    Filters,
    Notification,
    read_one,
    read_page,
)

ONCE_S = 86_400
"""Lifetime of an idempotency key."""
MARKS_KEPT_S = 400 * 86_400
_BATCH_ROWS = 300
_INSERT = (
    "INSERT INTO notifications (notification_id, at, expires_at, type, template, content,"
    " recipients, sender, organization_id, once) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id"
)
_DELIVERY = (
    "notification, delivery_id, user_id, channel, state, due_at, expires_at,"
    " unless_acknowledged, digest"
)
_IS_EMPTY = "NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.notification = notifications.id)"


class NewDelivery(NamedTuple):
    """A delivery of a notification that is about to be accepted; times in epoch seconds."""

    delivery_id: str
    user_id: str
    channel: str
    state: str
    due_at: float | None
    """Time of the first attempt; None: not pending."""
    expires_at: float
    unless_acknowledged: int
    """1: cancelled once the user has acknowledged the notification."""
    digest: str | None = None
    """Key of the digest, where many of one kind are sent as one."""


class Marks(NamedTuple):
    """Marks of once-per-period warnings, kept for 400 days."""

    kind: str
    period: str
    thresholds: Sequence[int]
    """Reached thresholds, ascending: the last one is sent, the others are marked too."""
    scopes: Mapping[str, str]
    """Scope of the marks by user id (``Recipients.account_of``)."""


class NewNotification(NamedTuple):
    """A notification that is about to be accepted."""

    notification_id: str
    at: float
    expires_at: float
    type: str
    template: str | None
    content: str
    """JSON: the parameters of the template, or the texts themselves."""
    recipients: str
    """JSON: the recipients as requested."""
    sender: str | None
    organization_id: str | None
    """Its managers may see the notification."""
    deliveries: Sequence[NewDelivery]
    once: tuple[str, str] | None = None
    """Idempotency scope and key: equal ones within 24 h are the same notification."""
    marks: Marks | None = None


class NotificationCursor(NamedTuple):
    """Cursor: the last row of a page."""

    id: Annotated[int, msgspec.Meta(ge=0, le=LARGEST_INT)]


class NotificationStore:
    """The tables ``notifications``, ``deliveries``, ``attempts`` and ``quota_marks``.

    All methods raise ``StorageUnavailable``; those that write also ``StorageFull``, and then
    nothing of the call is stored.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def accept(self, new: NewNotification) -> str | None:
        """Store a notification with all its deliveries; returns its id.

        With the same ``once`` again, the id of the first one. None: all its marks were set before;
        nothing is stored then.
        """
        return await self._database.run(partial(_accept, new=new))

    async def get(
        self, notification_id: str, organization_id: str | None = None, limit: int = 1000
    ) -> Notification | None:
        """A notification, with at most ``limit`` deliveries; None: not found.

        ``organization_id``: only if its managers may see it.
        """
        return await self._database.read(
            partial(
                read_one,
                notification_id=notification_id,
                organization_id=organization_id,
                limit=limit,
            )
        )

    async def page(
        self, limit: int, cursor: str | None, filters: Filters, deliveries: int = 100
    ) -> Page[Notification]:
        """Notifications that match all filters, newest first; ``deliveries``: limit of each.

        A page also ends at 4 MiB. With ``user_id``, only that user's deliveries. Raises
        ``BadRequest`` for a bad cursor.
        """
        below = LARGEST_INT if cursor is None else decode_cursor(cursor, NotificationCursor).id
        found, more, total = await self._database.read(
            partial(read_page, limit=limit, below=below, filters=filters, deliveries=deliveries)
        )
        next_cursor = encode_cursor(NotificationCursor(found[-1].id)) if more else None
        return Page(found, total, next_cursor)

    async def retry(self, notification_id: str, now: float) -> int:
        """Make dead letters and deliveries without channel or address due again; returns the count.

        Expired ones get the lifetime of the notification again.
        """
        return await self._database.run(partial(_retry, notification_id=notification_id, now=now))

    async def cancel(self, notification_id: str) -> int:
        """Cancel deliveries that were not sent; returns the count.

        A running attempt may finish, but is not followed by another.
        """
        return await self._database.run(partial(_cancel, notification_id=notification_id))

    async def prune(self, now: float, kept_s: float) -> int:
        """Delete notifications older than ``kept_s``, except pending ones.

        In small batches between other writes; returns the count of deliveries.
        """
        run = self._database.run
        deleted = 0
        while batch := await run(partial(_prune_deliveries, before=now - kept_s)):
            deleted += batch
        while await run(partial(_prune_notifications, before=now - kept_s)):
            pass
        await run(partial(_prune_rest, now=now, kept_s=kept_s))
        return deleted


def _accept(db: Connection, new: NewNotification) -> str | None:
    once = None if new.once is None else "\n".join(new.once)
    if once is not None:
        row = db.execute(
            "SELECT notification_id, at FROM notifications WHERE once = ?", [once]
        ).fetchone()
        if row is not None and row[1] > new.at - ONCE_S:
            return str(row[0])
        db.execute("UPDATE notifications SET once = NULL WHERE once = ?", [once])
    deliveries = new.deliveries
    if new.marks is not None:
        new_scopes = _mark(db, new.marks, new.at)
        if not new_scopes:
            return None
        deliveries = [each for each in deliveries if new.marks.scopes[each.user_id] in new_scopes]
    values = [getattr(new, name) for name in new._fields[:9]]
    (key,) = db.execute(_INSERT, [*values, once]).fetchone()
    db.insert("deliveries", _DELIVERY, [(key, *each) for each in deliveries])
    return new.notification_id


def _mark(db: Connection, marks: Marks, at: float) -> set[str]:
    """Set marks; returns the scopes in which the highest threshold is new."""
    new_scopes = set()
    for scope in sorted(set(marks.scopes.values())):
        for threshold in marks.thresholds:
            is_new = db.execute(
                "INSERT INTO quota_marks (scope, kind, period, threshold, at)"
                " VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                [scope, marks.kind, marks.period, threshold, at],
            ).rowcount
            if is_new and threshold == marks.thresholds[-1]:
                new_scopes.add(scope)
    return new_scopes


def _retry(db: Connection, notification_id: str, now: float) -> int:
    row = db.execute(
        "SELECT id, expires_at - at FROM notifications WHERE notification_id = ?",
        [notification_id],
    ).fetchone()
    if row is None:
        return 0
    key, lifetime_s = row
    return db.execute(
        "UPDATE deliveries SET state = 'pending', due_at = ?1, forgiven = number, stops = 0,"
        " expires_at = CASE WHEN expires_at <= ?1 THEN ?2 ELSE expires_at END"
        " WHERE notification = ?3"
        " AND state IN ('failed', 'not_configured', 'no_address')"
        # An acknowledged notification is not escalated.
        " AND NOT (unless_acknowledged = 1 AND EXISTS (SELECT 1 FROM deliveries d"
        " WHERE d.notification = ?3 AND d.user_id = deliveries.user_id"
        " AND d.acknowledged_at IS NOT NULL))",
        [now, now + lifetime_s, key],
    ).rowcount


def _cancel(db: Connection, notification_id: str) -> int:
    of_it = "notification = (SELECT id FROM notifications WHERE notification_id = ?)"
    db.execute(
        f"UPDATE deliveries SET stops = 1 WHERE {of_it} AND state = 'sending'",  # noqa: S608
        [notification_id],
    )
    return db.execute(
        "UPDATE deliveries SET state = 'cancelled', due_at = NULL, reason = NULL"  # noqa: S608
        f" WHERE {of_it} AND state = 'pending'",
        [notification_id],
    ).rowcount


def _prune_deliveries(db: Connection, before: float) -> int:
    """Delete a batch, with the notifications that have no deliveries left."""
    rows = db.execute(
        "SELECT d.id, n.id FROM notifications n JOIN deliveries d ON d.notification = n.id"
        " WHERE n.at < ? AND d.state NOT IN ('pending', 'sending') ORDER BY n.at LIMIT ?",
        [before, _BATCH_ROWS],
    ).fetchall()
    keys = db.listed([key for key, _ in rows])
    owners = db.listed(list(dict.fromkeys(owner for _, owner in rows)))
    gone = "IN (SELECT value FROM json_each(?))"
    db.execute(f"DELETE FROM attempts WHERE delivery {gone}", [keys])  # noqa: S608
    db.execute(f"DELETE FROM deliveries WHERE id {gone}", [keys])  # noqa: S608
    db.execute(f"DELETE FROM notifications WHERE id {gone} AND {_IS_EMPTY}", [owners])  # noqa: S608
    return len(rows)


def _prune_notifications(db: Connection, before: float) -> int:
    """Delete a batch of those that never had any delivery."""
    return db.execute(
        "DELETE FROM notifications WHERE id IN (SELECT id FROM notifications"  # noqa: S608
        f" WHERE at < ? AND {_IS_EMPTY} ORDER BY at LIMIT ?)",
        [before, _BATCH_ROWS],
    ).rowcount


def _prune_rest(db: Connection, now: float, kept_s: float) -> None:
    db.execute("DELETE FROM away_notices WHERE at < ?", [now - kept_s])
    db.execute(
        "UPDATE notifications SET once = NULL WHERE once IS NOT NULL AND at <= ?", [now - ONCE_S]
    )
    db.execute("DELETE FROM quota_marks WHERE at < ?", [now - MARKS_KEPT_S])
