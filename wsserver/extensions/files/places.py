"""``Places``: the parts of uploads that this process receives, limited in all and by user."""

from __future__ import annotations

from collections import Counter

from wsserver.extensions.files.errors import FileUploadLimit, FileUploadsBusy

ACTIVE_LIMIT = 256
USER_LIMIT = 8
"""Of one user, so that a few cannot take all places."""


class Place:
    """The place of one part."""

    def __init__(self, taken: Counter[str], user_id: str) -> None:
        self._taken = taken
        self._user_id = user_id
        self._is_free = False
        taken[user_id] += 1

    def free(self) -> None:
        """Give it back; repeatable."""
        if not self._is_free:
            self._is_free = True
            self._taken[self._user_id] -= 1
            if not self._taken[self._user_id]:
                del self._taken[self._user_id]


class Places:
    """The places of this process."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()

    def require(self, user_id: str) -> None:
        """Raise ``FileUploadLimit`` or ``FileUploadsBusy`` if a user gets no place."""
        if self._taken[user_id] >= USER_LIMIT:
            message = f"{USER_LIMIT} parts of this user are being received; wait for one"
            raise FileUploadLimit(message, retry_after_s=5)
        if self._taken.total() >= ACTIVE_LIMIT:
            raise FileUploadsBusy("too many uploads at this moment", retry_after_s=5)

    def take(self, user_id: str, *, is_successor: bool = False) -> Place:
        """Take a place; raises as ``require``, unless it succeeds a part that has one."""
        if not is_successor:
            self.require(user_id)
        return Place(self._taken, user_id)
