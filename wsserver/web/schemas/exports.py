"""What the endpoints of exports answer, as types."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from wsserver.protocol.notifications import ChannelName, DeliveryState, NotificationType
from wsserver.web.schemas.core import Answer, AuditEntry, Snapshot, Time
from wsserver.web.schemas.notifications import DeliveryAttempt

Position = Annotated[int, Meta(ge=0, description="of the row, in the order of committing")]


class Exported(Answer):
    """What all exports have."""

    position: Annotated[int, Meta(ge=0, description="``after`` for what comes next")]
    end: Annotated[
        int, Meta(ge=0, description="what was committed last; nothing is left at this position")
    ]
    epoch: Annotated[
        str, Meta(description="the name of the numbering; with another one begin anew")
    ]


class ExportedSnapshot(Snapshot):
    """A snapshot with its position."""

    position: Position


class ExportedSnapshots(Exported):
    """Snapshots; hourly means of what left the retention before it was asked for."""

    snapshots: list[ExportedSnapshot]


class ExportedEntry(AuditEntry):
    """An entry with its position, which is its ``id``."""

    position: Position


class ExportedAudit(Exported):
    """Entries of the audit trail."""

    entries: list[ExportedEntry]


class ExportedDelivery(Answer):
    """A delivery, its notification's fields, and the attempts at it."""

    position: Position
    delivery_id: str
    notification_id: str
    created_at: Time
    expires_at: Time
    type: NotificationType
    template: str | None
    sender: str | None
    organization_id: str | None
    channel: ChannelName
    user_id: str
    state: DeliveryState
    next_attempt_at: Time | None
    sent_at: Time | None
    acknowledged_at: Time | None
    is_escalation: Annotated[bool, Meta(description="true: called off by an acknowledgement")]
    title: Annotated[str | None, Meta(description="null where there is a template")]
    message: str | None
    action_url: str | None
    params: Annotated[dict[str, Any] | None, Meta(description="of the template")]
    attempts: list[DeliveryAttempt]


class ExportedDeliveries(Exported):
    """Deliveries of notifications."""

    deliveries: list[ExportedDelivery]
