"""One question about a message: what is known of it, who asks, and what they may learn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from wsserver.identity.permissions import UNCONFINED_ROLES
from wsserver.protocol.targets import Target, TargetType
from wsserver.realtime.access.tenancy import Scope
from wsserver.realtime.connections.connection_log import ConnectionInterval
from wsserver.realtime.delivery.trace_buffer import Entry
from wsserver.realtime.messages.audience import Audience
from wsserver.realtime.tracing.audience_at import BELONGS, PastAudience
from wsserver.realtime.tracing.trace_recipients import Receipt


@dataclass
class TraceRequest:
    """One question: the message, what storage knows of it, who asks, about whom."""

    entry: Entry
    receipts: dict[str, Receipt]
    """By user; what has been told already is taken out."""
    gone_at: float | None
    """When it ceased to be kept, where it was; seconds since the epoch."""
    roll: PastAudience
    scope: Scope
    user_id: str | None
    """None: about everybody."""

    @cached_property
    def audience(self) -> Audience:
        """Whom of its target the message is for."""
        entry = self.entry
        return Audience(
            entry.organization_id, entry.with_unaffiliated, entry.role, entry.exclude_users
        )

    @cached_property
    def _shown_there(self) -> set[str]:
        return {stay.user_id for stay in self.roll.of(self.entry.target) if self.sees(stay)}

    async def is_visible(self) -> bool:
        """Does the message belong to the organization that the requester is confined to?

        It does if one of its people sent it, if it was for them alone, or if one of them was
        there; one for a session or a user, also if its target belongs to the organization now.
        Raises ``StorageUnavailable``.
        """
        entry, scope, target = self.entry, self.scope, self.entry.target
        mine = scope.organization_id
        if mine is None:
            return True
        if entry.organization_id is not None:
            return entry.organization_id == mine
        if target.type is TargetType.ORGANIZATION:
            return target.id == mine
        origin = entry.origin
        if origin is not None and origin.organization_id == mine:
            if origin.role not in UNCONFINED_ROLES:  # these write to people of any organization
                return True
        if target.type in (TargetType.BROADCAST, TargetType.ROLE):
            belongs = BELONGS[target.type]
            ours = self.roll.of(Target(TargetType.ORGANIZATION, mine))
            return any(belongs(stay, target.id) for stay in ours)
        if any(stay.organization_id == mine for stay in self.roll.of(target)):
            return True
        match target.type:
            case TargetType.USER:
                return await scope.has_user(target.id)
            case TargetType.SESSION:
                return await scope.has_session(target.id)
            case _:
                return False

    def believes(self, receipt: Receipt) -> bool:
        """Does a receipt say that its user got the message?

        Who acknowledges a stream up to an offset was not meant by every message in it.
        """
        if not receipt.is_by_offset:
            return True
        audience = self.audience
        if audience.organization_id is None and audience.role is None:
            return receipt.user_id not in audience.exclude_users
        stays = self.roll.ever_of_user(receipt.user_id)
        return any(
            audience.excludes(stay.user_id, stay.organization_id, stay.role) is None
            for stay in stays
        )

    def concerns(self, user_id: str) -> bool:
        """Is a user asked about, connected or not, and shown to the requester?

        ``scope`` has learned of the user before.
        """
        if self.user_id not in (None, user_id):
            return False
        scope = self.scope
        if self.entry.target.type is not TargetType.SESSION:
            return scope.is_own(user_id)
        there = list(self.roll.of_user(user_id))
        return scope.is_shown_in_session(user_id) and (not there or any(map(self.sees, there)))

    def names(self, user_id: str) -> bool:
        """Is a user asked about, whom the message excludes, and shown to the requester?

        The excluded need not be of the session, and so are shown only if they belong to the
        organization, or were there.
        """
        is_shown = self.scope.is_own(user_id) or user_id in self._shown_there
        return is_shown and self.user_id in (None, user_id)

    def shows(self, stay: ConnectionInterval) -> bool:
        """Is somebody who was there asked about, and may who asks know of them?"""
        return self.user_id in (None, stay.user_id) and self.sees(stay)

    def sees(self, stay: ConnectionInterval) -> bool:
        """May who asks know of somebody who was there?"""
        mine = self.scope.organization_id
        if mine is None or stay.organization_id == mine:
            return True
        # A session's customers belong to no organization, but to the session.
        return stay.organization_id is None and self.entry.target.type is TargetType.SESSION

    def exclusions(self, user_id: str) -> Iterator[str]:
        """Why the connections that somebody had were not meant."""
        for stay in self.roll.of_user(user_id):
            reason = self.audience.excludes(stay.user_id, stay.organization_id, stay.role)
            if reason is not None:
                yield reason
