"""Entered organizations: which user belongs where because a service or administrator said so."""

from __future__ import annotations

import sys
from typing import Protocol

from wsserver.identity.claims import Claims


class Store(Protocol):
    """What is needed of the storage of entered organizations."""

    async def all(self) -> list[tuple[str, str]]:
        """Every (user_id, organization_id)."""
        ...

    async def put(self, user_id: str, organization_id: str | None, by: str, at: float) -> None:
        """Enter one, or forget it."""
        ...


class EnteredOrganizations:
    """The entered organizations in memory, written through to the store.

    An entered organization takes precedence over that of the user's token, wherever claims come
    from: ``resolve`` is applied to all of them.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._by_user: dict[str, str] = {}

    async def load(self) -> None:
        """Read what the store has; to be called before the first connection."""
        for user_id, organization_id in await self._store.all():
            # Many users of few organizations: one text for all.
            self._by_user[user_id] = sys.intern(organization_id)

    def get(self, user_id: str) -> str | None:
        """The organization that was entered for a user; None: none was."""
        return self._by_user.get(user_id)

    def resolve(self, claims: Claims) -> Claims:
        """The claims with the organization that their user belongs to now."""
        return claims.belonging_to(self._by_user.get(claims.sub))

    async def enter(self, user_id: str, organization_id: str | None, by: str, at: float) -> None:
        """Store a user's organization, then put it in force; None: that of the token counts again.

        ``by``: user id of the caller; ``at``: seconds since the epoch. Raises
        ``StorageUnavailable``, ``StorageFull``; the old one is in force then.
        """
        await self._store.put(user_id, organization_id, by, at)
        if organization_id is None:
            self._by_user.pop(user_id, None)
        else:
            self._by_user[user_id] = sys.intern(organization_id)
