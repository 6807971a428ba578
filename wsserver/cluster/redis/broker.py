"""``RedisBroker``: publishes to the nodes that follow a target's channel."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache, partial

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
from wsserver.cluster.redis.bus import Bus
from wsserver.cluster.redis.link import RedisLink
from wsserver.cluster.redis.outgoing import BATCH_LIMIT, Batch, Datagram
from wsserver.cluster.redis.pending import PendingBatch
from wsserver.protocol.targets import Target, TargetType, session, user

RESULTS_S = 0.15
"""Time for the results of other nodes."""
CHANNELS = 4096
"""Names of channels that are remembered."""
FOLLOWED = {TargetType.USER, TargetType.SESSION, TargetType.ORGANIZATION}
"""Targets with a channel each; messages for others go to all nodes."""

_publication = msgspec.msgpack.Decoder(Publication)
_publications = msgspec.msgpack.Decoder(list[Publication])
_signal = msgspec.msgpack.Decoder(Signal)
_signals = msgspec.msgpack.Decoder(list[Signal])
_encode = msgspec.msgpack.Encoder().encode
_Answer = tuple[int, PublishResult]
"""Id of a publication, and the result of one node."""
_answers = msgspec.msgpack.Decoder(list[_Answer])


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
        self._channel_of = lru_cache(CHANNELS)(partial(_channel_of, link, bus.all_nodes))
        self._receiver: Receiver | None = None
        self._pending: dict[int, PendingBatch] = {}
        """By number; the ids of a batch's publications are ``BATCH_LIMIT`` x number and above."""
        self._batches = 0
        self._deadlines: deque[tuple[float, int]] = deque()
        """With the number of a batch."""
        self._timer: asyncio.TimerHandle | None = None
        self._progress = Progress()
        bus.on("publish", self._published)
        bus.on("publications", self._published_many)
        bus.on("signal", self._signalled)
        bus.on("signals", self._signalled_many)
        self._answers: dict[str, list[_Answer]] = {}
        """Results of this node that are sent at the end of this iteration of the event loop."""
        bus.before_flush(self._send_answers)
        bus.on("results", self._resulted)

    def subscribe(self, receiver: Receiver) -> None:
        """Register the receiving side of this node."""
        self._receiver = receiver

    async def start(self) -> None:
        """Connect."""
        await self._bus.start()

    async def stop(self) -> None:
        """Disconnect."""
        await self._bus.stop()
        self._receiver = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._deadlines.clear()
        pending, self._pending = self._pending, {}
        for each in pending.values():
            each.finish(_nobody)

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
        self._send(publication)

    def _send(self, publication: Publication) -> None:
        self._bus.add(self._channel_of(publication.target), "publish", _encode(publication))

    def signal(self, signal: Signal, reached: Callable[[bool], None] | None = None) -> None:
        """Publish a signal; ``PUBLISH`` answers whether a node follows its channel."""
        self._show(signal)
        channel = self._bus.all_nodes
        if isinstance(signal, Push) and len(signal.targets) == 1:
            channel = self._channel_of(signal.targets[0])
        elif isinstance(signal, InboxSettled):
            channel = self._channel_of(user(signal.user_id))
        elif isinstance(signal, AnswerGrown):
            channel = self._channel_of(session(signal.session_id))
        if reached is not None and self._bus.follows(channel):
            reached(True)
            reached = None
        batch = self._bus.add(channel, "signal", _encode(signal), is_counted=reached is not None)
        if reached is None:
            return
        if batch is None:
            reached(False)
        else:
            batch.tell(lambda count: reached(bool(count)))

    def begin(self, publication: Publication) -> Outcome:
        """Publish; returns the sum of the results that arrive within ``RESULTS_S``."""
        pending = self._add(publication)  # before this node writes: see ``send_now``
        if pending is None:
            return self._unsent(self._deliver(publication))
        index = pending.reserve()
        return pending.add_own(index, self._deliver(publication))

    def send_now(self) -> None:
        """Send what was begun; called before this node writes, which takes longer than sending."""
        self._bus.flush_now()

    def _begun(self, publication: Publication, own: Outcome) -> Outcome:
        """Send what this node has delivered to the other ones; the sum of the results."""
        pending = self._add(publication)
        return self._unsent(own) if pending is None else pending.add_own(pending.reserve(), own)

    def _add(self, publication: Publication) -> PendingBatch | None:
        """Send to the other nodes; what waits for the results, None: it is dropped."""
        body = _encode(publication)
        channel = self._channel_of(publication.target)
        batch = self._bus.add(channel, "publish", body, is_counted=True)
        if batch is None:
            return None
        if batch.counted is not None:
            return self._pending[batch.id // BATCH_LIMIT]
        number, pending = self._expect(batch)
        batch.id = number * BATCH_LIMIT
        batch.counted = partial(self._counted, number)
        return pending

    def begin_all(
        self,
        publications: Sequence[Publication],
        until: float,
        uncounted: Collection[str] = (),
    ) -> list[Outcome]:
        """Publish several; the results of those that were begun arrive within ``RESULTS_S``."""
        if self._receiver is None:
            delivered: list[Outcome] = [NO_RECIPIENTS] * len(publications)
        else:
            delivered = self._receiver.deliver_all(publications, until)
        outcomes: list[Outcome] = []
        # Those after ``until`` are not delivered, so they are not sent either.
        for publication, own in zip(publications, delivered, strict=False):
            if publication.message_id in uncounted:
                self._send(publication)
                outcomes.append(NO_RECIPIENTS)
            else:
                outcomes.append(self._begun(publication, own))
        return outcomes

    def _unsent(self, own: Outcome) -> Outcome:
        """The result of a publication that reaches this node alone."""
        others = self._others()
        if isinstance(own, PublishResult):
            return own + PublishResult(unreachable=others) if others else own
        number, pending = self._expect(None)
        promise = pending.add_own(pending.reserve(), own)
        pending.count(0, others)
        self._forget_if_done(number, pending)
        return promise

    def _expect(self, batch: Batch | None) -> tuple[int, PendingBatch]:
        """Await the results of a batch; its number."""
        self._batches += 1
        pending = self._pending[self._batches] = PendingBatch(batch)
        self._expect_by(asyncio.get_running_loop().time() + RESULTS_S, self._batches)
        return self._batches, pending

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
        return NO_RECIPIENTS if self._receiver is None else self._receiver.deliver(publication)

    def _published(self, datagram: Datagram) -> None:
        if datagram.node == self._bus.node:
            self._echoed(datagram)
        else:
            outcome = self._deliver(_publication.decode(datagram.body))
            if datagram.id:
                self._answer_once_known(datagram.node, datagram.id, outcome)

    def _published_many(self, datagram: Datagram) -> None:
        if datagram.node == self._bus.node:
            self._echoed(datagram)
        elif self._receiver is not None:
            outcomes = self._receiver.deliver_all(_publications.decode(datagram.body))
            if datagram.id:
                for id_, outcome in enumerate(outcomes, datagram.id):
                    self._answer_once_known(datagram.node, id_, outcome)

    def _echoed(self, datagram: Datagram) -> None:
        """Note that own publications came back, which were delivered before they were sent."""
        number = datagram.id // BATCH_LIMIT
        pending = self._pending.get(number)
        if pending is not None:
            pending.echoed()
            self._forget_if_done(number, pending)

    def _answer_once_known(self, node: str, id_: int, outcome: Outcome) -> None:
        """Send the result of another node's publication to it."""
        if isinstance(outcome, PublishResult):
            self._answer(node, id_, outcome)
        else:
            outcome.when_done(lambda done: self._answer(node, id_, done.result()))

    def _answer(self, node: str, id_: int, result: PublishResult) -> None:
        """Send a result, those of one iteration of the event loop together."""
        if not self._answers:
            self._bus.flush_soon()
        self._answers.setdefault(node, []).append((id_, result))

    def _send_answers(self) -> None:
        answers, self._answers = self._answers, {}
        for node, each in answers.items():
            self._bus.send(self._bus.channel_of(node), "results", _encode(each))

    def _expect_by(self, due: float, number: int) -> None:
        self._pending[number].due = due
        self._deadlines.append((due, number))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(due, self._expire)

    def _counted(self, number: int, count: int | None) -> None:
        """Note how many nodes follow the channel; None: it was not sent.

        They have their time from now on: before, the batch waited in this node's queue.
        """
        pending = self._pending.get(number)
        if pending is not None:
            pending.count(count or 0, self._others() if count is None else ())
            if not self._forget_if_done(number, pending):
                now = asyncio.get_running_loop().time() if count is None else self._bus.replied_at
                self._expect_by(now + RESULTS_S, number)

    def _forget_if_done(self, number: int, pending: PendingBatch) -> bool:
        if pending.left:
            return False
        self._pending.pop(number, None)
        return True

    def _expire(self) -> None:
        """End the waiting for results that are due."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._deadlines and self._deadlines[0][0] <= now:
            due, number = self._deadlines.popleft()
            pending = self._pending.get(number)
            if pending is None or pending.due > due:
                continue
            if pending.expected is None and now - self._bus.replied_at < RESULTS_S:
                self._expect_by(now + RESULTS_S, number)  # still behind others of this node
            else:
                del self._pending[number]
                pending.finish(self._unreachable)
        while self._deadlines and self._deadlines[0][1] not in self._pending:
            self._deadlines.popleft()
        self._timer = None
        if self._deadlines:
            self._timer = loop.call_at(self._deadlines[0][0], self._expire)

    def _unreachable(self, pending: PendingBatch, index: int) -> tuple[str, ...]:
        """Names of the nodes whose results of a publication are missing.

        ``PUBLISH`` answers how many nodes got a message, not which. Those that were silent for the
        longest time are named, as many as results are missing.
        """
        own = self._bus.node
        names = () if pending.is_own_known(index) else (own,)
        answered = pending.answered(index)
        if pending.expected is None:  # Redis has not answered: it is not known who got it
            return names + self._others(answered)
        if pending.unsent:
            return names + pending.unsent
        others = pending.missing(index)
        if others <= 0:
            return names
        heard = self._bus.heard
        living = self._others(answered)
        silent = sorted(living, key=lambda name: heard.get(name, 0.0))
        # A node that has just started is heard before it is read that it lives.
        known = {own, *living, *answered}
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

    def _signalled_many(self, datagram: Datagram) -> None:
        if datagram.node != self._bus.node:
            for signal in _signals.decode(datagram.body):
                self._show(signal)

    def _show(self, signal: Signal) -> None:
        if self._receiver is not None and self._progress.admits(signal):
            self._receiver.signal(signal)

    def _resulted(self, datagram: Datagram) -> None:
        for id_, result in _answers.decode(datagram.body):
            number, index = divmod(id_, BATCH_LIMIT)
            pending = self._pending.get(number)
            if pending is not None:
                pending.answer(index, result, datagram.node)
                self._forget_if_done(number, pending)


def _channel_of(link: RedisLink, all_nodes: str, target: Target) -> str:
    return link.key(str(target)) if target.type in FOLLOWED else all_nodes


def _nobody(_pending: PendingBatch, _index: int) -> tuple[str, ...]:
    return ()
