"""``MemoryBroker``: the broker of a single process, without a network."""

from __future__ import annotations

from collections.abc import Callable

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
    """Calls every subscribed receiver for each publication, in the order of publishing."""

    def __init__(self) -> None:
        self._receivers: list[Receiver] = []

    def subscribe(self, receiver: Receiver) -> None:
        """Register a receiving side."""
        self._receivers.append(receiver)

    async def start(self) -> None:
        """Do nothing: there is no connection."""

    async def stop(self) -> None:
        """Unsubscribe all."""
        self._receivers.clear()

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
        for receiver in self._receivers:
            receiver.deliver(publication)

    def signal(self, signal: Signal) -> None:
        """Publish a signal."""
        for receiver in self._receivers:
            receiver.signal(signal)

    def begin(self, publication: Publication) -> Outcome:
        """Publish; returns the result."""
        if len(self._receivers) == 1:
            return self._receivers[0].deliver(publication)
        result = NO_RECIPIENTS
        for receiver in self._receivers:
            outcome = receiver.deliver(publication)
            if isinstance(outcome, PublishResult):  # within one process nothing is waited for
                result += outcome
        return result

    async def publish(self, publication: Publication) -> PublishResult:
        """Publish; returns the sum of the nodes' results."""
        outcome = self.begin(publication)
        return outcome if isinstance(outcome, PublishResult) else await outcome

    def health(self) -> dict[str, object]:
        """Always ok."""
        return {"ok": True, "kind": "memory", "nodes": len(self._receivers)}
