"""``Recordings``: records what goes over the wires of a user or a session, on all nodes.

Each node records its own connections, with a tap in each of them (``wire/tap.py``); without a
recording there is none. What was recorded is in memory, and read from all nodes page by page.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from msgspec import UNSET, Struct

from wsserver.clock import Clock, rfc3339
from wsserver.cluster.control import Control, Request
from wsserver.cluster.nodes import ANSWER_S, Nodes, unreachable_in
from wsserver.errors import NotFound, RecordingLimit, ValidationFailed
from wsserver.identity.permissions import Permissions
from wsserver.paging import decode_cursor, encode_cursor
from wsserver.protocol.ids import new_id
from wsserver.protocol.requests import RecordingRequest
from wsserver.realtime.access.actor import Actor, Audit, AuditRecorder
from wsserver.realtime.access.tenancy import Scope, Tenancy
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.connections.openings import Openings
from wsserver.realtime.observability.events import (
    RECORDING_ENDED,
    RECORDING_STARTED,
    SESSION_JOINED,
    Event,
    EventBus,
)
from wsserver.realtime.operations.joining import take_part
from wsserver.realtime.operations.recording_buffer import (
    BYTES_LIMIT,
    ConnectionRecorder,
    RecordingBuffer,
    Wanted,
)
from wsserver.wire.poller import Poller

log = logging.getLogger(__name__)

PERMISSION: Final = "connections:record"
RECORDINGS_LIMIT: Final = 20
KEPT_S: Final = 300.0
"""How long a recording that has ended can be read."""
HELD_LIMIT: Final = 100
"""Recordings that a node holds, with those that have ended."""
HELD_LIMIT_BYTES: Final = 128 * 1024 * 1024
"""What they may take together, each that runs with its own limit."""


class StartRecording(Request[int], frozen=True):
    """Record connections of a node; the answer is their number now."""

    is_void_late = True

    wanted: Wanted


class StopRecording(Request[bool], frozen=True):
    """End a recording, and forget it; the answer is whether there was one."""

    recording_id: str


class RecordingPart(Struct, frozen=True):
    """What a node has of a recording: a page of its events, and how many there are."""

    wanted: Wanted
    connections: list[dict[str, Any]]
    events: list[dict[str, Any]]
    count: int
    is_full: bool
    is_running: bool


class ReadRecording(Request[RecordingPart | None], frozen=True):
    """Read events of a recording on a node, from a number on."""

    recording_id: str
    starts: dict[str, int]
    """By node; 0 for others."""
    limit: int


class ListRecordings(Request[list[Wanted]], frozen=True):
    """The recordings that a node has."""


class Held(Struct, frozen=True):
    """How much a node holds in memory."""

    recordings: int
    bytes: int


class CountRecordings(Request[Held], frozen=True):
    """How much a node holds of recordings that run or can still be read."""


@dataclass
class _Running:
    """A recording on this node."""

    buffer: RecordingBuffer
    recorders: dict[str, tuple[ConnectionInfo, ConnectionRecorder]] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None
    is_running: bool = True

    def ended(self, connection_id: str) -> None:
        """A connection has ended."""
        self.recorders.pop(connection_id, None)


class NodeRecordings:
    """Records connections of this node, on request of any node."""

    def __init__(
        self,
        hub: Hub,
        poller: Poller,
        tenancy: Tenancy,
        openings: Openings,
        events: EventBus,
        clock: Clock,
        node: str,
    ) -> None:
        self._hub = hub
        self._poller = poller
        self._tenancy = tenancy
        self._openings = openings
        self._events = events
        self._clock = clock
        self._node = node
        self._running: dict[str, _Running] = {}

    @property
    def _is_recording(self) -> bool:
        """Whether any recording runs; others may be kept to be read."""
        return any(each.is_running for each in self._running.values())

    def register(self, control: Control) -> None:
        """Register all handlers."""
        control.add_handler(StartRecording, self._start)
        control.add_handler(StopRecording, self._forget)
        control.add_handler(ReadRecording, self._read)
        control.add_handler(ListRecordings, self._list)
        control.add_handler(CountRecordings, self._count)

    async def take_part(self, control: Control) -> None:
        """Record also here what other nodes record when this one joins."""
        await take_part(control, ListRecordings(), self._begin)

    def _start(self, request: StartRecording) -> int:
        return self._begin(request.wanted)

    def _begin(self, wanted: Wanted) -> int:
        if wanted.recording_id in self._running:
            return len(self._running[wanted.recording_id].recorders)
        if not self._is_recording:
            self._openings.add(self._opened)
            self._events.add_event_handler(SESSION_JOINED, self._joined)
        running = _Running(RecordingBuffer(wanted, self._clock))
        self._running[wanted.recording_id] = running
        if wanted.user_id is not None:
            found = self._hub.of_user(wanted.user_id)
        else:
            found = self._hub.of_session(wanted.session_id or "")
        for connection in found:
            self._record(running, connection)
        delay_s = max(0.0, wanted.ends_at - self._clock.wall())
        loop = asyncio.get_running_loop()
        running.timer = loop.call_later(delay_s, self._expire, wanted.recording_id)
        log.warning(
            "recording started recording_id=%s user_id=%s session_id=%s by=%s connections=%d",
            wanted.recording_id,
            wanted.user_id,
            wanted.session_id,
            wanted.by,
            len(running.recorders),
        )
        return len(running.recorders)

    def _expire(self, recording_id: str) -> None:
        """End a recording whose time is over; one node reports it."""
        self._end(recording_id)
        wanted = self._running[recording_id].buffer.wanted
        if wanted.node == self._node:
            self._events.emit(RECORDING_ENDED, **_view(wanted))

    def _end(self, recording_id: str) -> None:
        """Record no more; what was recorded can be read for a while."""
        running = self._running.get(recording_id)
        if running is None or not running.is_running:
            return
        self._untap(running)
        loop = asyncio.get_running_loop()
        running.timer = loop.call_later(KEPT_S, self._drop, recording_id)
        log.info("recording ended recording_id=%s events=%d", recording_id, len(running.buffer))

    def _forget(self, request: StopRecording) -> bool:
        self._end(request.recording_id)
        return self._drop(request.recording_id)

    def _drop(self, recording_id: str) -> bool:
        running = self._running.pop(recording_id, None)
        if running is not None and running.timer is not None:
            running.timer.cancel()
        return running is not None

    def _untap(self, running: _Running) -> None:
        running.is_running = False
        if running.timer is not None:
            running.timer.cancel()
        for connection, recorder in list(running.recorders.values()):
            tap = self._poller.tap(connection.websocket)
            if tap is not None:
                tap.forget(recorder)
                self._poller.untap(connection.websocket)
        running.recorders.clear()
        if not self._is_recording:
            self._openings.remove(self._opened)
            self._events.remove_event_handler(SESSION_JOINED, self._joined)

    def _read(self, request: ReadRecording) -> RecordingPart | None:
        running = self._running.get(request.recording_id)
        if running is None:
            return None
        buffer = running.buffer
        start = max(0, request.starts.get(self._node, 0))
        return RecordingPart(
            buffer.wanted,
            list(buffer.connections.values()),
            buffer.page(start, request.limit),
            len(buffer),
            buffer.is_full,
            running.is_running,
        )

    def _list(self, _: ListRecordings) -> list[Wanted]:
        return [running.buffer.wanted for running in self._running.values() if running.is_running]

    def _count(self, _: CountRecordings) -> Held:
        sizes = [
            BYTES_LIMIT if each.is_running else each.buffer.bytes for each in self._running.values()
        ]
        return Held(len(sizes), sum(sizes))

    def _opened(self, connection: ConnectionInfo, pushes: Sequence[bytes]) -> None:
        for running in list(self._running.values()):
            wanted = running.buffer.wanted
            if running.is_running and (
                connection.user_id == wanted.user_id
                or (wanted.session_id is not None and connection.session_id == wanted.session_id)
            ):
                self._record(running, connection, pushes)

    def _joined(self, event: Event) -> None:
        connection = self._hub.connections.get(event["connection_id"])
        if connection is None:
            return
        for running in list(self._running.values()):
            if running.is_running and running.buffer.wanted.session_id == event["session_id"]:
                self._record(running, connection)

    def _record(
        self, running: _Running, connection: ConnectionInfo, pushes: Sequence[bytes] | None = None
    ) -> None:
        scope = self._tenancy.scope(running.buffer.wanted.organization_id)
        if not scope.sees(connection) or connection.connection_id in running.recorders:
            return
        tap = self._poller.tap(connection.websocket)
        if tap is None or not running.buffer.add_connection(connection):
            self._poller.untap(connection.websocket)
            return
        recorder = ConnectionRecorder(running.buffer, connection, running.ended)
        running.recorders[connection.connection_id] = (connection, recorder)
        if pushes is not None:
            recorder.opened(pushes)
        tap.observe(recorder)


class Recordings:
    """Starts, reads and ends recordings on all nodes; each with a check, and an audit entry."""

    def __init__(
        self,
        control: Control,
        nodes: Nodes,
        permissions: Permissions,
        tenancy: Tenancy,
        audit: Audit,
        events: EventBus,
        clock: Clock,
    ) -> None:
        self._control = control
        self._nodes = nodes
        self._permissions = permissions
        self._tenancy = tenancy
        self._audit = AuditRecorder(audit, clock)
        self._events = events
        self._clock = clock

    async def start(self, actor: Actor, request: RecordingRequest) -> dict[str, Any]:
        """Record a user or a session.

        Raises ``ValidationFailed``, ``Forbidden``, ``RecordingLimit``.
        """
        if (request.user_id is UNSET) == (request.session_id is UNSET):
            fault = "exactly one of user_id and session_id is required"
            raise ValidationFailed([{"field": "user_id", "message": fault}])
        user_id = None if request.user_id is UNSET else request.user_id
        session_id = None if request.session_id is UNSET else request.session_id
        target = f"session:{session_id}" if user_id is None else f"user:{user_id}"
        with self._audit.denials(actor, "record", target):
            scope = self._scope(actor)
            if request.contents:
                self._permissions.require(actor.claims, "messages:read")
            if user_id is not None:
                await scope.require_users([user_id])
            else:
                await scope.require_session(session_id or "")
        running = await self._control.ask_all(ListRecordings(), ANSWER_S)
        present = {each.recording_id for some in running.by_node.values() for each in some}
        if len(present) >= RECORDINGS_LIMIT:
            raise RecordingLimit(f"at most {RECORDINGS_LIMIT} recordings run at the same time")
        await self._require_room()
        now = self._clock.wall()
        wanted = Wanted(
            recording_id=new_id("rec", now),
            user_id=user_id,
            session_id=session_id,
            with_contents=request.contents,
            organization_id=scope.organization_id,
            by=actor.claims.sub,
            started_at=now,
            ends_at=now + request.duration_s,
            node=self._control.node,
        )
        answers = await self._control.ask_all(StartRecording(wanted), ANSWER_S)
        self._audit.record(
            actor,
            "record",
            target,
            recording_id=wanted.recording_id,
            duration_s=request.duration_s,
            contents=request.contents,
        )
        self._events.emit(RECORDING_STARTED, **_view(wanted))
        return {
            **_view(wanted),
            "connected": sum(answers.by_node.values()),
            **unreachable_in(answers),
        }

    async def _require_room(self) -> None:
        """Raise ``RecordingLimit`` where a node holds too much already."""
        held = await self._control.ask_all(CountRecordings(), ANSWER_S)
        for node, found in held.by_node.items():
            if found.recordings >= HELD_LIMIT or found.bytes + BYTES_LIMIT > HELD_LIMIT_BYTES:
                raise RecordingLimit(
                    f"node {node} holds {found.recordings} recordings, {found.bytes} bytes;"
                    " delete those that were read"
                )

    async def list(self, actor: Actor) -> dict[str, Any]:
        """The recordings that run now."""
        scope = self._scope(actor)
        answers = await self._control.ask_all(ListRecordings(), ANSWER_S)
        found = {each.recording_id: each for some in answers.by_node.values() for each in some}
        shown = [_view(found[id_]) for id_ in sorted(found) if _is_shown(found[id_], scope)]
        return {"recordings": shown, **unreachable_in(answers)}

    async def read(
        self, actor: Actor, recording_id: str, limit: int, cursor: str | None
    ) -> dict[str, Any]:
        """Events of a recording, those of each node in their order.

        Raises ``NotFound``, ``Forbidden`` for one with contents without the permission to read
        messages.
        """
        scope = self._scope(actor)
        starts = {} if cursor is None else decode_cursor(cursor, dict[str, int])
        answers = await self._control.ask_all(ReadRecording(recording_id, starts, limit), ANSWER_S)
        found = sorted(answers.by_node.items())  # the same on whichever node
        parts = {node: part for node, part in found if part is not None}
        wanted = next((part.wanted for part in parts.values()), None)
        if wanted is None or not _is_shown(wanted, scope):
            raise NotFound("recording", recording_id)
        if wanted.with_contents:
            self._permissions.require(actor.claims, "messages:read")
        reached = dict(starts)
        for node, part in parts.items():
            reached[node] = starts.get(node, 0) + len(part.events)
        return {
            **_view(wanted),
            "is_running": any(part.is_running for part in parts.values()),
            "is_full": any(part.is_full for part in parts.values()),
            "has_more": any(reached[node] < part.count for node, part in parts.items()),
            "connections": [
                {**each, "node": node} for node, part in parts.items() for each in part.connections
            ],
            "events": sorted(
                [event for part in parts.values() for event in part.events],
                key=lambda event: str(event["at"]),
            ),
            "next_cursor": encode_cursor(reached),
            **unreachable_in(answers),
        }

    async def stop(self, actor: Actor, recording_id: str) -> dict[str, Any]:
        """End a recording and forget it; raises ``NotFound``."""
        scope = self._scope(actor)
        found = await self._control.ask_all(ReadRecording(recording_id, {}, 0), ANSWER_S)
        wanted = next((part.wanted for part in found.by_node.values() if part is not None), None)
        if wanted is None or not _is_shown(wanted, scope):
            raise NotFound("recording", recording_id)
        answers = await self._control.ask_all(StopRecording(recording_id), ANSWER_S)
        target = f"user:{wanted.user_id}" if wanted.user_id else f"session:{wanted.session_id}"
        self._audit.record(actor, "record_stop", target, recording_id=recording_id)
        if any(part is not None and part.is_running for part in found.by_node.values()):
            self._events.emit(RECORDING_ENDED, **_view(wanted))
        return {"recording_id": recording_id, "stopped": True, **unreachable_in(answers)}

    def _scope(self, actor: Actor) -> Scope:
        self._permissions.require(actor.claims, PERMISSION)
        return self._tenancy.scope(self._permissions.confined_to(actor.claims))


def _is_shown(wanted: Wanted, scope: Scope) -> bool:
    return scope.organization_id in (None, wanted.organization_id)


def _view(wanted: Wanted) -> dict[str, Any]:
    return {
        "recording_id": wanted.recording_id,
        "user_id": wanted.user_id,
        "session_id": wanted.session_id,
        "contents": wanted.with_contents,
        "by": wanted.by,
        "started_at": rfc3339(wanted.started_at),
        "ends_at": rfc3339(wanted.ends_at),
    }
