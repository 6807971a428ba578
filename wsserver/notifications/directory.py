"""Who there is, connected or not: noted when users connect."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import islice

from wsserver.clock import Clock
from wsserver.identity.claims import Claims
from wsserver.realtime.hub import Hub
from wsserver.storage.known_users import KnownUser, KnownUserStore

NOTED = 1 << 14
"""Places for what need not be noted again: 128 KiB, however many come and go. Who finds his taken
by somebody else is stored once more within the hour, which costs less than more memory would."""
AGAIN_S = 3600.0
WAITING_LIMIT = 100_000
STORED_AT_ONCE = 250


class Directory:
    """The users of organizations and roles: those who are connected, and those who have been.

    What a user's latest token said is noted; storing it is put off a little, so that a crowd that
    comes at once is one transaction. Users who are connected are known without it.
    """

    def __init__(self, store: KnownUserStore, hub: Hub, clock: Clock) -> None:
        self._store = store
        self._hub = hub
        self._clock = clock
        self._noted = array("q", bytes(8 * NOTED))
        """What was noted since ``_noted_from``: the hash of each, at the place that it names."""
        self._noted_from = clock.wall()
        self._waiting: dict[str, KnownUser] = {}

    def note(self, claims: Claims) -> None:
        """A user has connected, or has a newer token."""
        now = self._clock.wall()
        if not 0 <= now - self._noted_from < AGAIN_S:
            self._noted = array("q", bytes(8 * NOTED))
            self._noted_from = now
        noted = hash((claims.sub, claims.organization_id, claims.role))
        if self._noted[noted % NOTED] == noted:
            return
        self._noted[noted % NOTED] = noted
        if len(self._waiting) < WAITING_LIMIT:
            self._waiting[claims.sub] = KnownUser(
                claims.sub, claims.organization_id, claims.role, now
            )

    async def flush(self) -> None:
        """Store what was noted; periodic work. Raises ``StorageUnavailable``, ``StorageFull``."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, {}
        each = iter(waiting.values())
        try:
            while some := list(islice(each, STORED_AT_ONCE)):
                await self._store.note(some)
        except BaseException:
            self._waiting = {**waiting, **self._waiting}
            raise

    async def find(
        self, limit: int, *, organization_id: str | None = None, role: str | None = None
    ) -> list[str]:
        """User ids of all, an organization, a role or both; at most ``limit``, and one more.

        Raises ``StorageUnavailable``.
        """
        found = await self._store.find(limit + 1, organization_id=organization_id, role=role)
        for waiting in self._waiting.values():  # noted, but not stored yet
            if organization_id in (None, waiting.organization_id) and role in (None, waiting.role):
                found.append(waiting.user_id)
        for connection in self._hub:
            claims = connection.claims
            if organization_id in (None, claims.organization_id) and role in (None, claims.role):
                found.append(claims.sub)
        return list(dict.fromkeys(found))[: limit + 1]

    async def organizations(self, user_ids: Sequence[str]) -> dict[str, set[str | None]]:
        """To what organizations the users belong; who has never been here is not in it.

        Of who is connected, those of the connections count; else the latest one noted.
        """
        known: dict[str, set[str | None]] = {
            user_id: {organization_id}
            for user_id, organization_id in (await self._store.organizations(user_ids)).items()
        }
        for user_id in user_ids:
            if user_id in self._waiting:
                known[user_id] = {self._waiting[user_id].organization_id}
            connections = self._hub.of_user(user_id)
            if connections:
                known[user_id] = {each.claims.organization_id for each in connections}
        return known
