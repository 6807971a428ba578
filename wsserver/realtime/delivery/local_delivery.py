"""Delivery to this node's connections: selecting them, writing to their transports."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from math import inf
from operator import attrgetter
from typing import Any

from wsserver.clock import Clock, rfc3339
from wsserver.cluster.broker import (
    NO_RECIPIENTS,
    AnswerGrown,
    InboxSettled,
    Outcome,
    Publication,
    PublishResult,
    Push,
    Signal,
    begin_each,
)
from wsserver.protocol.pushes import position_of, push
from wsserver.protocol.targets import Target, TargetType
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.connections.hub import SELECT, Hub
from wsserver.realtime.delivery.interfaces import GrowingAnswers, KeptDeliveries
from wsserver.realtime.delivery.trace_buffer import TraceBuffer
from wsserver.realtime.observability.monitors import Monitors
from wsserver.realtime.observability.statistics import Statistics
from wsserver.realtime.streams.cursors import advancer
from wsserver.wire.fanout import Advance
from wsserver.wire.frames import build_frame
from wsserver.wire.poller import Poller
from wsserver.wire.recipients import Recipients
from wsserver.wire.transport import Transport

_websocket = attrgetter("websocket")
_BROADCAST, _SESSION, _USER = TargetType.BROADCAST, TargetType.SESSION, TargetType.USER
"""Looked up once: in a class of Python 3.11 that takes 0.1 µs each time."""

FEW = 16
"""Up to so many recipients are written to one by one; batching pays off only for more."""


class ConnectionWriter:
    """Encodes pushes and writes them to given connections of this node, past the broker."""

    def __init__(self, poller: Poller, statistics: Statistics, clock: Clock) -> None:
        self._poller = poller
        self._statistics = statistics
        self._clock = clock
        self.now = clock.monotonic
        """Monotonic seconds."""

    def push(self, connection: ConnectionInfo, type_: str, **members: Any) -> None:
        """Push to one connection."""
        if connection.is_alive:
            self._statistics.messages_sent += 1
            text = push(type_, rfc3339(self._clock.wall()), **members)
            connection.websocket.send_text(text)

    def push_encoded(self, connection: ConnectionInfo, text: bytes) -> bool:
        """Write an encoded push to one connection; False if that failed."""
        return connection.is_alive and self.write([connection.websocket], text).sent == 1

    def cork(self) -> None:
        """Combine each connection's pushes into one write until the loop's next turn."""
        self._poller.cork()

    def write(self, transports: list[Transport] | Recipients, text: bytes) -> PublishResult:
        """Write one text to all transports, compressed or as an event where that was negotiated.

        When many connections end at the same time, the first ends are handled while the hub still
        holds the last of them: those count neither as matched nor as failed.
        """
        if self._poller.unreported_ends:
            transports = [transport for transport in transports if transport.is_open]
            if not transports:
                return NO_RECIPIENTS
        started = self._clock.monotonic()
        if self._poller.is_encoded(len(text)):
            sent = self._write_encoded(transports, text)
        else:
            frame = build_frame(text)
            if len(transports) <= FEW:
                sent = 0
                for transport in transports:
                    sent += transport.send(frame)
            else:
                sent = self._poller.send_many(transports, frame)
        failed = len(transports) - sent
        self._statistics.delivered(sent, failed, self._clock.monotonic() - started)
        return PublishResult(len(transports), sent, failed)

    def _write_encoded(self, transports: list[Transport] | Recipients, text: bytes) -> int:
        """Write to each transport in the encoding that was negotiated with it."""
        encodings = self._poller.encode(text, transports, _advance_behind(text))
        if len(transports) > FEW:
            return self._poller.send_encoded(encodings)
        return sum([transport.send(frame) for group, frame in encodings for transport in group])


def _advance_behind(text: bytes) -> Advance | None:
    """How a push moves the cursor of an event stream; None: it has no position in a stream."""
    position = position_of(text)
    if position is None:
        return None
    return advancer(*position)


class LocalDelivery:
    """Receiving side of the broker on this node: writes to its connections and monitors."""

    def __init__(
        self,
        hub: Hub,
        writer: ConnectionWriter,
        kept: KeptDeliveries,
        answers: GrowingAnswers,
        traces: TraceBuffer,
        monitors: Monitors,
    ) -> None:
        self._hub = hub
        self._writer = writer
        self._kept = kept
        self._answers = answers
        self._traces = traces
        self._monitors = monitors

    def signal(self, signal: Signal) -> None:
        """Write a signal to the connections or monitors that it matches, or apply it."""
        if isinstance(signal, InboxSettled):
            self._kept.settled(signal)
            return
        if isinstance(signal, AnswerGrown):
            self._answers.grown(signal)
            return
        if not isinstance(signal, Push):
            self._monitors.show(signal)
            return
        selected: dict[str, Transport] = {}
        for target in signal.targets:
            for connection in SELECT[target.type](self._hub, target.id):
                if (
                    connection.is_alive
                    and not connection.is_monitor
                    and connection.claims.sub != signal.exclude_user
                    and connection.connection_id != signal.exclude_connection
                ):
                    selected[connection.connection_id] = connection.websocket
        if selected:
            self._writer.write(list(selected.values()), signal.payload)

    def deliver(self, publication: Publication) -> PublishResult:
        """Write a publication to this node's connections."""
        if publication.stream:
            return self._deliver_kept(publication)
        if _is_for_everyone(publication):
            return self._deliver_to(publication, self._hub.everyone)
        return self._deliver_to(publication, _transports_of(self.select(publication)))

    def deliver_all(self, publications: Sequence[Publication], until: float = inf) -> list[Outcome]:
        """Write several, in their order, with one write to each connection of few."""
        self._writer.cork()
        deliver = partial(self._deliver_in, _Run(self._hub, self._kept))
        return begin_each(deliver, publications, until, self._writer.now)

    def _deliver_in(self, run: _Run, publication: Publication) -> PublishResult:
        """The same for one of several, where what they have in common is looked up once."""
        if not publication.stream or not _is_for_session(publication):
            return self.deliver(publication)
        connections, transports = run.members_of(publication.target.id)
        result = self._deliver_to(publication, transports)
        if run.observes(publication.sender):
            self._kept.delivered(publication, connections)
        self._answers.delivered(publication)
        return result

    def _deliver_kept(self, publication: Publication) -> PublishResult:
        """The same for a kept message; connections that get it from storage count as sent to."""
        selected = connections = list(self.select(publication))
        if publication.target.type is _USER:
            connections = self._kept.admitted(publication, selected)
        result = self._deliver_to(publication, _transports_of(connections))
        self._kept.delivered(publication, connections)
        self._answers.delivered(publication)
        others = len(selected) - len(connections)
        return result + PublishResult(others, others) if others else result

    def _deliver_to(
        self, publication: Publication, transports: list[Transport] | Recipients
    ) -> PublishResult:
        result = (
            self._writer.write(transports, publication.payload) if transports else NO_RECIPIENTS
        )
        if publication.message_id:
            self._traces.delivered(publication)
            if result.sent < len(transports):
                self._traces.failed(publication.message_id, self._broken(publication))
        return result

    def _broken(self, publication: Publication) -> list[str]:
        """Ids of a publication's connections whose transport is closed.

        All of them are in the hub still: ends are reported after all writing.
        """
        connections = self.select(publication)
        return [c.connection_id for c in connections if not c.websocket.is_open]

    def select(self, publication: Publication) -> Iterable[ConnectionInfo]:
        """The live connections that match a publication's target and filters."""
        target = publication.target
        organization_id, role = publication.organization_id, publication.role
        excluded = publication.exclude_users
        if organization_id is not None and target.type is _BROADCAST:
            if not publication.with_unaffiliated:
                # By the index, instead of a scan of all connections.
                target = Target(TargetType.ORGANIZATION, organization_id)
        selected = SELECT[target.type](self._hub, target.id)
        if organization_id is not None:
            allowed = _organizations(organization_id, publication.with_unaffiliated)
            selected = [c for c in selected if c.claims.organization_id in allowed]
        if role is not None:
            selected = [c for c in selected if c.claims.role == role]
        if excluded:
            selected = [c for c in selected if c.claims.sub not in excluded]
        return selected


class _Run:
    """What is the same for messages that are delivered in one go: nothing changes in between."""

    def __init__(self, hub: Hub, kept: KeptDeliveries) -> None:
        self._hub = hub
        self._kept = kept
        self._members: dict[str, tuple[list[ConnectionInfo], list[Transport]]] = {}
        self._observed: dict[str | None, bool] = {}

    def members_of(self, session_id: str) -> tuple[list[ConnectionInfo], list[Transport]]:
        """The connections in a session, and their transports."""
        found = self._members.get(session_id)
        if found is None:
            connections = list(self._hub.of_session(session_id))
            found = self._members[session_id] = connections, _transports_of(connections)
        return found

    def observes(self, sender: str | None) -> bool:
        """``KeptDeliveries.observes``."""
        found = self._observed.get(sender)
        if found is None:
            found = self._observed[sender] = self._kept.observes(sender)
        return found


def _is_for_session(publication: Publication) -> bool:
    """Whether a publication's target are all connections in a session, without a filter."""
    return (
        publication.target.type is _SESSION
        and publication.organization_id is None
        and publication.role is None
        and not publication.exclude_users
    )


def _is_for_everyone(publication: Publication) -> bool:
    """Whether a publication's target are all connections, without a filter."""
    return (
        publication.target.type is _BROADCAST
        and publication.organization_id is None
        and publication.role is None
        and not publication.exclude_users
    )


def _transports_of(connections: Iterable[ConnectionInfo]) -> list[Transport]:
    return list(map(_websocket, connections))


def _organizations(organization_id: str, with_unaffiliated: bool) -> tuple[str | None, ...]:
    return (organization_id, None) if with_unaffiliated else (organization_id,)
