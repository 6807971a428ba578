"""``MemoryBroker``: the broker of a single process, without a network."""

from __future__ import annotations

from wsserver.brokers.base import NO_RECIPIENTS, Deliver, Publication, PublishResult


class MemoryBroker:
    """Calls every subscribed node for each publication, in the order of publishing."""

    def __init__(self) -> None:
        self._nodes: list[Deliver] = []

    def subscribe(self, deliver: Deliver) -> None:
        """Register a node's callback."""
        self._nodes.append(deliver)

    async def start(self) -> None:
        """Do nothing: there is no connection."""

    async def stop(self) -> None:
        """Unsubscribe the nodes."""
        self._nodes.clear()

    def post(self, publication: Publication) -> None:
        """Publish without waiting for the result."""
        for deliver in self._nodes:
            deliver(publication)

    async def publish(self, publication: Publication) -> PublishResult:
        """Publish; returns the sum of the nodes' results."""
        results = [deliver(publication) for deliver in self._nodes]
        return results[0] if len(results) == 1 else sum(results, NO_RECIPIENTS)

    def health(self) -> dict[str, object]:
        """Always ok."""
        return {"ok": True, "kind": "memory", "nodes": len(self._nodes)}
