"""``RedisBroker``: publishes to the nodes that follow a target's channel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from wsserver.cluster.broker import (
    NO_RECIPIENTS,
    Node,
    Publication,
    PublishResult,
    Push,
    Signal,
)
from wsserver.cluster.redis.bus import Bus, Datagram
from wsserver.cluster.redis.link import RedisLink
from wsserver.protocol.targets import Target, TargetType

RESULTS_S = 0.15
"""Time for the results of other nodes."""
FOLLOWED = {TargetType.USER, TargetType.SESSION, TargetType.ORGANIZATION}
"""Targets with a channel each; messages for others go to all nodes."""

_publication = msgspec.msgpack.Decoder(Publication)
_signal = msgspec.msgpack.Decoder(Signal)
_result = msgspec.msgpack.Decoder(PublishResult)


@dataclass(slots=True)
class _Pending:
    """A publication whose results are awaited."""

    result: PublishResult
    done: asyncio.Future[None]
    received: int = 0
    expected: int | None = None
    """Number of nodes that follow the channel, this one included; None: not known yet."""

    def add(self, result: PublishResult) -> None:
        self.result = self.result + result
        self.received += 1
        self.settle()

    def settle(self) -> None:
        if self.expected is not None and self.received >= self.expected and not self.done.done():
            self.done.set_result(None)


class RedisBroker:
    """Delivers on this node directly, and to other nodes by pub/sub.

    ``PUBLISH`` answers how many nodes follow the channel, so it is known how many results to wait
    for. While Redis is away only this node's connections are reached.
    """

    def __init__(self, bus: Bus, link: RedisLink) -> None:
        self._bus = bus
        self._link = link
        self._nodes: list[Node] = []
        self._pending: dict[int, _Pending] = {}
        bus.on("publish", self._published)
        bus.on("signal", self._signalled)
        bus.on("result", self._resulted)

    def subscribe(self, node: Node) -> None:
        """Register the receiving side of this node."""
        self._nodes.append(node)

    async def start(self) -> None:
        """Connect."""
        await self._bus.start()

    async def stop(self) -> None:
        """Disconnect."""
        await self._bus.stop()
        self._nodes.clear()

    def follow(self, target: Target) -> None:
        """Subscribe to the channel of a target."""
        self._bus.follow(self._channel_of(target))

    def unfollow(self, target: Target) -> None:
        """Unsubscribe."""
        self._bus.unfollow(self._channel_of(target))

    async def followed(self, target: Target) -> None:
        """Wait until the channel is subscribed."""
        await self._bus.followed(self._channel_of(target))

    def add_gap_listener(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` after a reconnect."""
        self._bus.on_gap(listener)

    def post(self, publication: Publication) -> None:
        """Publish without waiting for the result."""
        self._deliver(publication)
        body = msgspec.msgpack.encode(publication)
        self._bus.send(self._channel_of(publication.target), "publish", body)

    def signal(self, signal: Signal) -> None:
        """Publish a signal."""
        for node in self._nodes:
            node.signal(signal)
        channel = self._bus.all_nodes
        if isinstance(signal, Push) and len(signal.targets) == 1:
            channel = self._channel_of(signal.targets[0])
        self._bus.send(channel, "signal", msgspec.msgpack.encode(signal))

    async def publish(self, publication: Publication) -> PublishResult:
        """Publish; returns the sum of the results that arrive within ``RESULTS_S``."""
        result = self._deliver(publication)
        if not self._bus.is_up:
            return result
        id_ = self._bus.new_id()
        loop = asyncio.get_running_loop()
        pending = self._pending[id_] = _Pending(result, loop.create_future())
        try:
            channel = self._channel_of(publication.target)
            body = msgspec.msgpack.encode(publication)
            pending.expected = await self._bus.send_counted(channel, "publish", body, id_)
            pending.settle()
            if not pending.done.done():
                await asyncio.wait({pending.done}, timeout=RESULTS_S)
            return pending.result
        finally:
            del self._pending[id_]

    def health(self) -> dict[str, object]:
        """Whether own messages come back, and the server is as it has to be; ``last_error``."""
        fault = self._link.fault
        if fault is None and not self._bus.is_up:
            fault = "own messages do not come back"
        return {"ok": fault is None, "kind": "redis", "last_error": fault}

    def _deliver(self, publication: Publication) -> PublishResult:
        results = [node.deliver(publication) for node in self._nodes]
        return results[0] if len(results) == 1 else sum(results, NO_RECIPIENTS)

    def _published(self, datagram: Datagram) -> None:
        if datagram.node == self._bus.node:  # delivered before it was sent
            if datagram.id in self._pending:
                self._pending[datagram.id].add(NO_RECIPIENTS)
            return
        result = self._deliver(_publication.decode(datagram.body))
        if datagram.id:
            channel = self._bus.channel_of(datagram.node)
            self._bus.send(channel, "result", msgspec.msgpack.encode(result), datagram.id)

    def _signalled(self, datagram: Datagram) -> None:
        if datagram.node != self._bus.node:
            signal = _signal.decode(datagram.body)
            for node in self._nodes:
                node.signal(signal)

    def _resulted(self, datagram: Datagram) -> None:
        pending = self._pending.get(datagram.id)
        if pending is not None:
            pending.add(_result.decode(datagram.body))

    def _channel_of(self, target: Target) -> str:
        if target.type not in FOLLOWED:
            return self._bus.all_nodes
        return self._link.key(str(target))
