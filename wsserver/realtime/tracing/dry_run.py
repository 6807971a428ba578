"""Dry run of a message: its recipients, and who is excluded and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from wsserver.protocol.targets import TargetType
from wsserver.realtime.access.memberships import Members
from wsserver.realtime.access.tenancy import Scope
from wsserver.realtime.connections.hub import SELECT, Hub
from wsserver.realtime.messages.audience import Audience
from wsserver.realtime.messages.message import Message
from wsserver.realtime.streams.retention_policy import stream_of

LISTED = 1000
"""Maximum number of recipients, and of excluded, that are listed."""


def users_of(message: Message, members: Members) -> list[str]:
    """The users that ``explain`` may name though they are not connected."""
    is_session = message.target.type is TargetType.SESSION
    of_session = members.of_session(message.target.id) if is_session else []
    return [*of_session, *message.exclude_users]


def explain(message: Message, hub: Hub, members: Members, scope: Scope) -> dict[str, Any]:
    """The answer of ``POST /messages/explain``: recipients, and the excluded with reasons.

    ``stream``: where the message would be kept. Limited to ``scope``, which must have learned the
    ``users_of`` the message. ``matched`` counts all recipients; of recipients and excluded the
    first 1000 are listed, with ``truncated`` if there are more.
    """
    target = message.target
    of_session = members.of_session(target.id) if target.type is TargetType.SESSION else ()
    is_shown = scope.sees_in_session if target.type is TargetType.SESSION else scope.sees
    audience = Audience(
        message.organization_id, message.with_unaffiliated, message.role, message.exclude_users
    )
    recipients: list[dict[str, Any]] = []
    excluded: list[dict[str, Any]] = []
    seen: set[str] = set()
    for connection in filter(is_shown, SELECT[target.type](hub, target.id)):
        seen.add(connection.user_id)
        who = {"user_id": connection.user_id, "connection_id": connection.connection_id}
        reason = audience.exclusion(connection.claims)
        if reason is None:
            recipients.append(who)
        else:
            excluded.append({**who, "reason": reason})
    for user_id, reason in _absent(message, hub, of_session):
        is_member = user_id in of_session and scope.is_shown_in_session(user_id)
        if user_id not in seen and (is_member or scope.is_own(user_id)):
            later = {"will_be_kept": True} if message.keep and reason != "excluded" else {}
            excluded.append({"user_id": user_id, "reason": reason, **later})
    is_truncated = len(recipients) > LISTED or len(excluded) > LISTED
    stream = stream_of(target, message.organization_id) if message.keep else None
    return {
        **({"stream": stream} if stream is not None else {}),
        "matched": len(recipients),
        "recipients": recipients[:LISTED],
        "excluded": excluded[:LISTED],
        **({"truncated": True} if is_truncated else {}),
    }


def _absent(message: Message, hub: Hub, members: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Excluded users, and target user or members without a connection, with the reasons."""
    for user_id in sorted(message.exclude_users):
        yield user_id, "excluded"
    named = [message.target.id] if message.target.type is TargetType.USER else members
    for user_id in named:
        if user_id not in message.exclude_users:
            yield user_id, "not_joined" if user_id in hub.user_connections else "offline"
