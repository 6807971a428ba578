"""Directory of known users, connected or not, by organization and role."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from msgspec import Struct

from wsserver.clock import Clock
from wsserver.identity.claims import Claims
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.operations.user_records import UserErased
from wsserver.storage.notifications.known_users import KnownUser, KnownUserStore

NOTED = 1 << 14
"""Slots of the cache of stored users: 128 KiB, however many connect. Users who share a slot are
stored again whenever they alternate, which costs less than a larger cache."""
AGAIN_S = 3600.0
WAITING_LIMIT = 100_000
STORED_AT_ONCE = 250


class _Noted(Struct, gc=False):
    """What waits to be stored of a user: the claims, which the connection has anyway."""

    claims: Claims
    seen_at: float

    @property
    def user(self) -> KnownUser:
        """As it is stored."""
        claims = self.claims
        return KnownUser(claims.sub, claims.token_organization_id, claims.role, self.seen_at)


@dataclass(eq=False, repr=False)
class UserDirectory:
    """Users of organizations and roles: connected ones, and those of the last 90 days.

    Organization and role of a user's latest token are stored with a delay, so that many users who
    connect together are one transaction. ``entered``: the organization that was assigned to a
    user, which has priority over the token's.
    """

    store: KnownUserStore
    hub: Hub
    clock: Clock
    entered: Callable[[str], str | None]
    is_alone: bool = True
    """Whether no other process stores users: what was stored once need not be stored again."""

    def __post_init__(self) -> None:
        self._noted = array("q", bytes(8 * NOTED))
        """Hashes of what was noted since ``_noted_from``, in the slot of the user."""
        self._noted_from = self.clock.wall()
        self._waiting: dict[str, _Noted] = {}
        self._being_stored: dict[str, _Noted] = {}

    def note(self, claims: Claims) -> None:
        """Record a user who has connected, or has a newer token."""
        now = self.clock.wall()
        if not 0 <= now - self._noted_from < AGAIN_S:
            self._noted = array("q", bytes(8 * NOTED))
            self._noted_from = now
        organization_id = claims.token_organization_id
        place = hash(claims.sub) % NOTED
        noted = hash((claims.sub, organization_id, claims.role))
        if self._noted[place] == noted and self.is_alone:
            return
        if len(self._waiting) < WAITING_LIMIT or claims.sub in self._waiting:
            self._noted[place] = noted
            self._waiting[claims.sub] = _Noted(claims, now)

    def forget(self, notice: UserErased) -> None:
        """Drop what is not stored yet of a user; a connection from now on is recorded again."""
        self._waiting.pop(notice.user_id, None)
        self._noted[hash(notice.user_id) % NOTED] = 0

    async def flush(self) -> None:
        """Store recorded users; periodic work. Raises ``StorageUnavailable``, ``StorageFull``."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, {}
        self._being_stored = waiting
        each = iter(waiting.values())
        try:
            while some := list(islice(each, STORED_AT_ONCE)):
                await self.store.note([each.user for each in some])
        except BaseException:
            self._waiting = {**waiting, **self._waiting}
            raise
        finally:
            self._being_stored = {}

    async def find(
        self, limit: int, *, organization_id: str | None = None, role: str | None = None
    ) -> list[str]:
        """User ids of all, an organization, a role or both; at most ``limit + 1``.

        Raises ``StorageUnavailable``.
        """
        found = await self.store.find(limit + 1, organization_id=organization_id, role=role)
        found = [user_id for user_id in found if self._latest(user_id) is None]
        for each in chain(self._being_stored.values(), self._waiting.values()):
            user_id, own = each.claims.sub, each.claims.token_organization_id
            owner = self.entered(user_id) or own
            is_latest = self._latest(user_id) is each
            if is_latest and organization_id in (None, owner) and role in (None, each.claims.role):
                found.append(user_id)
        for connection in self.hub:
            claims = connection.claims
            if organization_id in (None, claims.organization_id) and role in (None, claims.role):
                if organization_id is None or self._is_of_one(claims.sub):
                    found.append(claims.sub)
        return list(dict.fromkeys(found))[: limit + 1]

    async def organizations(self, user_ids: Sequence[str]) -> dict[str, str | None]:
        """The organization of each user's latest token; unknown users are left out.

        Raises ``StorageUnavailable``.
        """
        known: dict[str, str | None] = {}
        asked: list[str] = []
        for user_id in user_ids:
            latest = self._latest(user_id)
            if latest is None:
                asked.append(user_id)
            else:
                known[user_id] = latest.claims.token_organization_id
        return known | await self.store.organizations(asked) if asked else known

    def _latest(self, user_id: str) -> _Noted | None:
        """Record of a user that is not stored yet."""
        return self._waiting.get(user_id) or self._being_stored.get(user_id)

    def _is_of_one(self, user_id: str) -> bool:
        """Whether all connections of a user agree. If not, the latest record counts."""
        if self.hub.user_connections.count(user_id) == 1:
            return True
        return len({c.claims.organization_id for c in self.hub.of_user(user_id)}) == 1
