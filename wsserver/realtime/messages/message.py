"""A message before it is encoded, and what became of it."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from wsserver.brokers.base import NOBODY, Receipt
from wsserver.protocol.origin import Origin
from wsserver.protocol.targets import EVERYONE, Target


class Message(Struct, gc=False):
    """Something to be pushed, before it is encoded."""

    type: str
    members: dict[str, Any]
    target: Target = EVERYONE
    message_id: str = ""
    """Given where the members refer to it; otherwise made on sending."""
    organization_id: str | None = None
    with_unaffiliated: bool = False
    """Does ``organization_id`` let those pass who belong to no organization at all?"""
    role: str | None = None
    exclude_users: frozenset[str] = frozenset()
    is_addressed: bool = True
    """Does its push carry an ``id`` of its own? Signals such as ``typing`` do not."""
    keep: bool = False
    """Is it stored in its target's stream before anybody sees it?"""
    ttl_s: float | None = None
    """Seconds after which nobody is given it any more; None: its stream's retention decides."""
    sender: str | None = None
    """The user who is told how far it has come."""
    dedup: tuple[str, str] | None = None
    """Scope and key: the same pair within 24 h is the same message."""
    origin: Origin | None = None
    """Who published it; None: the server itself."""
    size_bytes: int = 0
    """Bytes of its push as JSON, without a position; 0 until it is encoded."""


class Sent(Struct, frozen=True, gc=False):
    """The outcome of a send."""

    message_id: str
    receipt: Receipt = NOBODY
    """Empty for a message that was sent before, which nobody gets a second time."""
    stream: str = ""
    """Where it is kept; empty for a live message."""
    epoch: str = ""
    offset: int = 0
    is_new: bool = True
    """False: it is the answer to an earlier one with the same key."""

    @property
    def position(self) -> dict[str, Any]:
        """Stream, epoch and offset of a kept message; of a live one nothing."""
        if not self.stream:
            return {}
        return {"stream": self.stream, "epoch": self.epoch, "offset": self.offset}

    def answer(self) -> dict[str, Any]:
        """The outcome as the REST API gives it."""
        return {
            "message_id": self.message_id,
            "matched": self.receipt.matched,
            "sent": self.receipt.sent,
            "failed": self.receipt.failed,
            **self.position,
        }
