"""Member lists of sessions and assigned organizations of users, in memory and in the database."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from wsserver.identity.claims import Claims
from wsserver.storage.tables.access_lists import MemberChange, MemberStore, OrganizationStore


class Members:
    """The member lists of sessions, kept in memory and written through to the store.

    A member may enter a session without being named in a token.
    """

    def __init__(self, store: MemberStore) -> None:
        self._store = store
        self._by_session: dict[str, set[str]] = {}
        self._by_user: dict[str, set[str]] = {}

    async def load(self) -> None:
        """Read the stored lists; to be called before the first connection."""
        for session_id, user_id in await self._store.all():
            self._add(session_id, user_id)

    def is_member(self, session_id: str, user_id: str) -> bool:
        """Whether the user is in the session's list."""
        return user_id in self._by_session.get(session_id, ())

    def of_session(self, session_id: str) -> list[str]:
        """The session's members, sorted."""
        return sorted(self._by_session.get(session_id, ()))

    def sessions_of(self, user_id: str) -> set[str]:
        """The sessions that have the user as a member."""
        return set(self._by_user.get(user_id, ()))

    async def replace(
        self, session_id: str, user_ids: Sequence[str], by: str, at: float
    ) -> set[str]:
        """Store and apply a new list; returns the removed users. Errors as of ``store``."""
        await self.store(session_id, user_ids, by, at)
        return self.apply(session_id, user_ids)

    async def store(
        self, session_id: str, user_ids: Sequence[str], by: str, at: float
    ) -> MemberChange:
        """Store a new list, which ``apply`` brings into force on each server.

        ``by``: user id of the requester; ``at``: seconds since the epoch. Raises
        ``StorageUnavailable``, ``StorageFull``; the list is unchanged then.
        """
        return await self._store.replace(session_id, user_ids, by, at)

    def apply(self, session_id: str, user_ids: Sequence[str]) -> set[str]:
        """Apply a list that is stored already; returns the removed users."""
        removed = self._by_session.get(session_id, set()) - set(user_ids)
        for user_id in removed:
            self._by_session[session_id].discard(user_id)
            self._forget(self._by_user, user_id, session_id)
        if not self._by_session.get(session_id, True):
            del self._by_session[session_id]
        for user_id in user_ids:
            self._add(session_id, user_id)
        return removed

    def _add(self, session_id: str, user_id: str) -> None:
        self._by_session.setdefault(session_id, set()).add(user_id)
        self._by_user.setdefault(user_id, set()).add(session_id)

    @staticmethod
    def _forget(index: dict[str, set[str]], key: str, value: str) -> None:
        index[key].discard(value)
        if not index[key]:
            del index[key]


class AssignedOrganizations:
    """Organizations of users as assigned by a service or an administrator, written through.

    An assigned organization overrides that of the user's token: ``resolve`` is applied to all
    claims, wherever they come from.
    """

    def __init__(self, store: OrganizationStore) -> None:
        self._store = store
        self._by_user: dict[str, str] = {}

    async def load(self) -> None:
        """Read the stored assignments; to be called before the first connection."""
        for user_id, organization_id in await self._store.all():
            # Many users of few organizations: one string object for all.
            self._by_user[user_id] = sys.intern(organization_id)

    def get(self, user_id: str) -> str | None:
        """The organization assigned to a user, or None."""
        return self._by_user.get(user_id)

    def resolve(self, claims: Claims) -> Claims:
        """The claims with the organization that their user belongs to now."""
        return claims.belonging_to(self._by_user.get(claims.sub))

    async def store(self, user_id: str, organization_id: str | None, by: str, at: float) -> int:
        """Store a user's organization, None: that of the token; returns the change's number.

        ``apply`` brings it into force on each server. ``by``: user id of the requester; ``at``:
        seconds since the epoch. Raises ``StorageUnavailable``, ``StorageFull``; the assignment is
        unchanged then.
        """
        return await self._store.put(user_id, organization_id, by, at)

    def apply(self, user_id: str, organization_id: str | None) -> None:
        """Apply an assignment that is stored already."""
        if organization_id is None:
            self._by_user.pop(user_id, None)
        else:
            self._by_user[user_id] = sys.intern(organization_id)
