"""``Bus``: datagrams between the nodes over pub/sub, with a health check along the same path."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from itertools import groupby
from operator import itemgetter

import msgspec
from redis.exceptions import ConnectionError, RedisError

from wsserver.cluster.redis.link import RedisLink
from wsserver.cluster.redis.outgoing import Batch, Datagram, OutgoingQueue
from wsserver.cluster.redis.pubsub_connection import PubSubConnection
from wsserver.tasks import Tasks

log = logging.getLogger(__name__)

PROBE_S = 1.0
PROBE_DOWN_S = 0.1
DEAF_S = 3.0
DEAF_PROBES = 3
"""Without an own probe for this long, and after so many, the subscription counts as dead, as
sockets may hide it. Time alone may have passed in a standstill of this process."""
BACKOFF_S = (0.1, 0.2, 0.5, 1.0, 2.0)
START_S = 2.0
HEARD_LIMIT = 1000
"""Names of nodes that are remembered."""


_datagram = msgspec.msgpack.Decoder(Datagram)

Receive = Callable[[Datagram], None]


class Bus:
    """Sends datagrams to channels, and receives those of the followed channels, in order.

    Nothing is repeated: datagrams are lost while the server is away, and ``on_gap`` is called once
    it is back. A node's own channel and the one of all nodes are always followed. ``may_join``:
    whether all nodes read datagrams with several bodies.
    """

    def __init__(self, link: RedisLink, node: str, may_join: Callable[[], bool]) -> None:
        self.node = node
        self.is_up = False
        """Whether own probes come back."""
        self._link = link
        self.all_nodes = link.key("nodes")
        self._own = self.channel_of(node)
        self._wanted: set[str] = {self._own, self.all_nodes}
        self._confirmed: set[str] = set()
        self._unconfirmed: dict[str, int] = {}
        """By channel: subscriptions that the server has not confirmed yet."""
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self._outgoing = OutgoingQueue(node, may_join)
        self._is_flush_due = False
        self._preparing: list[Callable[[], None]] = []
        self._has_risen = asyncio.Event()
        self._changes: list[tuple[str, bool]] = []
        self._receivers: dict[str, Receive] = {"probe": self._probed, "echo": self._echoed}
        self._echoes: dict[int, asyncio.Future[None]] = {}
        self._gap_listeners: list[Callable[[], None]] = []
        self._connection: PubSubConnection | None = None
        """With all wanted channels; None: not connected."""
        self._tasks = Tasks()
        self._heard_at = 0.0
        self._heard_from = 0.0
        """When the last own probe that was received had been sent."""
        self._unheard = 0
        """Probes that were sent since an own one was received."""
        self._was_up = False
        self._is_reported = False
        """Whether it is logged that the server is away."""
        # Not from 1: a late answer to a former run of this node must not answer another request.
        self._next_id = secrets.randbits(48)
        self.heard: dict[str, float] = {}
        """When each node was last heard of, on the clock of the event loop."""

    @property
    def replied_at(self) -> float:
        """When datagrams were last taken by the server, on the clock of the event loop."""
        return self._connection.replied_at if self._connection is not None else 0.0

    @property
    def delay_s(self) -> float:
        """Upper bound of the time for which a datagram that is received now was on its way.

        It was sent after the last own probe that came back: all arrive in the order of sending. So
        the bound does not depend on the clocks of other nodes. Usually up to ``PROBE_S``.
        """
        return asyncio.get_running_loop().time() - self._heard_from

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
        for work in (self._connect, self._probe):
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
        self._outgoing.fail()
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

    def follows(self, channel: str) -> bool:
        """Whether this node follows a channel, be it confirmed or not."""
        return channel in self._wanted

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
        """Send without waiting, behind all that was sent before; dropped without the server."""
        if self.is_up:
            self._put(channel, kind, body, id_)

    def add(
        self, channel: str, kind: str, body: bytes, *, is_counted: bool = False
    ) -> Batch | None:
        """Send together with others of this iteration of the event loop; see ``OutgoingQueue``.

        Returns the datagram; None: dropped.
        """
        batch = None
        if self.is_up:
            batch = self._outgoing.add(channel, kind, body, is_counted=is_counted)
            self.flush_soon()
        return batch

    def _put(self, channel: str, kind: str, body: bytes, id_: int) -> None:
        self._outgoing.put(channel, kind, body, id_)
        self.flush_soon()

    def before_flush(self, prepare: Callable[[], None]) -> None:
        """Call ``prepare`` before anything is sent: what it adds is sent with it."""
        self._preparing.append(prepare)

    def flush_soon(self) -> None:
        """Send at the end of this iteration of the event loop, so that all of it is one write."""
        if not self._is_flush_due:
            self._is_flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def flush_now(self) -> None:
        """Send what waits for the end of this iteration."""
        if self._is_flush_due:
            self._flush()

    def _flush(self) -> None:
        for prepare in self._preparing:
            prepare()
        self._is_flush_due = False
        connection = self._connection
        if connection is None:
            self._outgoing.fail()
            return
        while self._outgoing and not connection.is_full:
            connection.publish(self._outgoing.take())
        if self._changes:
            self._send_changes(connection)

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

    async def _connect(self) -> None:
        """Connect, and again whenever the connection is lost."""
        attempt = 0
        while True:
            try:
                await self._use_connection()
            except (RedisError, OSError) as error:
                self._fall(str(error) or repr(error))
            except Exception:
                log.exception("redis subscription failed")
                self._fall("unexpected error")
            await self._link.reset()
            attempt = 0 if self._has_risen.is_set() else attempt + 1
            self._has_risen.clear()
            await asyncio.sleep(BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)])

    async def _use_connection(self) -> None:
        """Open a connection and wait for its end; raises ``ConnectionError`` then."""
        connection = PubSubConnection(self._received, self._subscribed, self.flush_soon)
        async with self._link.stream() as transport:
            connection.attach(transport)
            self._confirmed.clear()
            self._changes.clear()
            self._unconfirmed = dict.fromkeys(self._wanted, 1)
            connection.subscribe(self._wanted)
            self._note_heard()
            self._connection = connection
            try:
                raise ConnectionError(await connection.lost)
            finally:
                self._connection = None

    def _subscribed(self, name: bytes) -> None:
        channel = name.decode()
        left = self._unconfirmed.pop(channel, 1) - 1
        if left:  # it was unsubscribed and subscribed again meanwhile
            self._unconfirmed[channel] = left
            return
        if channel in self._wanted:
            self._confirmed.add(channel)
        for future in self._waiting.pop(channel, ()):
            if not future.done():
                future.set_result(None)

    def _received(self, channel: bytes, data: bytes) -> None:
        try:
            datagram = _datagram.decode(data)
            if self._connection is not None:
                self._note_sender(datagram.node, self._connection.received_at)
            receive = self._receivers.get(datagram.kind)
            if receive is not None:
                receive(datagram)
        except Exception:  # one bad datagram must not end the subscription
            log.exception("datagram not handled channel=%s", channel)

    def _note_sender(self, node: str, now: float) -> None:
        if node not in self.heard and len(self.heard) >= HEARD_LIMIT:
            self.heard.clear()
        self.heard[node] = now

    def _send_changes(self, connection: PubSubConnection) -> None:
        """Send the changes of subscriptions, many in one command."""
        changes, self._changes = self._changes, []
        for is_wanted, group in groupby(changes, key=itemgetter(1)):
            channels = [channel for channel, _ in group]
            (connection.subscribe if is_wanted else connection.unsubscribe)(channels)

    def _change(self, channel: str, is_wanted: bool) -> None:
        if self._connection is not None:  # all that is wanted is subscribed on connecting
            self._changes.append((channel, is_wanted))
            if is_wanted:
                self._unconfirmed[channel] = self._unconfirmed.get(channel, 0) + 1
            self.flush_soon()

    # Health

    async def _probe(self) -> None:
        while True:
            self._check_heard()
            sent_us = int(asyncio.get_running_loop().time() * 1e6)
            self._put(self._own, "probe", b"", sent_us)
            self._unheard += 1
            await asyncio.sleep(PROBE_S if self.is_up else PROBE_DOWN_S)

    def _check_heard(self) -> None:
        """End a connection on which own probes do not come back; others' datagrams may."""
        if self._connection is not None and self._unheard >= DEAF_PROBES:
            if asyncio.get_running_loop().time() - self._heard_at > DEAF_S:
                self._connection.abort("no own probe was received")

    def _note_heard(self) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        self._unheard = 0

    def _probed(self, datagram: Datagram) -> None:
        self._note_heard()
        self._heard_from = datagram.id / 1e6
        if self.is_up:
            return
        self.is_up = True
        self._is_reported = False
        self._has_risen.set()
        if self._was_up:
            log.info("redis is back")
        self._was_up = True
        for listener in self._gap_listeners:
            listener()

    def _fall(self, reason: str) -> None:
        if not self._is_reported:
            log.warning("redis is away reason=%s", reason)
        self._is_reported = True
        self.is_up = False
        self._outgoing.fail()
        self._confirm_all()

    def _confirm_all(self) -> None:
        for futures in self._waiting.values():
            for future in futures:
                if not future.done():
                    future.set_result(None)
        self._waiting.clear()
