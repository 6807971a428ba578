"""Stored notifications: builders of rows, and reads of their states."""

from __future__ import annotations

from typing import Any

from wsserver.storage.engine.leased_table import Lease, Result
from wsserver.storage.notifications.deliveries import Claimed, DeliveryStore
from wsserver.storage.notifications.notifications import (
    NewDelivery,
    NewNotification,
    NotificationStore,
)

NOW = 1_700_000_000.0
DAY_S = 86_400.0
LEASE = Lease("me", NOW + 60)


def delivery(
    delivery_id: str, user_id: str = "u1", channel: str = "email", **fields: Any
) -> NewDelivery:
    fields = {
        "state": "pending",
        "due_at": NOW,
        "expires_at": NOW + DAY_S,
        "unless_acknowledged": 0,
        **fields,
    }
    return NewDelivery(delivery_id, user_id, channel, **fields)


def notification(
    notification_id: str, *deliveries: NewDelivery, at: float = NOW, **fields: Any
) -> NewNotification:
    fields = {
        "expires_at": at + DAY_S,
        "type": "info",
        "template": None,
        "content": '{"title":"T","message":"M"}',
        "recipients": '{"user_ids":["u1"]}',
        "sender": "boss",
        "organization_id": None,
        **fields,
    }
    return NewNotification(notification_id, at, deliveries=deliveries, **fields)


async def states(store: NotificationStore, notification_id: str) -> dict[str, str]:
    """The states by delivery id."""
    found = await store.get(notification_id)
    assert found is not None
    return {each.delivery_id: each.state for each in found.deliveries}


async def claim(
    queue: DeliveryStore,
    now: float = NOW,
    channel: str = "email",
    *,
    lease: Lease = LEASE,
    limit: int = 100,
) -> list[Claimed]:
    return await queue.claim(channel, now, limit, lease)


async def record(queue: DeliveryStore, *results: Result, lease: Lease = LEASE) -> dict[int, str]:
    """Record results of what was claimed; the states by id."""
    recorded: dict[int, str] = {}
    for result in results:
        recorded |= await queue.record(lease, result)
    return recorded


def outcome(claimed: Claimed, state: str, at: float = NOW, **fields: Any) -> Result:
    fields = {"outcome": "sent" if state == "sent" else "retry", "due_at": None, **fields}
    return Result(claimed.ids, state, at=at, **fields)
