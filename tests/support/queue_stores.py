"""Adapters of the two stores of delivery queues, so that the same tests run on both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from tests.support.notification_rows import delivery, notification
from wsserver.storage.engine.database import Database
from wsserver.storage.notifications.deliveries import DeliveryStore
from wsserver.storage.notifications.notifications import NotificationStore
from wsserver.storage.tables.webhooks import Posting, WebhookOutbox


class Stored(ABC):
    """A store with two lanes, and the states of its rows."""

    lane: str
    other_lane: str
    store: Any

    @abstractmethod
    async def add(self, *names: str, at: float, lane: str | None = None) -> None:
        """Store deliveries with these ids, due at the time of their acceptance."""

    @abstractmethod
    async def states(self) -> dict[str, str]:
        """``pending``, ``sending``, ``failed``, by id; ``sent`` or missing: sent."""

    @abstractmethod
    async def due_times(self) -> dict[str, float]:
        """When those that wait are due, by id."""


class StoredDeliveries(Stored):
    lane, other_lane = "email", "sms"

    def __init__(self, database: Database) -> None:
        self.database = database
        self.store = DeliveryStore(database)

    async def add(self, *names: str, at: float, lane: str | None = None) -> None:
        for name in names:
            await NotificationStore(self.database).accept(
                notification(name, delivery(name, channel=lane or self.lane, due_at=at), at=at)
            )

    async def states(self) -> dict[str, str]:
        return await self.database.read(
            lambda db: dict(db.conn.execute("SELECT delivery_id, state FROM deliveries").fetchall())
        )

    async def due_times(self) -> dict[str, float]:
        sql = "SELECT delivery_id, due_at FROM deliveries WHERE state = 'pending'"
        return await self.database.read(lambda db: dict(db.conn.execute(sql).fetchall()))


class StoredPostings(Stored):
    lane, other_lane = "https://one.example/", "https://two.example/"

    def __init__(self, database: Database) -> None:
        self.database = database
        self.store = WebhookOutbox(database)

    async def add(self, *names: str, at: float, lane: str | None = None) -> None:
        await self.store.add([Posting(name, lane or self.lane, "e", b"{}", at) for name in names])

    async def states(self) -> dict[str, str]:
        sql = (
            "SELECT posting_id, CASE WHEN due_at IS NULL THEN 'failed'"
            " WHEN owner IS NULL THEN 'pending' ELSE 'sending' END FROM webhook_outbox"
        )
        return await self.database.read(lambda db: dict(db.conn.execute(sql).fetchall()))

    async def due_times(self) -> dict[str, float]:
        sql = "SELECT posting_id, due_at FROM webhook_outbox WHERE owner IS NULL"
        return await self.database.read(lambda db: dict(db.conn.execute(sql).fetchall()))
