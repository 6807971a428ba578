"""``MemoryBroker``: the broker of a single process, without a network."""

from __future__ import annotations

from collections.abc import Callable

from wsserver.cluster.broker import (
    NO_RECIPIENTS,
    Node,
    Outcome,
    Publication,
    PublishResult,
    Signal,
)
from wsserver.protocol.targets import Target


class MemoryBroker:
    """Calls every subscribed node for each publication, in the order of publishing."""

    def __init__(self) -> None:
        self._nodes: list[Node] = []

    def subscribe(self, node: Node) -> None:
        """Register the receiving side of a node."""
        self._nodes.append(node)

    async def start(self) -> None:
        """Do nothing: there is no connection."""

    async def stop(self) -> None:
        """Unsubscribe the nodes."""
        self._nodes.clear()

    def follow(self, target: Target) -> None:
        """Do nothing: each node gets everything."""

    def unfollow(self, target: Target) -> None:
        """Do nothing: each node gets everything."""

    async def followed(self, target: Target) -> None:
        """Do nothing: publications always arrive."""

    def add_gap_listener(self, listener: Callable[[], None]) -> None:
        """Do nothing: publications are never missed."""

    def post(self, publication: Publication) -> None:
        """Publish without waiting for the result."""
        for node in self._nodes:
            node.deliver(publication)

    def signal(self, signal: Signal) -> None:
        """Publish a signal."""
        for node in self._nodes:
            node.signal(signal)

    def begin(self, publication: Publication) -> Outcome:
        """Publish; returns the result of the node."""
        if len(self._nodes) == 1:
            return self._nodes[0].deliver(publication)
        result = NO_RECIPIENTS
        for node in self._nodes:
            outcome = node.deliver(publication)
            if isinstance(outcome, PublishResult):  # nobody is waited for within one process
                result += outcome
        return result

    async def publish(self, publication: Publication) -> PublishResult:
        """Publish; returns the sum of the nodes' results."""
        outcome = self.begin(publication)
        return outcome if isinstance(outcome, PublishResult) else await outcome

    def health(self) -> dict[str, object]:
        """Always ok."""
        return {"ok": True, "kind": "memory", "nodes": len(self._nodes)}
