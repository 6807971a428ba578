"""Recipients of a notification: as requested, and resolved to user ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import Struct

from wsserver.cluster.directory import ConnectionDirectory
from wsserver.errors import ValidationFailed
from wsserver.notifications.user_directory import UserDirectory
from wsserver.protocol.notifications import NotifyRequest
from wsserver.protocol.targets import session
from wsserver.protocol.validation import Fault
from wsserver.realtime.access.memberships import Members
from wsserver.realtime.access.tenancy import Scope, Tenancy

RECIPIENTS_LIMIT = 50_000
"""Users of one notification; more are refused."""

KINDS = ("user_ids", "session_id", "organization_id", "role", "broadcast")
"""The members of a request that name recipients; exactly one of them is required."""


class Recipients(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The requested recipients; exactly one member is set."""

    user_ids: tuple[str, ...] = ()
    session_id: str | None = None
    organization_id: str | None = None
    role: str | None = None
    broadcast: bool = False

    def __str__(self) -> str:
        """The target in the audit trail."""
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
        """Scope of once-per-period warnings: the user, or the addressed group.

        With ``confined_to`` it is separate for that organization, so that warnings of one
        organization do not suppress those of another.
        """
        account = f"user:{user_id}" if self.user_ids else str(self)
        if confined_to is None or self.organization_id is not None:
            return account
        own = f"organization:{confined_to}"
        return own if self.broadcast else f"{account} of {own}"


def users(*user_ids: str) -> Recipients:
    """Recipients by user id."""
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
    """Faults unless exactly one kind of recipients is given."""
    if len(given) == 1:
        return []
    message = f"exactly one of {', '.join(KINDS)}"
    return [{"field": name, "message": message} for name in given[1:] or ("user_ids",)]


@dataclass(eq=False, repr=False)
class RecipientFinder:
    """Resolves recipients to user ids, connected or not."""

    connections: ConnectionDirectory
    members: Members
    directory: UserDirectory
    tenancy: Tenancy

    async def find(self, recipients: Recipients, confined_to: str | None = None) -> list[str]:
        """The user ids, each once.

        ``confined_to``: only users of this organization. Raises ``Forbidden`` for recipients
        outside of it, ``ValidationFailed`` for more than 50,000 users and unless exactly one kind
        of recipients is set, ``StorageUnavailable``.
        """
        faults = kind_faults([kind for kind in KINDS if getattr(recipients, kind)])
        if faults:  # no recipients at all, as ``users(*[])``, must not become all users
            raise ValidationFailed(faults)
        scope = self.tenancy.scope(confined_to)
        if recipients.user_ids:
            await scope.require_users(recipients.user_ids)
            found = list(recipients.user_ids)
        elif recipients.session_id is not None:
            found = await self._of_session(scope, recipients.session_id)
        else:
            organization_id = recipients.organization_id
            if organization_id is not None:
                scope.require_organization(organization_id)
            found = await self.directory.find(
                RECIPIENTS_LIMIT,
                organization_id=organization_id or confined_to,
                role=recipients.role,
            )
        if len(found) > RECIPIENTS_LIMIT:
            field = next(iter(k for k in recipients.__struct_fields__ if getattr(recipients, k)))
            message = f"more than {RECIPIENTS_LIMIT} users"
            raise ValidationFailed([{"field": field, "message": message}])
        return found

    async def _of_session(self, scope: Scope, session_id: str) -> list[str]:
        """Members and joined users of a session; for a confined role, those that it may see."""
        await scope.require_session(session_id)
        joined = [connection.user_id for connection in scope.of_session(session_id)]
        joined += [  # on other nodes, too; of this one the directory may not have the latest yet
            each.user_id
            for each in await self.connections.connections(session(session_id))
            if scope.shows_in_session(each.organization_id)
        ]
        members = self.members.of_session(session_id)
        await scope.learn(members)
        return list(dict.fromkeys([*filter(scope.is_shown_in_session, members), *joined]))
