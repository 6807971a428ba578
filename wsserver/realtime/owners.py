"""Whose a session is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from wsserver.realtime.access import Scope
from wsserver.realtime.hub import Hub
from wsserver.realtime.keeping import SESSION


class SessionOwners:
    """Tells a confined role whose a session is, also while nobody of its organization is in it.

    ``organizations``: those of the people who have written to a stream, from storage.
    """

    def __init__(self, hub: Hub, organizations: Callable[[str], Awaitable[set[str]]]) -> None:
        self._hub = hub
        self._organizations = organizations

    async def is_foreign(self, scope: Scope, session_id: str) -> bool:
        """Does the session belong to others? Nothing is known of one that is empty and unwritten.

        Raises ``StorageUnavailable``.
        """
        if scope.organization_id is None:
            return False
        if not scope.has_session(session_id):
            return True
        if any(map(scope.sees, self._hub.of_session(session_id))):
            return False
        owners = await self._organizations(SESSION + session_id)
        return bool(owners) and scope.organization_id not in owners
