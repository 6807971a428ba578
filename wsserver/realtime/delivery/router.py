"""From a message to the connections it is for: the one path that every push takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, Protocol

from wsserver.brokers.base import NOBODY, Broker, Publication, Receipt
from wsserver.clock import Clock, rfc3339
from wsserver.protocol.ids import new_id
from wsserver.protocol.pushes import push
from wsserver.protocol.targets import Target, TargetType
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.delivery.trace_buffer import Traces
from wsserver.realtime.messages.message import Message, Sent
from wsserver.realtime.observability.statistics import Statistics
from wsserver.realtime.streams.append_queue import Draft, Outcomes
from wsserver.realtime.streams.retention_policy import DEFAULT_RETENTION, Retention, draft_of
from wsserver.realtime.streams.streams import Streams
from wsserver.wire.fanout import encode_for
from wsserver.wire.frames import build_frame
from wsserver.wire.poller import Poller
from wsserver.wire.transport import Transport

_websocket = attrgetter("websocket")

FEW = 16
"""Up to so many recipients get a message at once; collecting saves calls only in larger crowds."""


Select = Callable[[Hub, str], Iterable[ConnectionInfo]]

SELECT: dict[TargetType, Select] = {
    TargetType.BROADCAST: lambda hub, _: hub.connections.values(),
    TargetType.USER: lambda hub, id_: hub.of_user(id_),
    TargetType.SESSION: lambda hub, id_: hub.of_session(id_),
    TargetType.ORGANIZATION: lambda hub, id_: hub.of_organization(id_),
    TargetType.ROLE: lambda hub, id_: hub.of_role(id_),
    TargetType.CONNECTION: lambda hub, id_: (
        [hub.connections[id_]] if id_ in hub.connections else []
    ),
}


class KeptDeliveries(Protocol):
    """What is done about kept messages besides writing them: the inboxes'."""

    def admitted(
        self, publication: Publication, connections: Iterable[ConnectionInfo]
    ) -> list[ConnectionInfo]:
        """Those of a user's connections that are to get a message live."""
        ...

    def delivered(self, publication: Publication, connections: Sequence[ConnectionInfo]) -> None:
        """A kept message was written to these."""


class Router:
    """Encodes each message once, hands it to the broker, and delivers what the broker brings.

    ``send`` and ``post`` are what the rest of the program calls; ``deliver`` is the broker's.
    ``inboxes`` is set by ``app.build()``, as they write through the router.
    """

    inboxes: KeptDeliveries

    def __init__(
        self,
        hub: Hub,
        broker: Broker,
        poller: Poller,
        statistics: Statistics,
        clock: Clock,
        streams: Streams,
        traces: Traces,
        retention: Retention = DEFAULT_RETENTION,
    ) -> None:
        self._hub = hub
        self._broker = broker
        self._poller = poller
        self._statistics = statistics
        self._clock = clock
        self._streams = streams
        self._retention = retention
        self._traces = traces
        broker.subscribe(self.deliver)

    async def send(self, message: Message) -> Sent:
        """Send a message to its target on every node; returns who got it.

        One that is to be kept is stored before it is published: raises ``StorageFull`` or
        ``StorageUnavailable``, and nobody gets it then.
        """
        if message.keep:
            return (await self.keep([message]))[0]
        publication = self._publication(message)
        return Sent(publication.message_id, await self._broker.publish(publication))

    def keep(self, messages: Sequence[Message]) -> Outcomes:
        """Store messages together, then send them; they are in line when this returns.

        What comes of it has one outcome each, or it raises as ``send`` does.
        """
        return self._streams.append([self._draft(message) for message in messages])

    def post(self, message: Message) -> None:
        """Send a signal whose outcome nobody waits for."""
        self._broker.post(self._publication(message))

    def push(self, connection: ConnectionInfo, type_: str, **members: Any) -> None:
        """Push to one connection of this node, past the broker."""
        if connection.is_alive:
            self._statistics.messages_sent += 1
            text = push(type_, rfc3339(self._clock.wall()), **members)
            connection.websocket.send(build_frame(text))

    def push_many(
        self, connections: Iterable[ConnectionInfo], type_: str, /, **members: Any
    ) -> None:
        """Push the same to several connections of this node, past the broker."""
        transports = [c.websocket for c in connections if c.is_alive]
        if transports:
            self._write(transports, push(type_, rfc3339(self._clock.wall()), **members))

    def give(self, connection: ConnectionInfo, text: bytes) -> bool:
        """Write a push that is encoded already to one connection of this node; was it written?"""
        return connection.is_alive and self._write([connection.websocket], text).sent == 1

    def deliver(self, publication: Publication) -> Receipt:
        """Write a publication to this node's connections."""
        if publication.stream:
            return self._deliver_kept(publication)
        return self._deliver_to(publication, self.select(publication))

    def _deliver_kept(self, publication: Publication) -> Receipt:
        """The same for a kept message; who is given it from storage counts as having got it."""
        selected = connections = list(self.select(publication))
        if publication.target.type is TargetType.USER:
            connections = self.inboxes.admitted(publication, selected)
        receipt = self._deliver_to(publication, connections)
        self.inboxes.delivered(publication, connections)
        others = len(selected) - len(connections)
        return receipt + Receipt(others, others) if others else receipt

    def _deliver_to(
        self, publication: Publication, connections: Iterable[ConnectionInfo]
    ) -> Receipt:
        transports = list(map(_websocket, connections))
        receipt = self._write(transports, publication.payload) if transports else NOBODY
        if publication.message_id:
            self._traces.delivered(publication)
            if receipt.sent < len(transports):
                self._traces.failed(publication.message_id, self._broken(publication))
        return receipt

    def _broken(self, publication: Publication) -> list[str]:
        """Those of a publication's connections that a write has found broken, or that have ended.

        None of them has left the hub yet: ends are reported after all writing.
        """
        connections = self.select(publication)
        return [c.connection_id for c in connections if not c.websocket.is_open]

    def _write(self, transports: list[Transport], text: bytes) -> Receipt:
        """One frame, whoever gets it; one more for those who take it compressed.

        When many connections end at once, the first ones are announced while the hub still holds
        the last ones: those are neither meant nor a failure.
        """
        if self._poller.unreported_ends:
            transports = [transport for transport in transports if transport.is_open]
            if not transports:
                return Receipt()
        started = self._clock.monotonic()
        if self._poller.deflates(len(text)):
            sent = self._write_encoded(transports, text)
        else:
            frame = build_frame(text)
            if len(transports) <= FEW:
                sent = sum([transport.send(frame) for transport in transports])
            else:
                sent = self._poller.send_many(transports, frame)
        failed = len(transports) - sent
        self._statistics.delivered(sent, failed, self._clock.monotonic() - started)
        return Receipt(len(transports), sent, failed)

    def _write_encoded(self, transports: list[Transport], text: bytes) -> int:
        """Write to each, compressed for those with compression."""
        encodings = encode_for(text, transports)
        if len(transports) > FEW:
            return self._poller.send_encoded(encodings)
        return sum([transport.send(frame) for group, frame in encodings for transport in group])

    def select(self, publication: Publication) -> Iterable[ConnectionInfo]:
        """The live connections a publication is for."""
        target = publication.target
        organization_id, role = publication.organization_id, publication.role
        excluded = publication.exclude_users
        if target.type is TargetType.BROADCAST and organization_id is not None:
            if not publication.with_unaffiliated:
                # Found by the index, not by looking through the connections of all others.
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

    def _draft(self, message: Message) -> Draft:
        return draft_of(message, self._publication(message), self._retention)

    def _publication(self, message: Message) -> Publication:
        wall = self._clock.wall()
        message_id = message.message_id
        if not message_id and message.is_addressed:
            message_id = new_id("msg", wall)
        members = {"id": message_id, **message.members} if message.is_addressed else message.members
        payload = push(message.type, rfc3339(wall), **members)
        message.size_bytes = len(payload)
        return Publication(
            message_id=message_id,
            type=message.type,
            target=message.target,
            payload=payload,
            organization_id=message.organization_id,
            with_unaffiliated=message.with_unaffiliated,
            role=message.role,
            exclude_users=message.exclude_users,
            origin=message.origin,
            accepted_at=wall,
        )


def _organizations(organization_id: str, with_unaffiliated: bool) -> tuple[str | None, ...]:
    return (organization_id, None) if with_unaffiliated else (organization_id,)
