"""Targets and results: whom a message is for, and what has become of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wsserver.sdk.errors import Refused, refused


@dataclass(frozen=True)
class Target:
    """Whom a message is for."""

    type: str
    id: str | None = None

    def __str__(self) -> str:
        return self.type if self.id is None else f"{self.type}:{self.id}"

    def as_json(self) -> dict[str, str]:
        """As in the body of a request."""
        return {"type": self.type} if self.id is None else {"type": self.type, "id": self.id}


EVERYONE = Target("broadcast")


def to_user(user_id: str) -> Target:
    """All connections of a user."""
    return Target("user", user_id)


def to_session(session_id: str) -> Target:
    """All who are in a session."""
    return Target("session", session_id)


def to_organization(organization_id: str) -> Target:
    """All of an organization."""
    return Target("organization", organization_id)


def to_role(role: str) -> Target:
    """All with a role."""
    return Target("role", role)


def to_connection(connection_id: str) -> Target:
    """One connection."""
    return Target("connection", connection_id)


@dataclass(frozen=True)
class Message:
    """A message of a batch."""

    target: Target
    type: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    """As the keyword arguments of ``publish``."""

    def as_json(self) -> dict[str, Any]:
        """As in the body of a request."""
        return {"target": self.target.as_json(), "type": self.type, **self.fields}


@dataclass(frozen=True)
class Published:
    """A message that was published: its id, and how many connections it went to."""

    message_id: str
    matched: int
    sent: int
    failed: int
    stream: str | None = None
    """The stream that keeps it, with its place there; None for a live message."""
    epoch: str | None = None
    offset: int | None = None
    unreachable: tuple[str, ...] = ()
    """Nodes that did not answer in time: their connections are not counted."""


@dataclass(frozen=True)
class Notified:
    """A notification that was accepted: it is stored, and will be delivered."""

    notification_id: str
    deliveries: tuple[Mapping[str, Any], ...]
    """One for each recipient and channel, with its state."""


@dataclass(frozen=True)
class Ticket:
    """A one-use ticket for a connection, for a page that must not have a token."""

    ticket: str = field(repr=False)
    expires_at: str


def published(answer: Mapping[str, Any]) -> Published:
    """Read the answer to a publish."""
    return Published(
        answer["message_id"],
        answer["matched"],
        answer["sent"],
        answer["failed"],
        answer.get("stream"),
        answer.get("epoch"),
        answer.get("offset"),
        tuple(answer.get("unreachable", ())),
    )


def batch_results(answer: Mapping[str, Any]) -> list[Published | Refused]:
    """Read the answer to a batch: a result for each message, or why it was refused."""
    return [
        published(each) if each["status"] < 300 else refused(each["status"], each)
        for each in answer["results"]
    ]


def notified(answer: Mapping[str, Any]) -> Notified:
    """Read the answer to ``/notify``."""
    return Notified(answer.get("notification_id", ""), tuple(answer["deliveries"]))


def ticket(answer: Mapping[str, Any]) -> Ticket:
    """Read the answer to ``/tickets``."""
    return Ticket(answer["ticket"], answer["expires_at"])
