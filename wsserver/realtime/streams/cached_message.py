"""``CachedMessage``: a kept message in memory, as it is replayed."""

from __future__ import annotations

from msgspec import Struct

from wsserver.protocol.pushes import positioned
from wsserver.realtime.messages.audience import Audience, read_audience
from wsserver.storage.messages.streams import Kept


class CachedMessage(Struct, frozen=True, gc=False):
    """A kept message as it is replayed."""

    offset: int
    payload: bytes
    """The push with its position, as it was sent live."""
    at: float
    """Time of publishing; like ``expires_at`` in seconds since the epoch."""
    expires_at: float
    has_ttl: bool
    """Whether it expires before the retention time of its stream."""
    audience: Audience | None
    """None: all readers."""
    changes: int = 0
    """Of a change record: the offset of the changed message."""
    revision: int = 0
    """How often the message was changed; of a change record: the changed message."""


def cached_message(kept: Kept, stream: str, epoch: str) -> CachedMessage:
    """Convert a stored message to a cached one."""
    payload = positioned(kept.payload, stream, epoch, kept.offset)
    return CachedMessage(
        kept.offset,
        payload,
        kept.at,
        kept.expires_at,
        bool(kept.has_ttl),
        read_audience(kept.audience),
        kept.changes,
        kept.revision,
    )
