"""What is kept for how long, messages aside: all of it in one run."""

from __future__ import annotations

from wsserver.storage.notifications.known_users import KnownUserStore
from wsserver.storage.notifications.notifications import NotificationStore
from wsserver.storage.tables.audit import AuditLog
from wsserver.storage.tables.idempotency import IdempotencyStore
from wsserver.storage.tables.snapshots import Snapshots
from wsserver.storage.tables.webhooks import WebhookOutbox

DAY_S = 86_400


class RetentionJob:
    """Deletes what has been kept for long enough, in small batches between other writes."""

    def __init__(
        self,
        snapshots: Snapshots,
        idempotency: IdempotencyStore,
        audit: AuditLog,
        notifications: NotificationStore,
        known_users: KnownUserStore,
        webhooks: WebhookOutbox,
        *,
        snapshot_retention_days: float,
        notification_retention_days: float,
    ) -> None:
        self._snapshots = snapshots
        self._idempotency = idempotency
        self._audit = audit
        self._notifications = notifications
        self._known_users = known_users
        self._webhooks = webhooks
        self._snapshot_retention_days = snapshot_retention_days
        self._notifications_kept_s = notification_retention_days * DAY_S

    async def run(self, now: float) -> dict[str, int]:
        """Apply every limit; answers the rows deleted by table.

        ``now``: seconds since the epoch. Raises ``StorageUnavailable``, ``StorageFull``; the next
        run goes on where this one ended.
        """
        snapshots = await self._snapshots.prune(now, self._snapshot_retention_days)
        return {
            "snapshots": snapshots.averaged,
            "snapshot_hours": snapshots.dropped,
            "idempotency": await self._idempotency.prune(now),
            "audit": await self._audit.prune(now),
            "deliveries": await self._notifications.prune(now, self._notifications_kept_s),
            "known_users": await self._known_users.prune(now),
            "webhook_outbox": await self._webhooks.prune(now),
        }
