"""``Service``: start, periodic work, health check, draining and stop of the server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wsserver.clock import Clock
from wsserver.cluster.broker import Broker
from wsserver.cluster.control import Control
from wsserver.cluster.directory import ConnectionDirectory
from wsserver.cluster.leases import Leases
from wsserver.config import Settings
from wsserver.errors import WsServerError
from wsserver.extending.extension import Part
from wsserver.identity.keys import KeySource
from wsserver.identity.revocations import Revocations
from wsserver.notifications.delivery_queue import GRACE_S, LEASE_PERIOD_S
from wsserver.notifications.publish_hook import PublishHook
from wsserver.notifications.webhooks import Webhooks
from wsserver.notifications.wiring import NotificationSubsystem
from wsserver.realtime.access.memberships import AssignedOrganizations, Members
from wsserver.realtime.answers.owned_answers import TICK_S as ANSWERS_TICK_S
from wsserver.realtime.inbox.unacked import TICK_S
from wsserver.realtime.live_side import LiveSide
from wsserver.realtime.manager import WebSocketManager
from wsserver.realtime.observability import events
from wsserver.realtime.observability.alerts import ErrorRateAlert
from wsserver.realtime.observability.statistics import flatten
from wsserver.realtime.operations.access_changes import POLL_S
from wsserver.realtime.operations.node_queries import DrainNode
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.errors import DatabaseUnusable
from wsserver.storage.engine.extension_schema import ExtensionSchema, UnknownSteps, apply_steps
from wsserver.storage.engine.sql_leases import Fence, LeaseLost
from wsserver.storage.maintenance.pruning import RetentionJob
from wsserver.storage.tables.access_lists import RevocationStore
from wsserver.storage.tables.audit import AuditLog
from wsserver.storage.tables.idempotency import IdempotencyStore
from wsserver.storage.tables.snapshots import Snapshots
from wsserver.tasks import Tasks
from wsserver.telemetry.spans import Telemetry
from wsserver.wire.poller import Poller

log = logging.getLogger(__name__)

PRUNE_INTERVAL_S = 600.0
EXPIRE_INTERVAL_S = 2.0
INDEX_INTERVAL_S = 0.5
AWAY_INTERVAL_S = 0.5
COMPACT_INTERVAL_S = 3600.0
PROBE_INTERVAL_S = 1.0
LAG_INTERVAL_S = 0.5
LAGGING_S = 1.0
FADING_S = 2.0
"""What is left of a longer peak after it was measured once: a process that stood still for long is
well again soon after."""
SHORTEST_GRACE_S = 0.5
SNAPSHOT = "snapshot"
PRUNE = "prune"


class LoopLag:
    """Latency of the event loop: a decaying peak of how late timers fire."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @property
    def is_high(self) -> bool:
        """Whether the latency is a problem for clients."""
        return self.seconds >= LAGGING_S

    def note(self, late_s: float) -> None:
        """Note by how much a timer fired late."""
        self.seconds = max(late_s, min(self.seconds, FADING_S) * 0.9)

    async def watch(self, period_s: float = LAG_INTERVAL_S) -> None:
        """Measure periodically, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + period_s
            await asyncio.sleep(period_s)
            self.note(loop.time() - due)


@dataclass(eq=False, repr=False, kw_only=True)
class Service:
    """The whole server except for its HTTP side: the objects that it starts and stops."""

    settings: Settings
    clock: Clock
    tasks: Tasks
    database: Database
    broker: Broker
    control: Control
    connections: ConnectionDirectory
    leases: Leases
    close_seams: Callable[[], Awaitable[None]]
    poller: Poller
    live: LiveSide
    notifications: NotificationSubsystem
    telemetry: Telemetry
    webhooks: Webhooks
    publish_hook: PublishHook | None
    members: Members
    organizations: AssignedOrganizations
    revocations: Revocations
    revocation_store: RevocationStore
    snapshots: Snapshots
    idempotency: IdempotencyStore
    audit: AuditLog
    retention_job: RetentionJob
    keys: KeySource
    schemas: Sequence[ExtensionSchema] = ()
    """Tables of extensions."""
    parts: Mapping[str, Part] = field(default_factory=dict)
    """The running sides of extensions, by name."""

    def __post_init__(self) -> None:
        self._draining_since: float | None = None
        self._polled_failures = 0
        """Failures of the database after which changes of access lists were looked for."""
        self.on_drain: Callable[[], None] = self._drain_alone
        """What another process's request to drain this node causes: the end of the process."""
        self.control.add_handler(DrainNode, self._drain_asked)
        self.lag = LoopLag()
        self._alert = ErrorRateAlert(self.settings.alert_error_rate, self.settings.alert_window_s)

    @property
    def manager(self) -> WebSocketManager:
        """The ``WebSocketManager``."""
        return self.live.manager

    @property
    def is_running(self) -> bool:
        """Whether ``start`` has succeeded."""
        return not self.manager.is_starting

    async def start(self) -> None:
        """Open the database, load stored state, start the periodic work.

        Until it is done, requests are refused with ``starting``. Raises ``DatabaseUnusable`` for an
        unusable file, ``ClusterUnusable`` for a node that cannot join, ``StorageUnavailable`` for a
        temporary fault; nothing stays open then.
        """
        await self.database.open()
        try:
            await self._load()
        except BaseException:
            await self._leave_cluster()
            await self.database.close()
            raise
        self.leases.add_lost_listener(self._take_over)
        self._begin()
        self.manager.started()

    async def _load(self) -> None:
        await self._migrate_extensions()
        await self.live.access_changes.load()
        stored = await self.revocation_store.all()
        self.revocations.load(
            [value for kind, value, _ in stored if kind == "jti"],
            [(value, at) for kind, value, at in stored if kind == "user"],
        )
        await self.members.load()
        await self.organizations.load()
        await self.live.streams.load()
        self.live.visits.begin()
        await self.connections.start()
        await self.broker.start()
        await self.control.start()
        await self.leases.start()
        await self.live.owned_answers.take_over()
        await self.notifications.start()
        await self.webhooks.start()
        for part in self.parts.values():
            if part.start is not None:
                await part.start()

    async def _migrate_extensions(self) -> None:
        kind, schemas, now = self.database.KIND, self.schemas, self.clock.wall()
        if not schemas:
            return
        try:
            made = await self.database.run(lambda db: apply_steps(db, kind, schemas, now))
        except UnknownSteps as fault:
            raise DatabaseUnusable(
                self.database.location, str(fault), "nothing was changed; run that version"
            ) from None
        for name, steps in made.items():
            log.info("extension tables changed extension=%s steps=%s", name, ",".join(steps))

    def _begin(self) -> None:
        live = self.live
        log.info("broadcast writer how=%s", self.poller.how_it_writes)
        for name, period_s, work in (
            ("answers", ANSWERS_TICK_S, live.owned_answers.advance),
            ("heartbeat", self.manager.heartbeat.settings.tick_s, self.manager.heartbeat.advance),
            ("monitors", 0.1, self.manager.monitors.advance),
            ("token expiry", 0.5, self.manager.expire_tokens),
            ("inboxes", TICK_S, live.inboxes.advance),
            ("known users", 1.0, self.notifications.directory.flush),
            ("leases", LEASE_PERIOD_S, self.notifications.queue.release),
            ("webhook leases", LEASE_PERIOD_S, self.webhooks.release),
            ("rates", 1.0, self.manager.statistics.mark),
            ("idempotency keys", 1.0, self.idempotency.advance),
            ("traces", 1.0, live.traces.expire),
            ("alert", self._alert.period_s, self._watch_errors),
            ("database", PROBE_INTERVAL_S, self.database.probe),
        ):
            self.tasks.spawn(self._repeat(name, period_s, work), name=name)
        self._begin_away()
        for name, period_s, work in (
            ("message expiry", EXPIRE_INTERVAL_S, live.expirer.run),
            ("search index", INDEX_INTERVAL_S, live.search_indexer.run),
            ("search remains", COMPACT_INTERVAL_S, live.search_store.compact),
            ("expiry", 1.0, self.notifications.queue.expire),
            (SNAPSHOT, self.settings.snapshot_interval_s, self._take_next_snapshot),
            (PRUNE, PRUNE_INTERVAL_S, self._prune),
        ):
            self.tasks.spawn(self._repeat(name, period_s, self._for_all(name, work)), name=name)
        for name, part in self.parts.items():
            for job in part.jobs:
                lease = f"{name}: {job.name}"
                work = self._for_all(lease, job.work) if job.for_all else job.work
                self.tasks.spawn(self._repeat(lease, job.period_s, work), name=lease)
        poll = self._repeat("access changes", POLL_S, self._poll_changes)
        self.tasks.spawn(poll, name="access changes")
        for take_part in live.taking_part:
            self.tasks.spawn(take_part(), name="taking part in what runs elsewhere")
        self.tasks.spawn(self.lag.watch(), name="loop lag")

    def _poll_changes(self) -> Awaitable[None] | None:
        """Look for changes that are not in memory: a single process has some after a failure."""
        failures = self.database.write_failures
        if not self.database.is_shared and failures == self._polled_failures:
            return None
        return self._poll_now(failures)

    async def _poll_now(self, failures: int) -> None:
        if await self.live.access_changes.poll():
            self._polled_failures = failures

    def _begin_away(self) -> None:
        """Work for telling absent members of messages, where that is wanted."""
        away, plain_receipts = self.notifications.away, self.live.plain_receipts
        if away is None or plain_receipts is None:
            return
        for name, work in (
            ("users that are back", away.flush),
            ("receipts of plain clients", plain_receipts.advance),
            ("away notices", self._for_all("away notices", away.run)),
        ):
            self.tasks.spawn(self._repeat(name, AWAY_INTERVAL_S, work), name=name)

    async def drain(self) -> None:
        """Refuse new connections, ask clients to reconnect later, flush the queues, close.

        Takes at most ``drain_timeout_s``.
        """
        self._draining_since = asyncio.get_running_loop().time()
        self.manager.drain()
        await self.poller.wait_closed(self.settings.drain_timeout_s)

    def _drain_asked(self, _: DrainNode) -> bool:
        if self._draining_since is None:
            log.warning("draining on request")
            self.on_drain()
        return True

    def _drain_alone(self) -> None:
        """Drain inside another program, which may stop the server then."""
        self.tasks.spawn(self.drain(), name="drain")

    async def stop(self) -> None:
        """Stop the periodic work, store the last snapshot, close the database."""
        self.poller.close()
        await self._stop_extensions()
        await self.notifications.stop(self._grace_s())
        await self.live.streams.finish()
        await self.live.positions.finish()
        self.live.visits.flush()
        await self.live.receipts.settle()
        try:
            await self.live.owned_answers.stop()
            await self.notifications.settle()
        except WsServerError as error:
            log.warning("last answers, acknowledgements and known users not stored error=%s", error)
        await self.tasks.cancel()
        await self.webhooks.stop()
        await self.telemetry.close()
        await self.keys.close()
        try:
            if self.leases.holds(SNAPSHOT):
                await self._take_snapshot()
        except (WsServerError, LeaseLost) as error:
            log.warning("last snapshot not stored error=%s", error)
        except Exception:  # the database has to be closed in any case
            log.exception("last snapshot not taken")
        await self._leave_cluster()
        self.audit.close()
        await self.database.close()

    async def _stop_extensions(self) -> None:
        for name, part in self.parts.items():
            if part.stop is None:
                continue
            try:
                await part.stop()
            except Exception:  # the edge to foreign code: the rest has to be stopped all the same
                log.exception("extension not stopped name=%s", name)

    async def _leave_cluster(self) -> None:
        """Disconnect from the other nodes; harmless twice."""
        seams = (self.leases, self.control, self.broker, self.connections)
        for stop in (*(seam.stop for seam in seams), self.close_seams):
            try:
                await stop()
            except Exception:  # the others have to be left all the same, and the database closed
                log.exception("cluster not left name=%s", stop.__qualname__)
        await self.tasks.cancel()  # what notices of other nodes have begun until now

    async def abandon(self) -> None:
        """Release everything after a ``start`` or ``stop`` that was cut short; harmless twice."""
        self.poller.close()
        await self._stop_extensions()
        await self.tasks.cancel()
        await self.webhooks.stop()
        await self.telemetry.close()
        await self._leave_cluster()
        await self.keys.close()
        self.audit.close()
        await self.database.close()

    def _grace_s(self) -> float:
        """The rest of ``drain_timeout_s``, for running deliveries of notifications."""
        if self._draining_since is None:
            return GRACE_S
        passed_s = asyncio.get_running_loop().time() - self._draining_since
        return min(GRACE_S, max(SHORTEST_GRACE_S, self.settings.drain_timeout_s - passed_s))

    def health(self) -> dict[str, Any]:
        """State and checks, without secrets.

        ``status`` is ``ok``, ``degraded`` (a check failed; the server still serves, unless the
        check ``connections`` failed), ``starting`` or ``draining``.
        """
        manager = self.manager
        connections, limit = len(manager.hub), manager.limits.total
        checks: dict[str, dict[str, Any]] = {
            "database": self.database.health(),
            "broker": self.broker.health(),
            "connections": {"ok": connections < limit, "open": connections, "limit": limit},
            "loop": {"ok": not self.lag.is_high, "lag_ms": round(self.lag.seconds * 1000, 1)},
            "errors": {
                "ok": not self._alert.is_raised,
                "threshold": self._alert.threshold,
                "window_s": self._alert.window_s,
            },
        }
        if self.settings.webhook_urls:
            checks["webhooks"] = self.webhooks.health()
        if self.publish_hook is not None:
            checks["publish_hook"] = self.publish_hook.health()
        status = "ok" if all(check["ok"] for check in checks.values()) else "degraded"
        if manager.is_starting:
            status = "starting"
        elif manager.is_draining:
            status = "draining"
        return {"status": status, "checks": checks}

    # Periodic work

    def _take_over(self) -> None:
        """Go on with what another node was doing, without waiting for the next period."""
        for name, work in (
            ("deliveries", self.notifications.resume),
            ("answers", self.live.owned_answers.take_over),
            ("webhooks", self.webhooks.release),
        ):
            self.tasks.spawn(self._once(name, work), name=f"take over {name}")

    async def _once(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except WsServerError as error:  # periodic work will do it
            log.warning("not taken over yet name=%s code=%s error=%s", name, error.code, error)

    def _for_all(
        self, name: str, work: Callable[[], Awaitable[None] | None]
    ) -> Callable[[], Awaitable[None] | None]:
        """Work that one node does for all: skipped unless this node holds the lease ``name``."""
        leases = self.leases
        leases.holds(name)  # a candidate from the start

        async def attempt(begun: Awaitable[None]) -> None:
            try:
                await begun
            except LeaseLost as error:
                log.info("periodic work left to another process name=%s error=%s", name, error)

        def work_for_all() -> Awaitable[None] | None:
            outcome = work() if leases.holds(name) else None
            return None if outcome is None else attempt(outcome)

        return work_for_all

    async def _repeat(
        self, name: str, period_s: float, work: Callable[[], Awaitable[None] | None]
    ) -> None:
        """Call ``work`` periodically; errors are logged and do not end it.

        The period does not drift; calls missed while the process stood still are skipped.
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
                    "periodic work failed name=%s code=%s error=%s", name, error.code, error
                )
            except Exception:
                log.exception("periodic work failed name=%s", name)
            due = max(due + period_s, loop.time())

    def _watch_errors(self) -> None:
        statistics = self.manager.statistics
        verdict = self._alert.observe(
            self.clock.monotonic(), statistics.errors, statistics.operations
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
                notice = self.notifications.send_alert(verdict.rate, self._alert.threshold)
                self.tasks.spawn(notice, name="alert notification")

    def _fence(self, name: str) -> Fence:
        return Fence(name, self.leases.fence(name))

    async def _take_next_snapshot(self) -> None:
        """Unless another node, which held the lease before, has taken one in this period."""
        await self._take_snapshot(self.settings.snapshot_interval_s / 2)

    async def _take_snapshot(self, not_within_s: float = 0.0) -> None:
        stats = flatten(await self.live.cluster_statistics.read())
        stats.pop("unreachable", None)
        stats["timestamp"] = self.clock.wall()
        await self.snapshots.add(stats, self._fence(SNAPSHOT), not_within_s=not_within_s)

    async def _prune(self) -> None:
        now = self.clock.wall()
        await self.retention_job.run(now, self._fence(PRUNE))
        pruned = await self.live.store.prune(now)
        if pruned.epoch is not None:
            self.live.streams.forget_all(pruned.epoch)
            self.live.positions.forget_all()
        await self.database.empty_log()
