"""``OwnOrStaff``: access of users to their own objects, and of staff to those of their scope."""

from __future__ import annotations

from dataclasses import dataclass

from wsserver.identity.permissions import Permissions
from wsserver.realtime.access.actor import Actor
from wsserver.realtime.access.tenancy import Tenancy


@dataclass(eq=False, repr=False, kw_only=True)
class OwnOrStaff:
    """Access to what belongs to a user: the user's own token, or a permission and the scope."""

    permissions: Permissions
    tenancy: Tenancy

    async def require(self, actor: Actor, user_id: str, permission: str) -> None:
        """Raise ``Forbidden`` without the permission, ``NotFound`` for a user outside."""
        claims = actor.claims
        if claims.sub == user_id:
            return
        self.permissions.require(claims, permission)
        await self.tenancy.scope(self.permissions.confined_to(claims)).find_user(user_id)
