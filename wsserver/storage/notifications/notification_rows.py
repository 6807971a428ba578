"""Row types and queries of notifications with their deliveries and attempts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from wsserver.paging import take
from wsserver.storage.engine.connection import Connection

_COLUMNS = (
    "n.id, n.notification_id, n.at, n.expires_at, n.type, n.template, n.content, n.recipients,"
    " n.sender, n.organization_id"
)
_SELECT_DELIVERIES = (
    "SELECT id, delivery_id, user_id, channel, state, due_at, expires_at, unless_acknowledged,"
    " sent_at, acknowledged_at, reason FROM deliveries WHERE notification = ?"
)

ATTEMPTS_LISTED = 50
"""Latest attempts listed of a delivery; more are made only by repeated retries by hand."""
_ARRIVED = ("sent", "delivered", "read")
_ENDED = ("failed", "cancelled", "expired", "not_configured", "no_address")
_STATES = {
    # Literal, so that the planner recognizes the partial indexes.
    **{state: f"d.state = '{state}'" for state in ("pending", "sending", *_ARRIVED)},
    **{state: f"d.state = '{state}' AND d.state IN {_ENDED}" for state in _ENDED},
}


class Attempt(NamedTuple):
    """An attempt at a delivery."""

    number: int
    at: float
    outcome: str
    detail: str


class Delivery(NamedTuple):
    """A delivery with its state."""

    id: int
    delivery_id: str
    user_id: str
    channel: str
    state: str
    due_at: float | None
    expires_at: float
    unless_acknowledged: int
    sent_at: float | None
    acknowledged_at: float | None
    reason: str | None
    """Why it waits or was not sent; None: nothing but its state."""
    attempts: Sequence[Attempt] = ()


class Notification(NamedTuple):
    """A notification with its deliveries."""

    id: int
    notification_id: str
    at: float
    expires_at: float
    type: str
    template: str | None
    content: str
    recipients: str
    sender: str | None
    organization_id: str | None
    deliveries: Sequence[Delivery] = ()
    """Ordered by user; at most 1000, and 4 MiB."""
    states: Mapping[str, int] = {}
    """Count of deliveries by state."""


class Filters(NamedTuple):
    """Filters of notifications; None: any. The last three must match the same delivery."""

    organization_id: str | None = None
    since: float | None = None
    until: float | None = None
    type: str | None = None
    template: str | None = None
    user_id: str | None = None
    channel: str | None = None
    state: str | None = None


def read_one(
    db: Connection, notification_id: str, organization_id: str | None, limit: int
) -> Notification | None:
    """A notification, if it is of that organization (None: of any)."""
    row = db.execute(
        f"SELECT {_COLUMNS} FROM notifications n WHERE n.notification_id = ?1"  # noqa: S608
        " AND (CAST(?2 AS TEXT) IS NULL OR n.organization_id = ?2)",
        [notification_id, organization_id],
    ).fetchone()
    return None if row is None else _whole(db, row, None, limit)


def read_page(
    db: Connection, limit: int, below: int, filters: Filters, deliveries: int
) -> tuple[list[Notification], bool, int]:
    """Page of notifications with a lower key, newest first; whether there are more; total."""
    where, values = _conditions(filters)
    source = f"FROM notifications n WHERE {where}"
    rows = db.execute(
        f"SELECT {_COLUMNS} {source} AND n.id < ? ORDER BY n.id DESC LIMIT ?",
        [*values, below, limit + 1],
    )
    whole = (_whole(db, row, filters.user_id, deliveries) for row in rows)
    found, more = take(whole, limit)
    (total,) = db.execute(f"SELECT count(*) {source}", values).fetchone()
    return found, more, total


def _conditions(filters: Filters) -> tuple[str, list[Any]]:
    own = {
        "n.organization_id = ?": filters.organization_id,
        "n.at >= ?": filters.since,
        "n.at < ?": filters.until,
        "n.type = ?": filters.type,
        "n.template = ?": filters.template,
    }
    texts = ["TRUE", *[text for text, value in own.items() if value is not None]]
    values = [value for value in own.values() if value is not None]
    of_delivery = {"d.user_id = ?": filters.user_id, "d.channel = ?": filters.channel}
    wanted = [text for text, value in of_delivery.items() if value is not None]
    if filters.state is not None:
        wanted.append(_STATES[filters.state])
    if wanted:
        texts.append(_has_delivery(" AND ".join(wanted), filters))
        values += [value for value in of_delivery.values() if value is not None]
    return " AND ".join(texts), values


def _has_delivery(wanted: str, filters: Filters) -> str:
    """Condition by deliveries: start from these if few match, else from the notifications."""
    is_rare = filters.user_id is not None or filters.state not in (None, *_ARRIVED)
    if is_rare:
        return f"n.id IN (SELECT d.notification FROM deliveries d WHERE {wanted})"  # noqa: S608
    found = f"SELECT 1 FROM deliveries d WHERE d.notification = n.id AND {wanted}"  # noqa: S608
    return f"EXISTS ({found})"


def _whole(db: Connection, row: tuple[Any, ...], user_id: str | None, limit: int) -> Notification:
    """A notification's row with its deliveries and their attempts."""
    key = row[0]
    only = "" if user_id is None else " AND user_id = ?"
    values = [key] if user_id is None else [key, user_id]
    deliveries = db.execute(
        f"{_SELECT_DELIVERIES}{only} ORDER BY user_id, id LIMIT ?", [*values, limit]
    ).fetchall()
    states = dict(
        db.execute(
            f"SELECT state, count(*) FROM deliveries WHERE notification = ?{only}"  # noqa: S608
            " GROUP BY state ORDER BY state",
            values,
        ).fetchall()
    )
    attempts: dict[int, list[Attempt]] = {}
    ids = db.listed([each[0] for each in deliveries])
    for delivery, *attempt in db.execute(
        "SELECT a.delivery, a.number, a.at, a.outcome, a.detail"
        " FROM attempts a WHERE a.delivery IN (SELECT value FROM json_each(?))"
        " AND a.number > (SELECT number FROM deliveries WHERE id = a.delivery) - ?"
        " ORDER BY a.delivery, a.number",
        [ids, ATTEMPTS_LISTED],
    ):
        attempts.setdefault(delivery, []).append(Attempt(*attempt))
    whole, _ = take(
        [Delivery._make([*each, attempts.get(each[0], ())]) for each in deliveries], limit
    )
    return Notification._make([*row, whole, states])
