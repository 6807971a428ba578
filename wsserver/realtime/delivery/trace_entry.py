"""``TraceEntry``: what is remembered of a delivery, for traces."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from wsserver.protocol.origin import Origin
from wsserver.protocol.targets import Target

Progress = Literal["sent", "delivered", "read"]
Marks = dict[tuple[str, str], dict[Progress, float]]
"""By user id and connection id: the time of each progress, in seconds since the epoch."""


class TraceEntry(Struct, gc=False):
    """A delivered message; its size does not depend on the number of recipients."""

    message_id: str
    type: str
    target: Target
    origin: Origin | None
    organization_id: str | None
    with_unaffiliated: bool
    role: str | None
    exclude_users: frozenset[str]
    accepted_at: float
    """Seconds since the epoch."""
    stream: str
    """Empty: a live message."""
    epoch: str
    offset: int
    expires_at: float
    """Of a kept message; seconds since the epoch."""
    tick: int
    """The number of its delivery, as in the connection log."""
    delivered_at: float
    """Monotonic seconds."""
    failed: frozenset[str] = frozenset()
    """Ids of connections that could not be written to."""
    marks: Marks | None = None
    details: int = 0
    """Number of ids in it: excluded, failed, marked."""
    is_whole: bool = True
    """False: failures and marks were dropped, as the buffer was full."""
    is_known: bool = True
    """False: excluded users were dropped too; the entry cannot be traced any more."""
