"""What ``GET /messages/{message_id}`` answers, as types."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from wsserver.protocol.origin import Via
from wsserver.protocol.targets import TargetType
from wsserver.realtime.tracing.trace_recipients import State
from wsserver.web.schemas.core import Answer, Time


class Step(Answer):
    """How far a message had come, and when."""

    state: State
    at: Time


class TracedTarget(Answer):
    """Who a message was for."""

    type: TargetType
    id: str | None = None


class AcceptedFrom(Answer):
    """Who published a message; null where that was the server, or is not yours to know."""

    user_id: str | None
    role: str | None
    via: Via
    id: Annotated[str | None, Meta(description="of the request or the connection")]


class TracedRecipient(Answer):
    """What became of a message with one connection, or with a user who had none."""

    user_id: str
    state: State
    history: list[Step]
    connection_id: str | None = None
    reason: Annotated[str | None, Meta(description="why it was dropped, or is pending")] = None


class TraceSummary(Answer):
    """How many recipients there are, and in which states."""

    total: int
    pending: int
    sent: int
    delivered: int
    read: int
    dropped: int
    expired: int


class Trace(Answer):
    """Where a message went."""

    message_id: str
    type: str
    class_: Literal["live", "kept"] = field(name="class")
    target: TracedTarget
    accepted_at: Time
    accepted_from: AcceptedFrom
    recipients: list[TracedRecipient]
    truncated: Annotated[bool, Meta(description="true: not everybody is listed")]
    summary: TraceSummary
    organization_id: str | None = None
    role: str | None = None
    stream: str | None = None
    epoch: str | None = None
    offset: int | None = None
