"""``MemoryBroker``: the broker of a single process, without a network."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from wsserver.cluster.broker import (
    NO_RECIPIENTS,
    Outcome,
    Publication,
    PublishResult,
    Receiver,
    Signal,
)
from wsserver.protocol.targets import Target


class MemoryBroker:
    """Calls the receiver for each publication, in the order of publishing."""

    def __init__(self) -> None:
        self._receiver: Receiver | None = None

    def subscribe(self, receiver: Receiver) -> None:
        """Register the receiving side."""
        self._receiver = receiver

    async def start(self) -> None:
        """Do nothing: there is no connection."""

    async def stop(self) -> None:
        """Unsubscribe."""
        self._receiver = None

    def follow(self, target: Target) -> None:
        """Do nothing: there is no subscription by target."""

    def unfollow(self, target: Target) -> None:
        """Do nothing: there is no subscription by target."""

    async def followed(self, target: Target) -> None:
        """Do nothing: publications always arrive."""

    def add_gap_listener(self, listener: Callable[[], None]) -> None:
        """Do nothing: publications are never missed."""

    def post(self, publication: Publication) -> None:
        """Publish without waiting for the result."""
        self.begin(publication)

    def signal(self, signal: Signal, reached: Callable[[bool], None] | None = None) -> None:
        """Publish a signal."""
        if self._receiver is not None:
            self._receiver.signal(signal)
        if reached is not None:
            reached(True)

    def begin(self, publication: Publication) -> Outcome:
        """Publish; returns the result."""
        return NO_RECIPIENTS if self._receiver is None else self._receiver.deliver(publication)

    def begin_all(
        self,
        publications: Sequence[Publication],
        until: float,
        uncounted: Collection[str] = (),
    ) -> list[Outcome]:
        """Publish several; returns the results of those that were begun."""
        if self._receiver is None:
            return [NO_RECIPIENTS] * len(publications)
        return self._receiver.deliver_all(publications, until)

    async def publish(self, publication: Publication) -> PublishResult:
        """Publish; returns the sum of the nodes' results."""
        outcome = self.begin(publication)
        return outcome if isinstance(outcome, PublishResult) else await outcome

    def health(self) -> dict[str, object]:
        """Always ok."""
        return {"ok": True, "kind": "memory", "nodes": 1}
