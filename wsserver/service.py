"""The life of a server: start, periodic work, health, orderly stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from wsserver.brokers.base import Broker
from wsserver.clock import Clock
from wsserver.config import Settings
from wsserver.errors import WsServerError
from wsserver.identity.keys import KeySource
from wsserver.identity.revocations import Revocations
from wsserver.notifications.queue import GRACE_S, LEASE_PERIOD_S
from wsserver.notifications.webhooks import Webhooks
from wsserver.notifications.wiring import Notifications
from wsserver.realtime.access.members import Members
from wsserver.realtime.access.organizations import EnteredOrganizations
from wsserver.realtime.delivery.trace_buffer import Traces
from wsserver.realtime.delivery_wiring import Deliveries
from wsserver.realtime.inbox.unacked import TICK_S
from wsserver.realtime.manager import WebSocketManager
from wsserver.realtime.observability import events
from wsserver.realtime.observability.alerts import ErrorRateAlert
from wsserver.realtime.observability.statistics import flatten
from wsserver.realtime.streams.streams import Streams
from wsserver.storage.engine.database import Database
from wsserver.storage.maintenance.retention_job import RetentionJob
from wsserver.storage.messages.streams import StreamStore
from wsserver.storage.tables.audit import AuditLog
from wsserver.storage.tables.revocations import RevocationStore
from wsserver.storage.tables.snapshots import Snapshots
from wsserver.tasks import Tasks
from wsserver.wire.poller import Poller

log = logging.getLogger(__name__)

PRUNE_INTERVAL_S = 600.0
SWEEP_INTERVAL_S = 2.0
PROBE_INTERVAL_S = 1.0
LAG_INTERVAL_S = 0.5
LAGGING_S = 1.0
SHORTEST_GRACE_S = 0.5


@dataclass
class Parts:
    """What the service starts, looks after and stops; ``app.build`` puts it together."""

    settings: Settings
    clock: Clock
    tasks: Tasks
    database: Database
    broker: Broker
    poller: Poller
    streams: Streams
    store: StreamStore
    deliveries: Deliveries
    notifications: Notifications
    webhooks: Webhooks
    manager: WebSocketManager
    traces: Traces
    members: Members
    organizations: EnteredOrganizations
    revocations: Revocations
    revocation_store: RevocationStore
    snapshots: Snapshots
    audit: AuditLog
    upkeep: RetentionJob
    keys: KeySource


class LoopLag:
    """How late the event loop comes to what is due: the latest peak, fading."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @property
    def is_high(self) -> bool:
        """Does everybody notice?"""
        return self.seconds >= LAGGING_S

    def note(self, late_s: float) -> None:
        """Take in that something was done so much later than it was due."""
        self.seconds = max(late_s, self.seconds * 0.9)

    async def watch(self, period_s: float = LAG_INTERVAL_S) -> None:
        """Measure again and again, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + period_s
            await asyncio.sleep(period_s)
            self.note(loop.time() - due)


class Service:
    """The whole server but for its HTTP side, which hangs on ``manager`` and friends."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.settings = parts.settings
        self.manager = parts.manager
        self.poller = parts.poller
        self.tasks = parts.tasks
        self._clock = parts.clock
        self._sequence = 0
        self._draining_since: float | None = None
        self.lag = LoopLag()
        settings = parts.settings
        self._alert = ErrorRateAlert(settings.alert_error_rate, settings.alert_window_s)
        self.manager.is_starting = True

    @property
    def is_running(self) -> bool:
        """Has ``start`` succeeded?"""
        return not self.manager.is_starting

    async def start(self) -> None:
        """Open the database, read back what outlived the last run, begin the periodic work.

        Until it is done, all that is asked of a listening server is refused with ``starting``.

        Raises ``DatabaseFault`` for a file that cannot be used, ``StorageUnavailable`` for one that
        cannot be used now; nothing stays open then.
        """
        await self._parts.database.open()
        try:
            await self._read_back()
        except BaseException:
            await self._parts.database.close()
            raise
        self._begin()
        self.manager.is_starting = False

    async def _read_back(self) -> None:
        parts = self._parts
        stored = await parts.revocation_store.all()
        parts.revocations.load(
            [value for kind, value, _ in stored if kind == "jti"],
            [(value, at) for kind, value, at in stored if kind == "user"],
        )
        await parts.members.load()
        await parts.organizations.load()
        await parts.streams.load()
        await parts.broker.start()
        await parts.notifications.start()
        await parts.webhooks.start()

    def _begin(self) -> None:
        log.info("broadcasts are written how=%s", self.poller.how_it_writes)
        for name, period_s, work in (
            ("heartbeat", self.manager.heartbeat.settings.tick_s, self.manager.heartbeat.advance),
            ("monitors", 0.1, self.manager.monitors.advance),
            ("token expiry", 0.5, self.manager.expire_tokens),
            ("inboxes", TICK_S, self._parts.deliveries.inboxes.advance),
            ("sweep", SWEEP_INTERVAL_S, self._parts.deliveries.sweeper.sweep),
            ("known users", 1.0, self._parts.notifications.directory.flush),
            ("expiry", 1.0, self._parts.notifications.queue.expire),
            ("leases", LEASE_PERIOD_S, self._parts.notifications.queue.release),
            ("rates", 1.0, self.manager.statistics.mark),
            ("traces", 1.0, self._parts.traces.expire),
            ("alert", self._alert.period_s, self._watch_errors),
            ("snapshot", self.settings.snapshot_interval_s, self._take_snapshot),
            ("database", PROBE_INTERVAL_S, self._parts.database.probe),
            ("prune", PRUNE_INTERVAL_S, self._prune),
        ):
            self.tasks.spawn(self._repeat(name, period_s, work), name=name)
        self.tasks.spawn(self.lag.watch(), name="loop lag")

    async def drain(self) -> None:
        """Tell everybody to come back, flush the queues, close; let nobody in meanwhile.

        Takes at most ``drain_timeout_s``, whatever the clients do.
        """
        self._draining_since = asyncio.get_running_loop().time()
        self.manager.drain()
        await self.poller.wait_closed(self.settings.drain_timeout_s)

    async def stop(self) -> None:
        """End the periodic work, store the last snapshot, close what is open."""
        self.poller.close()
        await self._parts.notifications.stop(self._grace_s())
        await self._parts.streams.finish()
        await self._parts.deliveries.receipts.settle()
        try:
            await self._parts.notifications.settle()
        except WsServerError as error:
            log.warning("who has connected last not stored error=%s", error)
        await self.tasks.cancel()
        await self._parts.webhooks.stop()
        await self._parts.broker.stop()
        await self._parts.keys.close()
        try:
            await self._take_snapshot()
        except WsServerError as error:
            log.warning("last snapshot not stored error=%s", error)
        except Exception:  # whatever it is, the database has to be closed
            log.exception("last snapshot not taken")
        self._parts.audit.close()
        await self._parts.database.close()

    async def abandon(self) -> None:
        """Release everything after a ``start`` or ``stop`` that was cut short; harmless twice."""
        self.poller.close()
        await self.tasks.cancel()
        await self._parts.webhooks.stop()
        await self._parts.broker.stop()
        await self._parts.keys.close()
        self._parts.audit.close()
        await self._parts.database.close()

    def _grace_s(self) -> float:
        """What the clients have left of ``drain_timeout_s`` for deliveries that are under way."""
        if self._draining_since is None:
            return GRACE_S
        passed_s = asyncio.get_running_loop().time() - self._draining_since
        return min(GRACE_S, max(SHORTEST_GRACE_S, self.settings.drain_timeout_s - passed_s))

    def health(self) -> dict[str, Any]:
        """State and checks, with no secret in them.

        ``status`` is ``ok``, ``degraded`` (somebody should look; it serves unless the check
        ``connections`` says that it is full), ``starting`` or ``draining``.
        """
        manager, parts = self.manager, self._parts
        connections, limit = len(manager.hub), manager.limits.total
        checks: dict[str, dict[str, Any]] = {
            "database": parts.database.health(),
            "broker": parts.broker.health(),
            "connections": {"ok": connections < limit, "open": connections, "limit": limit},
            "loop": {"ok": not self.lag.is_high, "lag_ms": round(self.lag.seconds * 1000, 1)},
            "errors": {
                "ok": not self._alert.is_raised,
                "threshold": self._alert.threshold,
                "window_s": self._alert.window_s,
            },
        }
        if self.settings.webhook_urls:
            checks["webhooks"] = parts.webhooks.health()
        status = "ok" if all(check["ok"] for check in checks.values()) else "degraded"
        if manager.is_starting:
            status = "starting"
        elif manager.is_draining:
            status = "draining"
        return {"status": status, "checks": checks}

    # Periodic work

    async def _repeat(
        self, name: str, period_s: float, work: Callable[[], Awaitable[None] | None]
    ) -> None:
        """Do something again and again; a failure is logged and the next time tried all the same.

        The times are counted from the start, so that the period does not drift; what was missed
        while the process stood still is not made up for.
        """
        loop = asyncio.get_running_loop()
        due = loop.time() + period_s
        while True:
            await asyncio.sleep(due - loop.time())
            try:
                outcome = work()
                if outcome is not None:
                    await outcome
            except WsServerError as error:
                log.warning(
                    "periodic work refused name=%s code=%s error=%s", name, error.code, error
                )
            except Exception:
                log.exception("periodic work failed name=%s", name)
            due = max(due + period_s, loop.time())

    def _watch_errors(self) -> None:
        statistics = self.manager.statistics
        verdict = self._alert.observe(
            self._clock.monotonic(), statistics.errors, statistics.operations
        )
        if verdict.has_changed:
            name = events.ALERT_RAISED if verdict.is_raised else events.ALERT_CLEARED
            log.warning(
                "alert changed name=%s alert=%s rate=%.4f", name, "error_rate", verdict.rate
            )
            self.manager.emit(
                name,
                alert="error_rate",
                value=round(verdict.rate, 6),
                threshold=self._alert.threshold,
                window_s=self._alert.window_s,
            )
            if verdict.is_raised:
                telling = self._parts.notifications.tell_of_alert(
                    verdict.rate, self._alert.threshold
                )
                self.tasks.spawn(telling, name="alert notification")

    async def _take_snapshot(self) -> None:
        self._sequence += 1
        stats = flatten(self.manager.stats())
        await self._parts.snapshots.add(
            {**stats, "timestamp": self._clock.wall(), "sequence": self._sequence}
        )

    async def _prune(self) -> None:
        now = self._clock.wall()
        await self._parts.upkeep.run(now)
        pruned = await self._parts.store.prune(now)
        if pruned.epoch is not None:
            self._parts.streams.forget_all(pruned.epoch)
