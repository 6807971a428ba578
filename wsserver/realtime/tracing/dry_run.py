"""Dry run of a message: its recipients, and who is excluded and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from wsserver.cluster.control import Control, Request
from wsserver.cluster.nodes import Nodes, unreachable_in
from wsserver.protocol.targets import Target, TargetType
from wsserver.realtime.access.memberships import Members
from wsserver.realtime.access.tenancy import Scope, Tenancy
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


class DryRunPart(Struct, frozen=True):
    """What a node has of the answer; each list is bounded by ``LISTED``."""

    matched: int
    recipients: list[dict[str, Any]]
    excluded: list[dict[str, Any]]
    """Connections that the message's filters exclude, with the reasons."""
    is_truncated: bool
    seen: list[str]
    """Of the ``named_in`` the message: those with a connection in the target."""
    connected: list[str]
    """Of the same: those with any connection."""


class DryRunHere(Request[DryRunPart], frozen=True):
    """The part of a node: ``part_of`` the message with this target and audience."""

    scope_organization_id: str | None
    target: Target
    organization_id: str | None
    with_unaffiliated: bool
    role: str | None
    exclude_users: frozenset[str]


class DryRuns:
    """Dry runs over all nodes."""

    def __init__(
        self, control: Control, nodes: Nodes, hub: Hub, members: Members, tenancy: Tenancy
    ) -> None:
        self._nodes = nodes
        self._hub = hub
        self._members = members
        self._tenancy = tenancy
        control.add_handler(DryRunHere, self._part)

    async def explain(self, message: Message, scope: Scope) -> dict[str, Any]:
        """The answer of ``POST /messages/explain``.

        ``scope`` must have learned the ``users_of`` the message.
        """
        answers = await self._nodes.ask(
            DryRunHere(
                scope.organization_id,
                message.target,
                message.organization_id,
                message.with_unaffiliated,
                message.role,
                frozenset(message.exclude_users),
            )
        )
        merged = merge_dry_runs(message, answers.by_node, self._members, scope)
        return {**merged, **unreachable_in(answers)}

    def _part(self, request: DryRunHere) -> DryRunPart:
        audience = Audience(
            request.organization_id, request.with_unaffiliated, request.role, request.exclude_users
        )
        scope = self._tenancy.scope(request.scope_organization_id)
        return part_of(request.target, audience, self._hub, self._members, scope)


def explain(message: Message, hub: Hub, members: Members, scope: Scope) -> dict[str, Any]:
    """The dry run on one node alone."""
    audience = Audience(
        message.organization_id, message.with_unaffiliated, message.role, message.exclude_users
    )
    part = part_of(message.target, audience, hub, members, scope)
    return merge_dry_runs(message, {"": part}, members, scope)


def part_of(
    target: Target, audience: Audience, hub: Hub, members: Members, scope: Scope
) -> DryRunPart:
    """Recipients and excluded connections of a node, limited to ``scope``."""
    is_shown = scope.sees_in_session if target.type is TargetType.SESSION else scope.sees
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
    named = set(_named_by(target, members)).union(audience.exclude_users)
    return DryRunPart(
        len(recipients),
        recipients[:LISTED],
        excluded[:LISTED],
        len(recipients) > LISTED or len(excluded) > LISTED,
        sorted(named & seen),
        sorted(named.intersection(hub.user_connections)),
    )


def merge_dry_runs(
    message: Message, parts: Mapping[str, DryRunPart], members: Members, scope: Scope
) -> dict[str, Any]:
    """Recipients, and the excluded with reasons, of the parts by node.

    ``stream``: where the message would be kept. ``matched`` counts all recipients; of recipients
    and excluded the first 1000 are listed, with ``truncated`` if there are more.
    """
    target = message.target
    of_session = members.of_session(target.id) if target.type is TargetType.SESSION else ()
    recipients = [each for part in parts.values() for each in part.recipients]
    excluded = [each for part in parts.values() for each in part.excluded]
    seen = {user_id for part in parts.values() for user_id in part.seen}
    connected = {user_id for part in parts.values() for user_id in part.connected}
    for user_id, reason in _absent(message, connected, _named_by(target, members)):
        is_member = user_id in of_session and scope.is_shown_in_session(user_id)
        if user_id not in seen and (is_member or scope.is_own(user_id)):
            later = {"will_be_kept": True} if message.keep and reason != "excluded" else {}
            excluded.append({"user_id": user_id, "reason": reason, **later})
    is_truncated = len(recipients) > LISTED or len(excluded) > LISTED
    is_truncated = is_truncated or any(part.is_truncated for part in parts.values())
    stream = stream_of(target, message.organization_id) if message.keep else None
    return {
        **({"stream": stream} if stream is not None else {}),
        "matched": sum(part.matched for part in parts.values()),
        "recipients": recipients[:LISTED],
        "excluded": excluded[:LISTED],
        **({"truncated": True} if is_truncated else {}),
    }


def _named_by(target: Target, members: Members) -> Sequence[str]:
    """The users that a target names: one, or the members of a session."""
    match target.type:
        case TargetType.USER:
            return [target.id]
        case TargetType.SESSION:
            return members.of_session(target.id)
        case _:
            return ()


def _absent(
    message: Message, connected: set[str], named: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Excluded users, and target user or members without a connection, with the reasons."""
    for user_id in sorted(message.exclude_users):
        yield user_id, "excluded"
    for user_id in named:
        if user_id not in message.exclude_users:
            yield user_id, "not_joined" if user_id in connected else "offline"
