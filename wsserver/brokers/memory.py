"""The broker of a single process: calls the nodes back as a remote one would."""

from __future__ import annotations

from wsserver.brokers.base import NOBODY, Deliver, Publication, Receipt


class MemoryBroker:
    """Hands each publication to every subscribed node, in the order of publishing."""

    def __init__(self) -> None:
        self._nodes: list[Deliver] = []

    def subscribe(self, deliver: Deliver) -> None:
        """Register a node's callback."""
        self._nodes.append(deliver)

    async def start(self) -> None:
        """Nothing to connect to."""

    async def stop(self) -> None:
        """Forget the nodes."""
        self._nodes.clear()

    def post(self, publication: Publication) -> None:
        """Publish and forget."""
        for deliver in self._nodes:
            deliver(publication)

    async def publish(self, publication: Publication) -> Receipt:
        """Publish and return the sum of the nodes' receipts."""
        receipts = [deliver(publication) for deliver in self._nodes]
        return receipts[0] if len(receipts) == 1 else sum(receipts, NOBODY)

    def health(self) -> dict[str, object]:
        """Always well: there is nothing between publisher and node."""
        return {"ok": True, "kind": "memory", "nodes": len(self._nodes)}
