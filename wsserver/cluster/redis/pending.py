"""``PendingBatch``: publications of one datagram, whose results are awaited."""

from __future__ import annotations

from collections.abc import Callable

from wsserver.cluster.broker import NO_RECIPIENTS, Outcome, PublishResult
from wsserver.cluster.redis.outgoing import Batch
from wsserver.promise import Promise


class PendingBatch:
    """Adds up the results of the nodes for each publication of a datagram.

    A result is known once this node and as many as follow the channel have answered, this one
    among them if its own datagram came back.
    """

    __slots__ = (
        *("_answered", "_batch", "_own_unknown", "_promises", "_received", "_results"),
        *("due", "expected", "is_echoed", "left", "unsent"),
    )

    def __init__(self, batch: Batch | None) -> None:
        self._batch = batch
        """None: not sent."""
        self.due = 0.0
        """When it ends without them, on the clock of the event loop."""
        self.expected: int | None = None
        """Number of nodes that follow the channel, this one included; None: not known yet."""
        self.unsent: tuple[str, ...] = ()
        """Nodes that it could not be sent to."""
        self.is_echoed = False
        """Whether the datagram came back to this node."""
        self.left = 0
        """Publications whose results are not known yet."""
        self._promises: list[Promise[PublishResult]] = []
        self._results: list[PublishResult] = []
        self._received: list[int] = []
        """Number of other nodes that have answered, of each publication."""
        self._own_unknown: set[int] = set()
        """Publications that this node has not delivered yet."""
        self._answered: dict[str, int] = {}
        """By node: the publications that it has answered, as bits."""

    def reserve(self) -> int:
        """Add a publication that this node is about to deliver; returns its place in the batch."""
        index = len(self._promises)
        self._promises.append(Promise())
        self._received.append(0)
        self._results.append(NO_RECIPIENTS)
        self._own_unknown.add(index)
        self.left += 1
        return index

    def add_own(self, index: int, own: Outcome) -> Promise[PublishResult]:
        """Add the result of this node; returns the sum."""
        if isinstance(own, PublishResult):
            self._add_own(index, own)
        else:
            own.when_done(lambda done: self._add_own(index, done.result()))
        return self._promises[index]

    def _add_own(self, index: int, result: PublishResult) -> None:
        self._own_unknown.discard(index)
        self._results[index] += result
        self._settle(index)

    def answer(self, index: int, result: PublishResult, node: str) -> None:
        """Add the result of another node."""
        if index >= len(self._promises):
            return
        answered = self._answered.get(node, 0)
        bit = 1 << index
        if answered & bit:
            return
        self._answered[node] = answered | bit
        self._received[index] += 1
        if result != NO_RECIPIENTS:
            self._results[index] += result
        self._settle(index)

    def echoed(self) -> None:
        """The datagram came back to this node."""
        self.is_echoed = True
        self._settle_all()

    def count(self, expected: int, unsent: tuple[str, ...]) -> None:
        """Note how many nodes follow the channel, and which could not be reached."""
        self.expected = expected
        self.unsent = unsent
        self._settle_all()

    def finish(self, unreachable: Callable[[PendingBatch, int], tuple[str, ...]]) -> None:
        """Resolve all with what is known; ``unreachable`` names the nodes that are missing."""
        if self._batch is not None:
            self._batch.is_open = False
        for index, promise in enumerate(self._promises):
            if not promise.done():
                self._resolve(index, unreachable(self, index))

    def answered(self, index: int) -> set[str]:
        """Other nodes that have answered a publication."""
        return {node for node, answered in self._answered.items() if answered >> index & 1}

    def is_own_known(self, index: int) -> bool:
        """Whether this node has delivered a publication."""
        return index not in self._own_unknown

    def missing(self, index: int) -> int:
        """Number of nodes that have not answered a publication; the number is known."""
        return (self.expected or 0) - self._received[index] - self.is_echoed

    def _settle_all(self) -> None:
        if self.expected is None or not self.left:
            return
        needed = self.expected - self.is_echoed
        for index, received in enumerate(self._received):
            if received >= needed:
                self._settle(index)

    def _settle(self, index: int) -> None:
        """Resolve a promise if all results are known."""
        if (
            self.expected is not None
            and self.missing(index) <= 0
            and self.is_own_known(index)
            and not self._promises[index].done()
        ):
            self._resolve(index, self.unsent)

    def _resolve(self, index: int, unreachable: tuple[str, ...]) -> None:
        result = self._results[index]
        self.left -= 1
        if unreachable:
            result += PublishResult(unreachable=unreachable)
        self._promises[index].resolve(result)
