"""``RedisBroker``: publishes to the nodes that follow a target's channel."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable
from functools import partial

import msgspec

from wsserver.cluster.broker import (
    NO_RECIPIENTS,
    AnswerGrown,
    InboxSettled,
    Outcome,
    Publication,
    PublishResult,
    Push,
    Receiver,
    Signal,
)
from wsserver.cluster.progress import Progress
from wsserver.cluster.redis.bus import Bus, Datagram
from wsserver.cluster.redis.link import RedisLink
from wsserver.protocol.targets import Target, TargetType, session, user

RESULTS_S = 0.15
"""Time for the results of other nodes."""
FOLLOWED = {TargetType.USER, TargetType.SESSION, TargetType.ORGANIZATION}
"""Targets with a channel each; messages for others go to all nodes."""

_publication = msgspec.msgpack.Decoder(Publication)
_signal = msgspec.msgpack.Decoder(Signal)
_Answer = tuple[int, PublishResult]
"""Id of a publication, and the result of one node."""
_answers = msgspec.msgpack.Decoder(list[_Answer])


class _Pending:
    """A publication whose results are awaited."""

    __slots__ = (
        *("answered", "due", "expected", "future", "is_own_known"),
        *("received", "result", "unsent"),
    )

    def __init__(self, future: asyncio.Future[PublishResult]) -> None:
        self.result = NO_RECIPIENTS
        self.future = future
        self.due = 0.0
        """When it ends without them, on the clock of the event loop."""
        self.is_own_known = False
        """Whether this node has delivered it."""
        self.received = 0
        self.answered: list[str] = []
        """Other nodes that have answered."""
        self.expected: int | None = None
        """Number of nodes that follow the channel, this one included; None: not known yet."""
        self.unsent: tuple[str, ...] = ()
        """Nodes that it could not be sent to."""

    def add(self, result: PublishResult, node: str) -> None:
        """Add the result of another node."""
        self.result = self.result + result
        self.received += 1
        self.answered.append(node)
        self.settle()

    def settle(self) -> None:
        """Resolve the future if all results are known."""
        if self.expected is not None and self.is_own_known and self.received >= self.expected:
            self.finish(self.unsent)

    def finish(self, unreachable: tuple[str, ...]) -> None:
        """Resolve the future with what is known."""
        if not self.future.done():
            self.future.set_result(self.result + PublishResult(unreachable=unreachable))


class RedisBroker:
    """Delivers on this node directly, and to other nodes by pub/sub.

    ``PUBLISH`` answers how many nodes follow the channel, so it is known how many results to wait
    for. While Redis is away only this node's connections are reached, and the other nodes are
    unreachable. ``living``: names of the living nodes, as last read.
    """

    def __init__(self, bus: Bus, link: RedisLink, living: Callable[[], Iterable[str]]) -> None:
        self._bus = bus
        self._link = link
        self._living = living
        self._receivers: list[Receiver] = []
        self._pending: dict[int, _Pending] = {}
        """The oldest first."""
        self._deadlines: deque[tuple[float, int]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._progress = Progress()
        bus.on("publish", self._published)
        bus.on("signal", self._signalled)
        self._answers: dict[str, list[_Answer]] = {}
        """Results of this node that are sent at the end of this iteration of the event loop."""
        bus.on("results", self._resulted)

    def subscribe(self, receiver: Receiver) -> None:
        """Register the receiving side of this node."""
        self._receivers.append(receiver)

    async def start(self) -> None:
        """Connect."""
        await self._bus.start()

    async def stop(self) -> None:
        """Disconnect."""
        await self._bus.stop()
        self._receivers.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._deadlines.clear()
        for pending in self._pending.values():
            pending.finish(())
        self._pending.clear()

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
        self._show(signal)
        channel = self._bus.all_nodes
        if isinstance(signal, Push) and len(signal.targets) == 1:
            channel = self._channel_of(signal.targets[0])
        elif isinstance(signal, InboxSettled):
            channel = self._channel_of(user(signal.user_id))
        elif isinstance(signal, AnswerGrown):
            channel = self._channel_of(session(signal.session_id))
        self._bus.send(channel, "signal", msgspec.msgpack.encode(signal))

    def begin(self, publication: Publication) -> Outcome:
        """Publish; returns the sum of the results that arrive within ``RESULTS_S``."""
        own = self._deliver(publication)
        if not self._bus.is_up and isinstance(own, PublishResult):
            others = self._others()
            return own + PublishResult(unreachable=others) if others else own
        loop = asyncio.get_running_loop()
        id_ = self._bus.new_id()
        pending = self._pending[id_] = _Pending(loop.create_future())
        pending.future.add_done_callback(lambda _: self._pending.pop(id_, None))
        self._expect_by(loop.time() + RESULTS_S, id_)
        body = msgspec.msgpack.encode(publication)
        channel = self._channel_of(publication.target)
        self._bus.send_counted(channel, "publish", body, id_, partial(self._counted, id_))
        self._own(pending, own)
        return pending.future

    async def publish(self, publication: Publication) -> PublishResult:
        """Publish; returns the sum of the results that arrive within ``RESULTS_S``."""
        outcome = self.begin(publication)
        return outcome if isinstance(outcome, PublishResult) else await outcome

    def health(self) -> dict[str, object]:
        """Whether own messages come back, and the server is as it has to be; ``last_error``."""
        fault = self._link.fault
        if fault is None and not self._bus.is_up:
            fault = "own messages do not come back"
        return {"ok": fault is None, "kind": "redis", "last_error": fault}

    def _deliver(self, publication: Publication) -> Outcome:
        if not self._receivers:
            return NO_RECIPIENTS
        return self._receivers[0].deliver(publication)

    def _own(self, pending: _Pending, own: Outcome) -> None:
        """Note the result of this node, now or once it is known."""
        if not isinstance(own, PublishResult):
            own.add_done_callback(lambda done: self._own(pending, done.result()))
            return
        pending.result = pending.result + own
        pending.is_own_known = True
        pending.settle()

    def _published(self, datagram: Datagram) -> None:
        if datagram.node == self._bus.node:  # delivered before it was sent
            pending = self._pending.get(datagram.id)
            if pending is not None:
                pending.received += 1
                pending.settle()
            return
        outcome = self._deliver(_publication.decode(datagram.body))
        if not datagram.id:
            return
        if isinstance(outcome, PublishResult):
            self._answer(datagram, outcome)
        else:
            outcome.add_done_callback(lambda done: self._answer(datagram, done.result()))

    def _answer(self, datagram: Datagram, result: PublishResult) -> None:
        """Send a result, those of one iteration of the event loop together."""
        if not self._answers:
            asyncio.get_running_loop().call_soon(self._send_answers)
        self._answers.setdefault(datagram.node, []).append((datagram.id, result))

    def _send_answers(self) -> None:
        answers, self._answers = self._answers, {}
        for node, each in answers.items():
            self._bus.send(self._bus.channel_of(node), "results", msgspec.msgpack.encode(each))

    def _expect_by(self, due: float, id_: int) -> None:
        self._pending[id_].due = due
        self._deadlines.append((due, id_))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(due, self._expire)

    def _counted(self, id_: int, count: int | None) -> None:
        """Note how many nodes follow the channel; None: it was not sent.

        They have their time from now on: before, the publication waited in this node's queue.
        """
        pending = self._pending.get(id_)
        if pending is not None:
            if count is None:
                pending.unsent = self._others(pending.answered)
            pending.expected = count or 0
            pending.settle()
            if not pending.future.done():
                self._expect_by(asyncio.get_running_loop().time() + RESULTS_S, id_)

    def _expire(self) -> None:
        """End the waiting for results that are due."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._deadlines and self._deadlines[0][0] <= now:
            due, id_ = self._deadlines.popleft()
            pending = self._pending.get(id_)
            if pending is None or pending.due > due:
                continue
            if pending.expected is None and now - self._bus.replied_at < RESULTS_S:
                self._expect_by(now + RESULTS_S, id_)  # it still waits behind others of this node
            else:
                pending.finish(self._unreachable(pending))
        while self._deadlines and self._deadlines[0][1] not in self._pending:
            self._deadlines.popleft()
        self._timer = None
        if self._deadlines:
            self._timer = loop.call_at(self._deadlines[0][0], self._expire)

    def _unreachable(self, pending: _Pending) -> tuple[str, ...]:
        """Names of the nodes whose results are missing.

        ``PUBLISH`` answers how many nodes got a message, not which. Those that were silent for the
        longest time are named, as many as results are missing.
        """
        own = self._bus.node
        names = () if pending.is_own_known else (own,)
        if pending.expected is None:  # Redis has not answered: it is not known who got it
            return names + self._others(pending.answered)
        if pending.unsent:
            return names + pending.unsent
        others = pending.expected - pending.received
        if others <= 0:
            return names
        heard = self._bus.heard
        living = self._others(pending.answered)
        silent = sorted(living, key=lambda name: heard.get(name, 0.0))
        # A node that has just started is heard before it is read that it lives.
        known = {own, *living, *pending.answered}
        new = [name for name in heard if name not in known]
        new.sort(key=lambda name: heard[name], reverse=True)
        return names + tuple([*silent, *new][:others])

    def _others(self, answered: Collection[str] = ()) -> tuple[str, ...]:
        """Names of the other living nodes without those that have answered."""
        own = self._bus.node
        return tuple(name for name in self._living() if name != own and name not in answered)

    def _signalled(self, datagram: Datagram) -> None:
        if datagram.node != self._bus.node:
            self._show(_signal.decode(datagram.body))

    def _show(self, signal: Signal) -> None:
        if self._progress.admits(signal):
            for receiver in self._receivers:
                receiver.signal(signal)

    def _resulted(self, datagram: Datagram) -> None:
        for id_, result in _answers.decode(datagram.body):
            pending = self._pending.get(id_)
            if pending is not None:
                pending.add(result, datagram.node)

    def _channel_of(self, target: Target) -> str:
        if target.type not in FOLLOWED:
            return self._bus.all_nodes
        return self._link.key(str(target))
