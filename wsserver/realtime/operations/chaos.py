"""``Chaos``: disturbs the connections of named users, to try a client in a bad network.

Only where the setting ``chaos`` allows it. Each node disturbs its own connections, through the same
taps as recordings (``wire/tap.py``); the connections of all other users have none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from msgspec import Struct

from wsserver.clock import Clock, rfc3339
from wsserver.cluster.control import Control, Request
from wsserver.cluster.nodes import ANSWER_S, unreachable_in
from wsserver.errors import ChaosDisabled, Forbidden, NotFound, ValidationFailed
from wsserver.identity.permissions import Permissions
from wsserver.protocol.requests import ChaosRequest
from wsserver.realtime.access.actor import Actor, Audit, AuditRecorder
from wsserver.realtime.access.tenancy import Scope, Tenancy
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.connections.openings import Openings
from wsserver.realtime.observability.events import CHAOS_CHANGED, EventBus
from wsserver.realtime.operations.joining import take_part
from wsserver.wire.poller import Poller
from wsserver.wire.tap import CALM, Disturbance

log = logging.getLogger(__name__)

PERMISSION: Final = "connections:disconnect"


class Disturbed(Struct, frozen=True):
    """A user whose connections are disturbed, and how."""

    user_id: str
    organization_id: str | None
    """Only connections of this organization; None: all."""
    by: str
    ends_at: float
    """Seconds since the epoch."""
    delay_ms: float
    jitter_ms: float
    drop: float
    bytes_per_s: float
    cut_every_s: float
    direction: str

    def disturbance(self) -> Disturbance:
        """The same for a tap."""
        return Disturbance(
            delay_s=self.delay_ms / 1000,
            jitter_s=self.jitter_ms / 1000,
            drop=self.drop,
            bytes_per_s=self.bytes_per_s,
            cut_every_s=self.cut_every_s,
            to_client=self.direction != "from_client",
            from_client=self.direction != "to_client",
        )

    @property
    def is_calm(self) -> bool:
        """Whether it does nothing."""
        given = (self.delay_ms, self.jitter_ms, self.drop, self.bytes_per_s, self.cut_every_s)
        return not any(given)


class DisturbUser(Request[int], frozen=True):
    """Disturb a user's connections on a node; the answer is their number now."""

    is_void_late = True

    disturbed: Disturbed
    cut_now: bool


class CalmUser(Request[bool], frozen=True):
    """Disturb them no longer; the answer is whether they were."""

    user_id: str


class ListDisturbed(Request[list[Disturbed]], frozen=True):
    """The users whose connections a node disturbs."""


@dataclass
class _Running:
    disturbed: Disturbed
    timer: asyncio.TimerHandle


class NodeChaos:
    """Disturbs connections of this node, on request of any node."""

    def __init__(
        self, hub: Hub, poller: Poller, tenancy: Tenancy, openings: Openings, clock: Clock
    ) -> None:
        self._hub = hub
        self._poller = poller
        self._tenancy = tenancy
        self._openings = openings
        self._clock = clock
        self._running: dict[str, _Running] = {}

    def register(self, control: Control) -> None:
        """Register all handlers."""
        control.add_handler(DisturbUser, self._disturb)
        control.add_handler(CalmUser, lambda request: self._calm(request.user_id))
        control.add_handler(ListDisturbed, self._list)

    async def take_part(self, control: Control) -> None:
        """Disturb also here whom other nodes disturb when this one joins."""
        await take_part(control, ListDisturbed(), self._join)

    def _join(self, disturbed: Disturbed) -> None:
        if disturbed.user_id not in self._running:
            self._disturb(DisturbUser(disturbed, cut_now=False))

    def _disturb(self, request: DisturbUser) -> int:
        disturbed = request.disturbed
        connections = self._connections_of(disturbed)
        self._calm(disturbed.user_id)
        if not disturbed.is_calm:
            if not self._running:
                self._openings.add(self._opened)
            delay_s = max(0.0, disturbed.ends_at - self._clock.wall())
            timer = asyncio.get_running_loop().call_later(delay_s, self._calm, disturbed.user_id)
            self._running[disturbed.user_id] = _Running(disturbed, timer)
            for connection in connections:
                self._tap(connection, disturbed.disturbance())
        log.warning(
            "connections disturbed user_id=%s by=%s connections=%d cut=%s",
            disturbed.user_id,
            disturbed.by,
            len(connections),
            request.cut_now,
        )
        if request.cut_now:
            for connection in connections:
                tap = self._poller.tap(connection.websocket)
                if tap is not None:
                    tap.cut()
        return len(connections)

    def _calm(self, user_id: str) -> bool:
        running = self._running.pop(user_id, None)
        if running is None:
            return False
        running.timer.cancel()
        for connection in self._hub.of_user(user_id):
            tap = self._poller.tap_of(connection.websocket)
            if tap is not None:
                tap.disturb(CALM)
                self._poller.untap(connection.websocket)
        if not self._running:
            self._openings.remove(self._opened)
        return True

    def _list(self, _: ListDisturbed) -> list[Disturbed]:
        return [running.disturbed for running in self._running.values()]

    def _opened(self, connection: ConnectionInfo, _: Sequence[bytes]) -> None:
        running = self._running.get(connection.user_id)
        if running is not None and connection in self._connections_of(running.disturbed):
            self._tap(connection, running.disturbed.disturbance())

    def _connections_of(self, disturbed: Disturbed) -> list[ConnectionInfo]:
        scope = self._tenancy.scope(disturbed.organization_id)
        return scope.filter(self._hub.of_user(disturbed.user_id))

    def _tap(self, connection: ConnectionInfo, disturbance: Disturbance) -> None:
        tap = self._poller.tap(connection.websocket)
        if tap is not None:
            tap.disturb(disturbance)


class Chaos:
    """Disturbs users on all nodes; with a check of permission and scope, and an audit entry.

    ``is_enabled``: the setting ``chaos``; without it everything raises ``ChaosDisabled``.
    """

    def __init__(
        self,
        is_enabled: bool,
        control: Control,
        permissions: Permissions,
        tenancy: Tenancy,
        audit: Audit,
        events: EventBus,
        clock: Clock,
    ) -> None:
        self._is_enabled = is_enabled
        self._control = control
        self._permissions = permissions
        self._tenancy = tenancy
        self._audit = AuditRecorder(audit, clock)
        self._events = events
        self._clock = clock

    async def disturb(self, actor: Actor, user_id: str, request: ChaosRequest) -> dict[str, Any]:
        """Disturb a user's connections, those of now and those to come, for a while.

        Raises ``NotFound`` for a user outside of the scope, ``ValidationFailed``, and ``Forbidden``
        where it would replace a disturbance from outside of the scope.
        """
        target = f"user:{user_id}"
        with self._audit.denials(actor, "chaos", target):
            scope = self._scope(actor)
            await scope.find_user(user_id)
            await self._require_own(scope, user_id)
        disturbed = Disturbed(
            user_id=user_id,
            organization_id=scope.organization_id,
            by=actor.claims.sub,
            ends_at=self._clock.wall() + request.duration_s,
            delay_ms=request.delay_ms,
            jitter_ms=request.jitter_ms,
            drop=request.drop,
            bytes_per_s=request.bytes_per_s,
            cut_every_s=request.cut_every_s,
            direction=request.direction,
        )
        if disturbed.is_calm and not request.cut_now:
            fault = "one of delay_ms, jitter_ms, drop, bytes_per_s, cut_every_s, cut_now is needed"
            raise ValidationFailed([{"field": "delay_ms", "message": fault}])
        answers = await self._control.ask_all(DisturbUser(disturbed, request.cut_now), ANSWER_S)
        shown = _view(disturbed)
        self._audit.record(
            actor,
            "chaos",
            target,
            cut_now=request.cut_now,
            duration_s=request.duration_s,
            **{name: shown[name] for name in _SHOWN},
        )
        self._events.emit(CHAOS_CHANGED, **shown, cut_now=request.cut_now)
        count = sum(answers.by_node.values())
        return {**shown, "cut_now": request.cut_now, "connected": count, **unreachable_in(answers)}

    async def calm(self, actor: Actor, user_id: str) -> dict[str, Any]:
        """End a disturbance.

        Raises ``NotFound`` if there is none, ``Forbidden`` for one from outside of the scope.
        """
        target = f"user:{user_id}"
        with self._audit.denials(actor, "chaos_end", target):
            scope = self._scope(actor)
            await scope.find_user(user_id)
            await self._require_own(scope, user_id)
        answers = await self._control.ask_all(CalmUser(user_id), ANSWER_S)
        if not any(answers.by_node.values()):
            raise NotFound("disturbance of user", user_id)
        self._audit.record(actor, "chaos_end", target)
        self._events.emit(CHAOS_CHANGED, user_id=user_id, by=actor.claims.sub, ends_at=None)
        return {"user_id": user_id, "ended": True, **unreachable_in(answers)}

    async def list(self, actor: Actor) -> dict[str, Any]:
        """The users whose connections are disturbed now."""
        scope = self._scope(actor)
        answers = await self._control.ask_all(ListDisturbed(), ANSWER_S)
        found = {each.user_id: each for some in answers.by_node.values() for each in some}
        shown = [
            _view(found[user_id])
            for user_id in sorted(found)
            if scope.organization_id in (None, found[user_id].organization_id)
        ]
        return {"disturbed": shown, **unreachable_in(answers)}

    async def _require_own(self, scope: Scope, user_id: str) -> None:
        """Raise ``Forbidden`` if a user is disturbed by who is not confined to the scope."""
        if scope.organization_id is None:
            return
        answers = await self._control.ask_all(ListDisturbed(), ANSWER_S)
        for found in (each for some in answers.by_node.values() for each in some):
            if found.user_id == user_id and found.organization_id != scope.organization_id:
                raise Forbidden(f"user {user_id} is disturbed by {found.by}, for all organizations")

    def _scope(self, actor: Actor) -> Scope:
        self._permissions.require(actor.claims, PERMISSION)
        if not self._is_enabled:
            raise ChaosDisabled
        return self._tenancy.scope(self._permissions.confined_to(actor.claims))


_SHOWN: Final = ("delay_ms", "jitter_ms", "drop", "bytes_per_s", "cut_every_s", "direction")


def _view(disturbed: Disturbed) -> dict[str, Any]:
    return {
        "user_id": disturbed.user_id,
        **{name: getattr(disturbed, name) for name in _SHOWN},
        "by": disturbed.by,
        "ends_at": rfc3339(disturbed.ends_at),
    }
