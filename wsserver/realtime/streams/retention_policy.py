"""Which messages can be kept, for how long, and as what."""

from __future__ import annotations

from typing import NamedTuple

from wsserver.brokers.base import Publication
from wsserver.identity.claims import Claims
from wsserver.protocol.origin import write_origin
from wsserver.protocol.targets import EVERYONE, Target, TargetType
from wsserver.realtime.messages.audience import Audience
from wsserver.realtime.messages.message import Message
from wsserver.realtime.streams.append_queue import Draft

SESSION = "session:"
INBOX = "user:"
ORGANIZATION = "organization:"
BROADCAST = "broadcast"


class Retention(NamedTuple):
    """Seconds for which messages are kept."""

    stream_s: float = 24 * 3600.0
    inbox_s: float = 7 * 24 * 3600.0

    def of(self, stream: str) -> float:
        """For a stream of this name."""
        return self.inbox_s if stream.startswith(INBOX) else self.stream_s


DEFAULT_RETENTION = Retention()


def stream_of(target: Target, organization_id: str | None = None) -> str | None:
    """The stream that keeps a target's messages; None: nothing for it can be kept.

    ``organization_id``: the one organization that the message is for. A broadcast within one is
    kept in that organization's stream, so that it never pushes out what others are to get.
    """
    match target.type:
        case TargetType.SESSION:
            return SESSION + target.id
        case TargetType.USER:
            return INBOX + target.id
        case TargetType.ORGANIZATION:
            return ORGANIZATION + target.id
        case TargetType.BROADCAST:
            return BROADCAST if organization_id is None else ORGANIZATION + organization_id
        case _:
            return None


def target_of_kept(stream: str, audience: Audience | None) -> Target:
    """The target of a message that a stream keeps for an audience.

    In an organization's stream the broadcasts within it have it in their audience, too, and what
    was for the organization itself does not.
    """
    kind, _, id_ = stream.partition(":")
    if kind == TargetType.ORGANIZATION and audience is not None:
        if audience.organization_id is not None:
            return EVERYONE
    return Target(TargetType(kind), id_)


def organization_stream_of(claims: Claims) -> str | None:
    """The one organization's stream that the bearer may read; None: belongs to no organization."""
    organization_id = claims.organization_id
    return None if organization_id is None else ORGANIZATION + organization_id


def is_kept_by_default(type_: str, target: Target) -> bool:
    """Is a message kept when its publisher does not say? What people say to each other is."""
    return type_ == "new_message" and target.type in (TargetType.SESSION, TargetType.USER)


def draft_of(message: Message, publication: Publication, retention: Retention) -> Draft:
    """What storage is to keep of a message; its target has a stream."""
    at = publication.accepted_at
    stream = stream_of(message.target, message.organization_id)
    if stream is None:
        raise ValueError(f"nothing is kept for {message.target}")
    lifetime_s = retention.of(stream)
    has_ttl = message.ttl_s is not None and message.ttl_s < lifetime_s
    if message.ttl_s is not None and has_ttl:
        lifetime_s = message.ttl_s
    return Draft(
        publication=publication,
        stream=stream,
        at=at,
        expires_at=at + lifetime_s,
        has_ttl=has_ttl,
        sender=message.sender,
        dedup=message.dedup,
        origin=write_origin(message.origin),
        audience=_audience_of(message),
    )


def _audience_of(message: Message) -> Audience | None:
    organization_id, role, excluded = message.organization_id, message.role, message.exclude_users
    if message.target.type is TargetType.ORGANIZATION:
        organization_id = None  # the stream says it, and the broadcasts within it are told apart
    if organization_id is None and role is None and not excluded:
        return None
    # Without an organization to widen, ``with_unaffiliated`` says nothing.
    widens = message.with_unaffiliated and organization_id is not None
    return Audience(organization_id, widens, role, excluded)
