"""Targets of messages: a user, a session, an organization, a role, a connection, everybody."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class TargetType(StrEnum):
    """The kinds of target."""

    BROADCAST = "broadcast"
    USER = "user"
    SESSION = "session"
    ORGANIZATION = "organization"
    ROLE = "role"
    CONNECTION = "connection"


class Target(Struct, frozen=True, gc=False):
    """A kind of target and, for all but a broadcast, its id."""

    type: TargetType
    id: str = ""

    def __str__(self) -> str:
        return f"{self.type}:{self.id}" if self.id else str(self.type)

    def view(self) -> dict[str, str]:
        """The target as requests name it."""
        return {"type": str(self.type), "id": self.id} if self.id else {"type": str(self.type)}


EVERYONE = Target(TargetType.BROADCAST)


def user(user_id: str) -> Target:
    """All connections of one user."""
    return Target(TargetType.USER, user_id)


def session(session_id: str) -> Target:
    """All connections that have joined one session."""
    return Target(TargetType.SESSION, session_id)


def organization(organization_id: str) -> Target:
    """All connections of one organization."""
    return Target(TargetType.ORGANIZATION, organization_id)


def connection(connection_id: str) -> Target:
    """One connection."""
    return Target(TargetType.CONNECTION, connection_id)
