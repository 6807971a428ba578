"""For whom a notification is: from what was asked for to user ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from wsserver.errors import Forbidden, ValidationFailed
from wsserver.notifications.directory import Directory
from wsserver.protocol.notifications import NotifyRequest
from wsserver.protocol.validation import Fault
from wsserver.realtime.access import Scope
from wsserver.realtime.hub import Hub
from wsserver.realtime.members import Members

RECIPIENTS_LIMIT = 50_000
"""Of one notification; more are refused rather than left out."""


KINDS = ("user_ids", "session_id", "organization_id", "role", "broadcast")
"""How recipients are named."""


class Recipients(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Exactly one of these is given."""

    user_ids: tuple[str, ...] = ()
    session_id: str | None = None
    organization_id: str | None = None
    role: str | None = None
    broadcast: bool = False

    def __str__(self) -> str:
        """As the audit trail names it."""
        for kind in ("session", "organization"):
            id_ = getattr(self, f"{kind}_id")
            if id_ is not None:
                return f"{kind}:{id_}"
        if self.role is not None:
            return f"role:{self.role}"
        if self.broadcast:
            return "broadcast"
        more = len(self.user_ids) - 1
        return f"user:{self.user_ids[0]}" + (f" and {more} more" if more else "")

    def account_of(self, user_id: str, confined_to: str | None = None) -> str:
        """On whose account a user is told: the user's own, or the group's that is addressed.

        What is confined to an organization is on its account: the administrators of one are not
        those of another.
        """
        if self.user_ids:
            return f"user:{user_id}"
        if confined_to is None or self.session_id is not None:
            return str(self)
        own = f"organization:{confined_to}"
        return own if self.role is None else f"{self} of {own}"


def users(*user_ids: str) -> Recipients:
    """Some users."""
    return Recipients(user_ids=tuple(dict.fromkeys(user_ids)))


def recipients_of(request: NotifyRequest) -> Recipients:
    """The recipients of a request; raises ``ValidationFailed`` unless exactly one kind is given."""
    given: dict[str, Any] = {
        name: value for name in KINDS if (value := getattr(request, name)) not in (None, False)
    }
    faults = kind_faults(tuple(given))
    if faults:
        raise ValidationFailed(faults)
    if "user_ids" in given:
        return users(*given["user_ids"])
    return Recipients(**given)


def kind_faults(given: Sequence[str]) -> list[Fault]:
    """What is wrong with these kinds of recipients together: one is needed, and not more."""
    if len(given) == 1:
        return []
    message = f"exactly one of {', '.join(KINDS)}"
    return [{"field": name, "message": message} for name in given[1:] or ("user_ids",)]


class RecipientFinder:
    """Looks up users, connected or not."""

    def __init__(self, hub: Hub, members: Members, directory: Directory) -> None:
        self._hub = hub
        self._members = members
        self._directory = directory

    async def find(self, recipients: Recipients, confined_to: str | None = None) -> list[str]:
        """The user ids, each once.

        ``confined_to``: nobody outside of this organization. Raises ``Forbidden`` where somebody or
        something outside is named, ``ValidationFailed`` for more than 50,000 users,
        ``StorageUnavailable``.
        """
        scope = Scope(self._hub, confined_to)
        if recipients.user_ids:
            await self._require_users(scope, recipients.user_ids)
            found = list(recipients.user_ids)
        elif recipients.session_id is not None:
            found = await self._of_session(scope, recipients.session_id)
        else:
            organization_id = recipients.organization_id
            if organization_id is not None and not scope.has_organization(organization_id):
                raise Forbidden(f"organization {organization_id} is not yours")
            found = await self._directory.find(
                RECIPIENTS_LIMIT,
                organization_id=organization_id or confined_to,
                role=recipients.role,
            )
        if len(found) > RECIPIENTS_LIMIT:
            field = next(iter(k for k in recipients.__struct_fields__ if getattr(recipients, k)))
            message = f"more than {RECIPIENTS_LIMIT} users"
            raise ValidationFailed([{"field": field, "message": message}])
        return found

    async def is_outside(self, user_id: str, confined_to: str | None) -> bool:
        """Does a user belong to another organization? Of who was never here nobody knows."""
        return bool(await self._outside([user_id], confined_to))

    async def is_inside(self, user_id: str, organization_id: str) -> bool:
        """Is a user known to belong to an organization?"""
        known = await self._directory.organizations([user_id])
        return organization_id in known.get(user_id, ())

    async def _require_users(self, scope: Scope, user_ids: Sequence[str]) -> None:
        outside = await self._outside(user_ids, scope.organization_id)
        if outside:
            raise Forbidden(f"user {outside[0]} is outside of your organization")

    async def _outside(self, user_ids: Sequence[str], confined_to: str | None) -> list[str]:
        if confined_to is None:
            return []
        known = await self._directory.organizations(user_ids)
        return [each for each in user_ids if each in known and confined_to not in known[each]]

    async def _of_session(self, scope: Scope, session_id: str) -> list[str]:
        """Members and those who have joined; for who is confined, without other organizations'."""
        if not scope.has_session(session_id):
            raise Forbidden(f"session {session_id} is outside of your organization")
        joined = [connection.user_id for connection in scope.of_session(session_id)]
        found = list(dict.fromkeys([*self._members.of_session(session_id), *joined]))
        mine = scope.organization_id
        if mine is None:
            return found
        known = await self._directory.organizations(found)
        # A session's customers belong to no organization, but to the session.
        return [each for each in found if known.get(each, {None}) & {None, mine}]
