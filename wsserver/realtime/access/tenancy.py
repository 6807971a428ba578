"""Which organization a user or session belongs to, and what a confined role may reach by it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol

from wsserver.errors import Forbidden, NotFound
from wsserver.identity.permissions import UNCONFINED_ROLES
from wsserver.realtime.access.members import Members
from wsserver.realtime.access.organizations import EnteredOrganizations
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.streams.retention_policy import SESSION
from wsserver.storage.messages.streams import Writer

GRANTS_LIMIT = 100_000
SESSIONS_AT_ONCE = 100
"""Sessions whose writers are read in one go."""

Writers = Callable[[Sequence[str]], Awaitable[Mapping[str, Sequence[Writer]]]]


class KnownUsers(Protocol):
    """The users who have ever come, connected or not."""

    async def organizations(self, user_ids: Sequence[str]) -> dict[str, str | None]:
        """The organization of the token that each came with last; unknown users are left out."""
        ...


class Tenancy:
    """Answers which organization users and sessions belong to; decides nothing by who is online.

    ``writers``: the senders of what streams keep, from storage. What a lookup costs only roles
    that are confined to an organization pay: nobody else's requests ask.
    """

    def __init__(
        self,
        hub: Hub,
        members: Members,
        entered: EnteredOrganizations,
        known: KnownUsers,
        writers: Writers,
    ) -> None:
        self._hub = hub
        self._members = members
        self._entered = entered
        self._known = known
        self._writers = writers
        self._grants: OrderedDict[tuple[str, str], None] = OrderedDict()
        """Organization and session, where one was found to belong to the other; bounded."""

    def scope(self, organization_id: str | None) -> Scope:
        """What is inside of an organization; None: everything."""
        return Scope(self, self._hub, organization_id)

    async def organizations_of(self, user_ids: Iterable[str]) -> dict[str, str | None]:
        """The organization of each user, None for one of no organization; the unknown are left out.

        The entered one, else that of the open connections, else that of the token that the user
        last came with, which also decides between connections of several. Raises
        ``StorageUnavailable``.
        """
        found: dict[str, str | None] = {}
        asked: list[str] = []
        for user_id in dict.fromkeys(user_ids):
            entered = self._entered.get(user_id)
            if entered is not None:
                found[user_id] = entered
                continue
            connected = [c.claims.organization_id for c in self._hub.of_user(user_id)]
            if connected:
                found[user_id] = connected[-1]
            if len(set(connected)) != 1:
                asked.append(user_id)
        if asked:
            found |= await self._known.organizations(asked)
        return found

    async def owners_of(self, session_ids: Sequence[str]) -> dict[str, set[str]]:
        """The organizations that each session belongs to; an empty set: nobody's.

        Those of its members and writers, present or not, and of the people who have joined it.
        Administrators, services and others who may enter without being named in a token or member
        list help, watch and relay anywhere: their organizations count only where there is no other.
        (An organization set for a session as such would be looked up here, before all others.)
        Raises ``StorageUnavailable``.
        """
        owners: dict[str, set[str]] = {}
        for start in range(0, len(session_ids), SESSIONS_AT_ONCE):
            owners |= await self._owners_of(session_ids[start : start + SESSIONS_AT_ONCE])
        return owners

    async def _owners_of(self, session_ids: Sequence[str]) -> dict[str, set[str]]:
        written = await self._writers([SESSION + session_id for session_id in session_ids])
        members = {session_id: self._members.of_session(session_id) for session_id in session_ids}
        people = {user_id for each in members.values() for user_id in each}
        people |= {w.user_id for each in written.values() for w in each if w.user_id is not None}
        known = await self.organizations_of(people)
        owners: dict[str, set[str]] = {}
        for session_id in session_ids:
            writers = written.get(SESSION + session_id, ())
            joined = self._hub.of_session(session_id)
            found = {known.get(user_id) for user_id in members[session_id]}
            found |= {_organization_of(each, known) for each in writers if _is_at_home(each, known)}
            found |= {c.claims.organization_id for c in joined if self.is_named(c, session_id)}
            found.discard(None)
            if not found:
                # Who has written for one organization alone may have done so from outside.
                found = {each.only_for or _organization_of(each, known) for each in writers}
                found |= {c.claims.organization_id for c in joined}
            owners[session_id] = {each for each in found if each is not None}
        return owners

    def is_named(self, connection: ConnectionInfo, session_id: str) -> bool:
        """Is somebody of one organization in a session by token or member list?

        Not so who may enter any: that says nothing of whose the session is.
        """
        claims = connection.claims
        return claims.role not in UNCONFINED_ROLES and (
            claims.opens(session_id) or self._members.is_member(session_id, claims.sub)
        )

    async def owns(self, organization_id: str, session_id: str) -> bool:
        """Does a session belong to an organization? Raises ``StorageUnavailable``."""
        is_own = any(
            c.claims.organization_id == organization_id and self.is_named(c, session_id)
            for c in self._hub.of_session(session_id)
        )
        if not is_own:
            is_own = organization_id in (await self.owners_of([session_id]))[session_id]
        grant = (organization_id, session_id)
        if not is_own:
            self._grants.pop(grant, None)
            return False
        self._grants[grant] = None
        self._grants.move_to_end(grant)
        if len(self._grants) > GRANTS_LIMIT:
            self._grants.popitem(last=False)
        return True

    def is_known_to_own(self, organization_id: str, session_id: str) -> bool:
        """The latest answer of ``owns``; False where it was not asked, or long ago."""
        return (organization_id, session_id) in self._grants

    async def enter(
        self, user_id: str, organization_id: str | None, by: str, at: float
    ) -> list[ConnectionInfo]:
        """Enter a user's organization; returns the open connections that belong elsewhere by it.

        They have been moved: what is sent from now on goes by the new one. Raises
        ``StorageUnavailable``, ``StorageFull``.
        """
        await self._entered.enter(user_id, organization_id, by, at)
        moved = []
        for connection in self._hub.of_user(user_id):
            claims = self._entered.resolve(connection.claims)
            if claims is not connection.claims:
                self._hub.reclaim(connection, claims)
                moved.append(connection)
        return moved


class Scope:
    """The part of the world that one request may see and reach: everything, or one organization.

    Whoever belongs elsewhere and whoever is unknown are outside alike, with the same words: 403
    for names in bodies and filters (``require_…``), 404 for names in paths (``find_…``).
    """

    def __init__(self, tenancy: Tenancy, hub: Hub, organization_id: str | None) -> None:
        self._tenancy = tenancy
        self._hub = hub
        self.organization_id = organization_id
        self._learned: dict[str, str | None] = {}
        self._has_session: dict[str, bool] = {}

    # Connections, which say themselves where they belong

    def sees(self, connection: ConnectionInfo) -> bool:
        """Does the connection belong to it?"""
        mine = self.organization_id
        return mine is None or connection.claims.organization_id == mine

    def sees_in_session(self, connection: ConnectionInfo) -> bool:
        """Is the connection shown, and written to, as part of a session of the organization?

        A session's customers belong to no organization, but to the session: they are. The people
        of other organizations are not.
        """
        mine = self.organization_id
        return mine is None or connection.claims.organization_id in (None, mine)

    def of_session(self, session_id: str) -> list[ConnectionInfo]:
        """The connections in a session that are shown."""
        return list(filter(self.sees_in_session, self._hub.of_session(session_id)))

    def filter(self, connections: Iterable[ConnectionInfo]) -> list[ConnectionInfo]:
        """Those of the connections that belong to it."""
        return [connection for connection in connections if self.sees(connection)]

    def require_connection(self, connection_id: str) -> None:
        """Raise ``Forbidden`` for a connection outside, or one that is not there."""
        connection = self._hub.connections.get(connection_id)
        if self.organization_id is not None and (connection is None or not self.sees(connection)):
            raise _outside("connection", connection_id)

    def find_connection(self, connection_id: str) -> ConnectionInfo:
        """A connection by id; raises ``NotFound``, also for one outside."""
        connection = self._hub.connections.get(connection_id)
        if connection is None or not self.sees(connection):
            raise NotFound("connection", connection_id)
        return connection

    # Organizations

    def require_organization(self, organization_id: str) -> None:
        """Raise ``Forbidden`` for another organization."""
        if self.organization_id not in (None, organization_id):
            raise _outside("organization", organization_id)

    # Users

    async def learn(self, user_ids: Iterable[str]) -> None:
        """Look up the organizations of users, all at once. Raises ``StorageUnavailable``."""
        if self.organization_id is None:
            return
        missing = set(user_ids) - self._learned.keys()
        if missing:
            self._learned |= await self._tenancy.organizations_of(missing)

    def is_own(self, user_id: str) -> bool:
        """Does a user belong to it, by what ``learn`` has found?"""
        mine = self.organization_id
        return mine is None or self._learned.get(user_id) == mine

    def is_shown_in_session(self, user_id: str) -> bool:
        """Is a user of a session shown? Customers of no organization are, the unknown are not.

        By what ``learn`` has found.
        """
        return self.is_own(user_id) or self._learned.get(user_id, "") is None

    async def has_user(self, user_id: str) -> bool:
        """Does a user belong to it? Raises ``StorageUnavailable``."""
        await self.learn([user_id])
        return self.is_own(user_id)

    async def require_users(self, user_ids: Iterable[str]) -> None:
        """Raise ``Forbidden`` for the first user outside."""
        if self.organization_id is None:
            return
        user_ids = list(user_ids)
        await self.learn(user_ids)
        for user_id in user_ids:
            if not self.is_own(user_id):
                raise _outside("user", user_id)

    async def find_user(self, user_id: str) -> None:
        """Raise ``NotFound`` for a user outside."""
        if not await self.has_user(user_id):
            raise NotFound("user", user_id)

    # Sessions

    async def has_session(self, session_id: str) -> bool:
        """Does a session belong to it? Raises ``StorageUnavailable``."""
        mine = self.organization_id
        if mine is None:
            return True
        if session_id not in self._has_session:
            self._has_session[session_id] = await self._tenancy.owns(mine, session_id)
        return self._has_session[session_id]

    async def require_session(self, session_id: str) -> None:
        """Raise ``Forbidden`` for a session outside."""
        if not await self.has_session(session_id):
            raise _outside("session", session_id)

    async def find_session(self, session_id: str) -> None:
        """Raise ``NotFound`` for a session outside."""
        if not await self.has_session(session_id):
            raise NotFound("session", session_id)

    async def sessions(self, session_ids: Sequence[str]) -> list[str]:
        """Those of the sessions that belong to it. Raises ``StorageUnavailable``."""
        mine = self.organization_id
        if mine is None:
            return list(session_ids)
        present = {
            id_
            for id_ in session_ids
            if any(
                self.sees(c) and self._tenancy.is_named(c, id_) for c in self._hub.of_session(id_)
            )
        }
        owners = await self._tenancy.owners_of([id_ for id_ in session_ids if id_ not in present])
        return [id_ for id_ in session_ids if id_ in present or mine in owners[id_]]


def _is_at_home(writer: Writer, known: Mapping[str, str | None]) -> bool:
    """Does it say whose a session is that somebody has written in it?

    Not of one who may write in any, or wrote for one organization alone; but of known people in
    whose names a backend has written.
    """
    if writer.only_for is not None:
        return False
    if writer.role not in UNCONFINED_ROLES:
        return True
    return not writer.is_publisher and known.get(writer.user_id or "") is not None


def _organization_of(writer: Writer, known: Mapping[str, str | None]) -> str | None:
    """The organization of a writer now; of one who is unknown now, that of the time of writing."""
    now = None if writer.user_id is None else known.get(writer.user_id)
    return writer.organization_id if now is None else now


def _outside(kind: str, id_: str) -> Forbidden:
    return Forbidden(f"{kind} {id_} is outside of your organization")
