"""Retention policy: which stream keeps a message, for how long, and for which readers."""

from __future__ import annotations

from typing import NamedTuple

from wsserver.cluster.broker import Publication
from wsserver.identity.claims import Claims
from wsserver.protocol.origin import read_origin, write_origin
from wsserver.protocol.targets import EVERYONE, Target, TargetType
from wsserver.realtime.messages.audience import (
    EVERYBODY,
    Audience,
    read_audience,
    write_audience,
)
from wsserver.realtime.messages.message import Message
from wsserver.realtime.streams.drafts import Draft
from wsserver.storage.messages.conversations import in_term
from wsserver.storage.messages.streams import Found

SESSION = "session:"
INBOX = "user:"
ORGANIZATION = "organization:"
BROADCAST = "broadcast"
_SESSION_TYPE, _ORGANIZATION_TYPE = TargetType.SESSION, TargetType.ORGANIZATION
_OF_CHATS = (TargetType.SESSION, TargetType.USER)
"""Looked up once: in a class of Python 3.11 that takes 0.1 µs each time."""


class Retention(NamedTuple):
    """Retention times in seconds.

    Messages can be resumed for ``stream_s``, those of an inbox for ``inbox_s``. Then they are
    deleted; those of sessions only after ``archive_s``, if that is longer.
    """

    stream_s: float
    inbox_s: float
    archive_s: float = 0.0

    @property
    def is_archiving(self) -> bool:
        """Whether messages of sessions are kept although they cannot be resumed any more."""
        return self.archive_s > 0

    @property
    def session_s(self) -> float:
        """Time after which messages of sessions are deleted."""
        return max(self.stream_s, self.archive_s)

    def of(self, stream: str) -> float:
        """Time after which messages of a stream are deleted."""
        return self.session_s if stream.startswith(SESSION) else self.recovery_of(stream)

    def recovery_of(self, stream: str) -> float:
        """Time for which messages of a stream can be resumed."""
        return self.inbox_s if stream.startswith(INBOX) else self.stream_s


def stream_of(target: Target, organization_id: str | None = None) -> str | None:
    """The stream that keeps a target's messages; None: they cannot be kept.

    ``organization_id``: the organization that the message is limited to. A broadcast within one is
    kept in that organization's stream, so that it never displaces messages of others.
    """
    if target.type is _SESSION_TYPE:
        return SESSION + target.id
    match target.type:
        case TargetType.USER:
            return INBOX + target.id
        case TargetType.ORGANIZATION:
            return ORGANIZATION + target.id
        case TargetType.BROADCAST:
            return BROADCAST if organization_id is None else ORGANIZATION + organization_id
        case _:
            return None


def target_of_kept(stream: str, audience: Audience | None) -> Target:
    """The target of a stored message, from its stream and audience.

    In an organization's stream, broadcasts within the organization have it in their audience;
    messages to the organization itself do not.
    """
    kind, _, id_ = stream.partition(":")
    if kind == TargetType.ORGANIZATION and audience is not None:
        if audience.organization_id is not None:
            return EVERYONE
    return Target(TargetType(kind), id_)


def target_of(stream: str) -> Target:
    """The target whose channel carries a stream, besides broadcasts within an organization."""
    kind, _, id_ = stream.partition(":")
    return EVERYONE if kind == BROADCAST else Target(TargetType(kind), id_)


def publication_of(found: Found, payload: bytes) -> Publication:
    """A stored message as it was published; ``payload``: its push with its position."""
    audience = read_audience(found.audience)
    filters = audience or EVERYBODY
    return Publication(
        found.message_id,
        found.type,
        target_of_kept(found.stream, audience),
        payload,
        filters.organization_id,
        filters.with_unaffiliated,
        filters.role,
        filters.exclude_users,
        read_origin(found.origin),
        found.at,
        found.stream,
        found.epoch,
        found.offset,
        found.sender,
        found.expires_at,
        bool(found.has_ttl),
        found.changes,
        found.revision,
    )


def readers_of(publication: Publication) -> Audience | None:
    """The filter of a kept message's readers; None: all readers of its stream."""
    return _audience(
        publication.target,
        publication.organization_id,
        publication.with_unaffiliated,
        publication.role,
        publication.exclude_users,
    )


def organization_stream_of(claims: Claims) -> str | None:
    """The stream of the user's organization; None for a user without one."""
    organization_id = claims.organization_id
    return None if organization_id is None else ORGANIZATION + organization_id


def is_kept_by_default(type_: str, target: Target) -> bool:
    """Whether a message is kept if its publisher sets no ``keep``: chat messages are."""
    return type_ == "new_message" and target.type in _OF_CHATS


def draft_of(
    message: Message, message_id: str, payload: bytes, at: float, retention: Retention
) -> Draft:
    """The draft of a message to be kept; raises ``ValueError`` for a target without a stream."""
    stream = stream_of(message.target, message.organization_id)
    if stream is None:
        raise ValueError(f"messages to {message.target} cannot be kept")
    lifetime_s = retention.of(stream)
    has_ttl = message.ttl_s is not None and message.ttl_s < lifetime_s
    if message.ttl_s is not None and has_ttl:
        lifetime_s = message.ttl_s
    readers = _audience_of(message)
    return Draft(
        stream=stream,
        message_id=message_id,
        type=message.type,
        payload=payload,
        at=at,
        expires_at=at + lifetime_s,
        has_ttl=has_ttl,
        sender=message.sender,
        dedup=None if message.dedup is None else _storable(*message.dedup),
        origin=write_origin(message.origin),
        audience=write_audience(readers),
        replies_to=message.replies_to,
        view=message.view,
        hook=None if message.term is None else in_term(message.target.id, message.term),
        message=message,
        readers=readers,
    )


def _storable(scope: str, key: str) -> tuple[str, str]:
    """A pair without NUL, which texts of PostgreSQL cannot have."""
    return scope, key.replace("\0", "\\0") if "\0" in key else key


def _audience_of(message: Message) -> Audience | None:
    return _audience(
        message.target,
        message.organization_id,
        message.with_unaffiliated,
        message.role,
        message.exclude_users,
    )


def _audience(
    target: Target,
    organization_id: str | None,
    with_unaffiliated: bool,
    role: str | None,
    excluded: frozenset[str],
) -> Audience | None:
    if target.type is _ORGANIZATION_TYPE:
        organization_id = None  # distinguishes them from broadcasts within the organization
    if organization_id is None and role is None and not excluded:
        return None
    # Without an organization, ``with_unaffiliated`` has no effect.
    widens = with_unaffiliated and organization_id is not None
    return Audience(organization_id, widens, role, excluded)
