"""A trace query: the message, what is stored of it, and what the requester may see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from wsserver.identity.permissions import UNCONFINED_ROLES
from wsserver.protocol.targets import Target, TargetType
from wsserver.realtime.access.tenancy import Scope
from wsserver.realtime.connections.connection_log import ConnectionInterval
from wsserver.realtime.delivery.trace_entry import TraceEntry
from wsserver.realtime.messages.audience import Audience
from wsserver.realtime.tracing.audience_at import BELONGS, PastAudience
from wsserver.realtime.tracing.trace_recipients import StoredReceipt


@dataclass
class Elsewhere:
    """What other nodes have of a message."""

    connected: set[str] = field(default_factory=set)
    """Users named by the query with a connection there, at the time of the delivery."""
    shown: set[str] = field(default_factory=set)
    """Of the excluded users those that the requester may see, as they were connected."""
    unseen: set[str] = field(default_factory=set)
    """Of the connected ones those that the requester may not see."""
    reasons: list[str] = field(default_factory=list)
    """Why connections of the one user were filtered out."""


@dataclass
class TraceQuery:
    """One trace query of a message, of all recipients or of one user."""

    entry: TraceEntry
    receipts: dict[str, StoredReceipt]
    """By user; a receipt is removed when it has been reported."""
    expired_at: float | None
    """When a kept message expired, in seconds since the epoch; None: still kept, or live."""
    past: PastAudience
    scope: Scope
    user_id: str | None
    """None: all recipients."""
    elsewhere: Elsewhere = field(default_factory=Elsewhere)

    @cached_property
    def audience(self) -> Audience:
        """The filters of the message within its target."""
        entry = self.entry
        return Audience(
            entry.organization_id, entry.with_unaffiliated, entry.role, entry.exclude_users
        )

    @cached_property
    def _shown_users(self) -> set[str]:
        return {
            interval.user_id for interval in self.past.of(self.entry.target) if self.sees(interval)
        }

    async def is_visible(self) -> bool:
        """Whether the message belongs to the organization that the requester is confined to.

        It does if one of its users sent it, if it was for the organization alone, or if one of its
        users was connected to the target; also if the target, a session or a user, belongs to it
        now. Raises ``StorageUnavailable``.
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
            ours = self.past.of(Target(TargetType.ORGANIZATION, mine))
            return any(belongs(interval, target.id) for interval in ours)
        if any(interval.organization_id == mine for interval in self.past.of(target)):
            return True
        match target.type:
            case TargetType.USER:
                return await scope.has_user(target.id)
            case TargetType.SESSION:
                return await scope.has_session(target.id)
            case _:
                return False

    def confirms(self, receipt: StoredReceipt) -> bool:
        """Whether a receipt shows that its user got the message.

        A user who acknowledges a stream up to an offset is not a recipient of all its messages.
        """
        if not receipt.is_by_offset:
            return True
        audience = self.audience
        if audience.organization_id is None and audience.role is None:
            return receipt.user_id not in audience.exclude_users
        intervals = self.past.ever_of_user(receipt.user_id)
        return any(
            audience.excludes(interval.user_id, interval.organization_id, interval.role) is None
            for interval in intervals
        )

    def includes(self, user_id: str) -> bool:
        """Whether the query includes a user, connected or not, whom the requester may see.

        ``scope`` must have learned the user.
        """
        if self.user_id not in (None, user_id):
            return False
        scope = self.scope
        if self.entry.target.type is not TargetType.SESSION:
            return scope.is_own(user_id)
        if not scope.is_shown_in_session(user_id) or user_id in self.elsewhere.unseen:
            return False
        there = list(self.past.of_user(user_id))
        return not there or any(map(self.sees, there))

    def includes_excluded(self, user_id: str) -> bool:
        """Whether the query includes a user whom the message excludes.

        Excluded users need not belong to the session, so they are shown only if they belong to the
        organization, or were connected to the target.
        """
        is_shown = self.scope.is_own(user_id) or user_id in self._shown_users
        is_shown = is_shown or user_id in self.elsewhere.shown
        return is_shown and self.user_id in (None, user_id)

    def had(self, user_id: str) -> bool:
        """Whether a user was connected, to whatever node."""
        return self.past.had(user_id) or user_id in self.elsewhere.connected

    def part_elsewhere(self, user_ids: Iterable[str]) -> Elsewhere:
        """The ``Elsewhere`` of this node, for the one that was asked; of some users."""
        connected = {each for each in user_ids if self.past.had(each)}
        return Elsewhere(
            connected,
            set(self.entry.exclude_users) & self._shown_users,
            {each for each in connected if not any(map(self.sees, self.past.of_user(each)))},
            [] if self.user_id is None else list(self.exclusions(self.user_id)),
        )

    def shows(self, interval: ConnectionInterval) -> bool:
        """Whether the query includes a connection, and the requester may see it."""
        return self.user_id in (None, interval.user_id) and self.sees(interval)

    def sees(self, interval: ConnectionInterval) -> bool:
        """Whether the requester may see a connection."""
        mine = self.scope.organization_id
        if mine is None or interval.organization_id == mine:
            return True
        # Users without an organization (customers) belong to the session.
        return interval.organization_id is None and self.entry.target.type is TargetType.SESSION

    def exclusions(self, user_id: str) -> Iterator[str]:
        """Reasons why the user's connections of that time were filtered out."""
        for interval in self.past.of_user(user_id):
            reason = self.audience.excludes(
                interval.user_id, interval.organization_id, interval.role
            )
            if reason is not None:
                yield reason
