"""What is kept for how long, messages aside: all of it in one run."""

from __future__ import annotations

from wsserver.storage.audit import AuditLog
from wsserver.storage.idempotency import IdempotencyStore
from wsserver.storage.snapshots import Snapshots


class Upkeep:
    """Deletes what has been kept for long enough, in small batches between other writes."""

    def __init__(
        self,
        snapshots: Snapshots,
        idempotency: IdempotencyStore,
        audit: AuditLog,
        *,
        snapshot_retention_days: float,
    ) -> None:
        self._snapshots = snapshots
        self._idempotency = idempotency
        self._audit = audit
        self._snapshot_retention_days = snapshot_retention_days

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
        }
