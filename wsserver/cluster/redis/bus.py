"""``Bus``: datagrams between the nodes over pub/sub, with a health check along the same path."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
from redis.asyncio.client import PubSub
from redis.exceptions import ConnectionError, RedisError

from wsserver.cluster.redis.link import RedisLink
from wsserver.tasks import Tasks

log = logging.getLogger(__name__)

PROBE_S = 1.0
PROBE_DOWN_S = 0.1
DEAF_S = 3.0
"""Without an own probe for this long the subscription counts as dead, as sockets may hide it."""
BACKOFF_S = (0.1, 0.2, 0.5, 1.0, 2.0)
START_S = 2.0
AT_ONCE = 200
AT_ONCE_BYTES = 1024 * 1024
"""Datagrams in one pipeline; one at least."""
WAITING_LIMIT = 100_000
WAITING_LIMIT_BYTES = 64 * 1024 * 1024
"""Datagrams that may wait to be sent; further ones are dropped."""

HEARD_LIMIT = 1000
"""Names of nodes that are remembered."""


class Datagram(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What is published to a channel."""

    kind: str
    node: str
    """The sender."""
    id: int
    """Links an answer to its request; 0: no answer is wanted."""
    body: bytes


Receive = Callable[[Datagram], None]
Counted = Callable[[int | None], None]
"""Called with the number of nodes that follow a channel; None: it could not be sent."""


class Bus:
    """Sends datagrams to channels, and receives those of the followed channels, in order.

    Nothing is repeated: datagrams are lost while the server is away, and ``on_gap`` is called once
    it is back. A node's own channel and the one of all nodes are always followed.
    """

    def __init__(self, link: RedisLink, node: str) -> None:
        self.node = node
        self.is_up = False
        """Whether own probes come back."""
        self._link = link
        self.all_nodes = link.key("nodes")
        self._own = self.channel_of(node)
        self._wanted: set[str] = {self._own, self.all_nodes}
        self._confirmed: set[str] = set()
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self._outgoing: deque[tuple[str, bytes, Counted | None]] = deque()
        self._has_outgoing = asyncio.Event()
        self._has_changes = asyncio.Event()
        self._has_risen = asyncio.Event()
        self._changes: list[tuple[str, bool]] = []
        self._receivers: dict[str, Receive] = {"probe": self._probed, "echo": self._echoed}
        self._echoes: dict[int, asyncio.Future[None]] = {}
        self._gap_listeners: list[Callable[[], None]] = []
        self._pubsub: PubSub | None = None
        self._tasks = Tasks()
        self._heard_at = 0.0
        self._was_up = False
        self._is_reported = False
        """Whether it is logged that the server is away."""
        self._next_id = 0
        self._outgoing_bytes = 0
        self.heard: dict[str, float] = {}
        """When each node was last heard of, on the clock of the event loop."""
        self.replied_at = 0.0
        """When datagrams were last taken by the server, on the clock of the event loop."""
        self.dropped = 0
        """Datagrams dropped because too many were waiting to be sent."""

    def channel_of(self, node: str) -> str:
        """The channel that one node follows."""
        return self._link.key(f"node:{node}")

    def new_id(self) -> int:
        """A number for a datagram that is to be answered."""
        self._next_id += 1
        return self._next_id

    def on(self, kind: str, receive: Receive) -> None:
        """Register the receiver of a kind of datagram."""
        self._receivers[kind] = receive

    def on_gap(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` when datagrams may have been missed."""
        self._gap_listeners.append(listener)

    async def start(self) -> None:
        """Connect; returns after ``START_S`` at the latest, and goes on trying."""
        if self._tasks:
            return
        for work in (self._read, self._write, self._subscribe, self._probe):
            self._tasks.spawn(work(), name=f"redis{work.__name__}")
        try:
            await asyncio.wait_for(self._has_risen.wait(), START_S)
        except TimeoutError:
            log.warning("redis not reachable yet; trying on")

    async def stop(self) -> None:
        """Send what waits, and disconnect."""
        if not self._tasks:
            return
        for _ in range(20):
            if not self._outgoing or not self.is_up:
                break
            await asyncio.sleep(0.01)
        self.is_up = False
        await self._tasks.end()
        self._fail_outgoing()
        self._confirm_all()

    # Channels

    def follow(self, channel: str) -> None:
        """Receive the datagrams of a channel from soon on."""
        if channel not in self._wanted:
            self._wanted.add(channel)
            self._change(channel, True)

    def unfollow(self, channel: str) -> None:
        """Do not receive them any more."""
        if channel in self._wanted:
            self._wanted.discard(channel)
            self._confirmed.discard(channel)
            self._change(channel, False)

    async def followed(self, channel: str) -> None:
        """Wait until the datagrams of a followed channel arrive.

        Returns also when the server goes away: then nothing arrives, and ``on_gap`` follows.
        """
        if not self.is_up or channel in self._confirmed or channel not in self._wanted:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(channel, []).append(future)
        await future

    # Sending

    def send(self, channel: str, kind: str, body: bytes, id_: int = 0) -> None:
        """Send without waiting; dropped while the server is away."""
        if self.is_up:
            self._enqueue(channel, kind, body, id_, None)

    def send_counted(
        self, channel: str, kind: str, body: bytes, id_: int, counted: Counted
    ) -> None:
        """Send; ``counted`` is called with the number of nodes that follow the channel."""
        if self.is_up:
            self._enqueue(channel, kind, body, id_, counted)
        else:
            counted(None)

    def _enqueue(
        self, channel: str, kind: str, body: bytes, id_: int, counted: Counted | None
    ) -> None:
        data = msgspec.msgpack.encode(Datagram(kind, self.node, id_, body))
        if (
            len(self._outgoing) >= WAITING_LIMIT
            or self._outgoing_bytes + len(data) > WAITING_LIMIT_BYTES
        ):
            self.dropped += 1
            if counted is not None:
                counted(None)
            return
        self._outgoing.append((channel, data, counted))
        self._outgoing_bytes += len(data)
        self._has_outgoing.set()

    def _next_batch(self) -> list[tuple[str, bytes, Counted | None]]:
        batch: list[tuple[str, bytes, Counted | None]] = []
        size = 0
        while self._outgoing and len(batch) < AT_ONCE and size < AT_ONCE_BYTES:
            batch.append(self._outgoing.popleft())
            size += len(batch[-1][1])
        self._outgoing_bytes -= size
        return batch

    async def _write(self) -> None:
        while True:
            await self._has_outgoing.wait()
            batch = self._next_batch()
            if not self._outgoing:
                self._has_outgoing.clear()
            counts: list[Any] = []
            try:
                pipeline = self._link.commands.pipeline(transaction=False)
                for channel, data, _ in batch:
                    pipeline.publish(channel, data)
                counts = await pipeline.execute(raise_on_error=False)
                self.replied_at = asyncio.get_running_loop().time()
            except (RedisError, OSError) as error:
                self._fall(f"sending failed: {error!r}")
            except asyncio.CancelledError:
                self._outgoing.extendleft(reversed(batch))  # ``stop`` answers them
                raise
            for index, (_, _, counted) in enumerate(batch):
                if counted is not None:
                    count = counts[index] if index < len(counts) else None
                    counted(count if isinstance(count, int) else None)

    def _fail_outgoing(self) -> None:
        while self._outgoing:
            _, _, counted = self._outgoing.popleft()
            if counted is not None:
                counted(None)
        self._outgoing_bytes = 0
        self._has_outgoing.clear()

    async def echo(self, timeout_s: float) -> bool:
        """Send a datagram to this node itself; False if it is not back in time.

        Once it is back, the server has passed on all that was sent before it.
        """
        if not self.is_up:
            return False
        id_ = self.new_id()
        future = self._echoes[id_] = asyncio.get_running_loop().create_future()
        self.send(self._own, "echo", b"", id_)
        try:
            await asyncio.wait({future}, timeout=timeout_s)
            return future.done()
        finally:
            del self._echoes[id_]

    def _echoed(self, datagram: Datagram) -> None:
        future = self._echoes.get(datagram.id)
        if future is not None and not future.done():
            future.set_result(None)

    # Receiving

    async def _read(self) -> None:
        attempt = 0
        while True:
            pubsub = self._link.pubsub()
            try:
                await self._receive_all(pubsub)
            except (RedisError, OSError) as error:
                self._fall(f"receiving failed: {error!r}")
            except Exception:
                log.exception("redis subscription failed")
                self._fall("unexpected error")
            finally:
                self._pubsub = None
                try:
                    await pubsub.aclose()  # type: ignore[no-untyped-call]
                except (RedisError, OSError):
                    pass
            await self._link.reset()
            attempt = 0 if self._has_risen.is_set() else attempt + 1
            self._has_risen.clear()
            await asyncio.sleep(BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)])

    async def _receive_all(self, pubsub: PubSub) -> None:
        self._confirmed.clear()
        self._changes.clear()
        await pubsub.subscribe(*self._wanted)
        self._pubsub = pubsub
        self._has_changes.set()  # of the meantime
        loop = asyncio.get_running_loop()
        self._heard_at = loop.time()
        while True:
            message = await pubsub.get_message(timeout=PROBE_S)
            if message is not None:
                self._take(message)
            elif loop.time() - self._heard_at > DEAF_S:
                raise ConnectionError("no own probe was received")
            if loop.time() - self._heard_at > 2 * DEAF_S:  # others' datagrams arrive, own do not
                raise ConnectionError("no own probe was received")

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "subscribe":
            channel = message["channel"].decode()
            if channel in self._wanted:
                self._confirmed.add(channel)
            for future in self._waiting.pop(channel, ()):
                if not future.done():
                    future.set_result(None)
        elif message["type"] == "message":
            try:
                datagram = msgspec.msgpack.decode(message["data"], type=Datagram)
                self._note_sender(datagram.node)
                receive = self._receivers.get(datagram.kind)
                if receive is not None:
                    receive(datagram)
            except Exception:  # one bad datagram must not end the subscription
                log.exception("datagram not handled channel=%s", message["channel"])

    def _note_sender(self, node: str) -> None:
        if node not in self.heard and len(self.heard) >= HEARD_LIMIT:
            self.heard.clear()
        self.heard[node] = asyncio.get_running_loop().time()

    async def _subscribe(self) -> None:
        """Send the changes of subscriptions, many in one command."""
        while True:
            await self._has_changes.wait()
            self._has_changes.clear()
            pubsub, changes = self._pubsub, self._changes
            if pubsub is None:
                continue  # all that is wanted is subscribed on connecting
            self._changes = []
            try:
                while changes:
                    is_wanted = changes[0][1]
                    channels = []
                    while changes and changes[0][1] == is_wanted:
                        channels.append(changes.pop(0)[0])
                    await (
                        pubsub.subscribe(*channels) if is_wanted else pubsub.unsubscribe(*channels)
                    )
            except (RedisError, OSError):
                log.info("subscriptions not changed; the connection is renewed")

    def _change(self, channel: str, is_wanted: bool) -> None:
        self._changes.append((channel, is_wanted))
        self._has_changes.set()

    # Health

    async def _probe(self) -> None:
        while True:
            self._enqueue(self._own, "probe", b"", 0, None)
            await asyncio.sleep(PROBE_S if self.is_up else PROBE_DOWN_S)

    def _probed(self, datagram: Datagram) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        if self.is_up:
            return
        self.is_up = True
        self._is_reported = False
        self._has_risen.set()
        if self._was_up:
            log.info("redis is back")
            for listener in self._gap_listeners:
                listener()
        self._was_up = True

    def _fall(self, reason: str) -> None:
        if not self._is_reported:
            log.warning("redis is away reason=%s", reason)
        self._is_reported = True
        self.is_up = False
        self._fail_outgoing()
        self._confirm_all()

    def _confirm_all(self) -> None:
        for futures in self._waiting.values():
            for future in futures:
                if not future.done():
                    future.set_result(None)
        self._waiting.clear()
