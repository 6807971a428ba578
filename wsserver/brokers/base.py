"""The ``Broker`` interface: publishes to all nodes, returns the sum of their results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from wsserver.protocol.origin import Origin
from wsserver.protocol.targets import Target


class Publication(Struct, frozen=True, gc=False):
    """A message as it is published to the nodes, encoded once for all recipients."""

    message_id: str
    """Empty for a signal, which has no id and is not traced."""
    type: str
    target: Target
    payload: bytes
    """The push as JSON text."""
    organization_id: str | None = None
    """Only connections of this organization."""
    with_unaffiliated: bool = False
    """Widens ``organization_id`` to connections without an organization: in many sessions the
    customers have none."""
    role: str | None = None
    """Only connections with this role."""
    exclude_users: frozenset[str] = frozenset()
    origin: Origin | None = None
    """The publisher; None: the server itself."""
    accepted_at: float = 0.0
    """Seconds since the epoch."""
    stream: str = ""
    """The stream that keeps it; empty for a live message."""
    epoch: str = ""
    offset: int = 0
    sender: str | None = None
    """User id that gets its status updates; None: no user."""
    expires_at: float = 0.0
    """Of a kept message; seconds since the epoch."""


class PublishResult(Struct, frozen=True, gc=False):
    """Numbers of connections: matched by a publication, written or queued to, and failed."""

    matched: int = 0
    sent: int = 0
    failed: int = 0

    def __add__(self, other: PublishResult) -> PublishResult:
        return PublishResult(
            self.matched + other.matched, self.sent + other.sent, self.failed + other.failed
        )


NO_RECIPIENTS = PublishResult()
"""No connection matched."""

Deliver = Callable[[Publication], PublishResult]
"""Callback of a node: writes a publication to the node's own connections."""


class Broker(Protocol):
    """Publishes to every node.

    The publishing node gets its own publications by the same callback: the path is the same for
    one node and for many.
    """

    def subscribe(self, deliver: Deliver) -> None:
        """Register a node's callback, before ``start``."""

    async def start(self) -> None:
        """Connect to the message transport."""

    async def stop(self) -> None:
        """Disconnect."""

    def post(self, publication: Publication) -> None:
        """Publish without waiting for the result."""

    async def publish(self, publication: Publication) -> PublishResult:
        """Publish; returns the sum of the nodes' results."""
        ...

    def health(self) -> dict[str, object]:
        """State for the health check: ``ok`` and details."""
        ...
