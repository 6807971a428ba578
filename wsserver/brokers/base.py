"""The broker interface: publications out to every node, receipts back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from wsserver.protocol.origin import Origin
from wsserver.protocol.targets import Target


class Publication(Struct, frozen=True, gc=False):
    """One message on its way to the nodes: encoded once, wherever and to whomever it goes."""

    message_id: str
    """Empty for a signal, which has no id and leaves no trace."""
    type: str
    target: Target
    payload: bytes
    """The push as JSON text."""
    organization_id: str | None = None
    """Only connections of this organization."""
    with_unaffiliated: bool = False
    """And of none: widens ``organization_id``, for sessions whose customers belong to none."""
    role: str | None = None
    """Only connections with this role."""
    exclude_users: frozenset[str] = frozenset()
    origin: Origin | None = None
    """Who published it; None: the server itself."""
    accepted_at: float = 0.0
    """Seconds since the epoch."""
    stream: str = ""
    """Where it is kept; empty for a live message."""
    epoch: str = ""
    offset: int = 0
    sender: str | None = None
    """User id of whom to tell what becomes of it; None: nobody."""
    expires_at: float = 0.0
    """When a kept message runs out; seconds since the epoch."""


class Receipt(Struct, frozen=True, gc=False):
    """What became of a publication: connections matched, written or queued to, and failed."""

    matched: int = 0
    sent: int = 0
    failed: int = 0

    def __add__(self, other: Receipt) -> Receipt:
        return Receipt(
            self.matched + other.matched, self.sent + other.sent, self.failed + other.failed
        )


NOBODY = Receipt()
"""Nobody was meant."""

Deliver = Callable[[Publication], Receipt]
"""A node's callback: give a publication to the node's own connections."""


class Broker(Protocol):
    """Carries publications to every node, the publishing one included.

    A node learns of its own publications by the same callback as of everybody else's; there is
    one path for one node and for many.
    """

    def subscribe(self, deliver: Deliver) -> None:
        """Register a node's callback, before ``start``."""

    async def start(self) -> None:
        """Connect to whatever carries the messages."""

    async def stop(self) -> None:
        """Let go of it."""

    def post(self, publication: Publication) -> None:
        """Publish and forget: nobody waits for the receipt."""

    async def publish(self, publication: Publication) -> Receipt:
        """Publish and return the sum of the nodes' receipts."""
        ...

    def health(self) -> dict[str, object]:
        """State for the health check: ``ok`` and whatever explains it."""
        ...
