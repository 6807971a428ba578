"""Who belongs to a session without being named in a token: the member lists."""

from __future__ import annotations

from collections.abc import Sequence

from wsserver.storage.tables.access_lists import MemberStore


class Members:
    """The member lists in memory, written through to the store."""

    def __init__(self, store: MemberStore) -> None:
        self._store = store
        self._by_session: dict[str, set[str]] = {}
        self._by_user: dict[str, set[str]] = {}

    async def load(self) -> None:
        """Read what the store has; to be called before the first connection."""
        for session_id, user_id in await self._store.all():
            self._add(session_id, user_id)

    def is_member(self, session_id: str, user_id: str) -> bool:
        """Is the user in the session's list?"""
        return user_id in self._by_session.get(session_id, ())

    def of_session(self, session_id: str) -> list[str]:
        """The session's members, sorted."""
        return sorted(self._by_session.get(session_id, ()))

    def sessions_of(self, user_id: str) -> set[str]:
        """The sessions that list the user."""
        return set(self._by_user.get(user_id, ()))

    async def replace(
        self, session_id: str, user_ids: Sequence[str], by: str, at: float
    ) -> set[str]:
        """Store a new list, then put it in force; returns the users it removed."""
        await self._store.replace(session_id, user_ids, by, at)
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
