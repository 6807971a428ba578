"""Tenancy: organizations of users and sessions, and the scope of roles confined to one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from wsserver.cluster.control import Control, Request
from wsserver.cluster.nodes import ANSWER_S
from wsserver.errors import Forbidden, NotFound
from wsserver.identity.permissions import UNCONFINED_ROLES
from wsserver.realtime.access.memberships import AssignedOrganizations, Members
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.streams.retention_policy import SESSION
from wsserver.storage.messages.streams import Writer

GRANTS_LIMIT = 100_000
SESSIONS_AT_ONCE = 100
"""Sessions whose writers are read by one query."""

Writers = Callable[[Sequence[str]], Awaitable[Mapping[str, Sequence[Writer]]]]
SetOrganizations = Callable[[Sequence[str]], Awaitable[Mapping[str, str]]]


SPREAD_S = 0.5
"""Time for other nodes to apply a stored change; after it they find it in the database."""


class OrganizationAssigned(Request[int], frozen=True):
    """A user's organization was assigned in the database, as its change ``version``.

    None: that of the token counts again.
    """

    user_id: str
    organization_id: str | None
    version: int


class Joined(Struct, frozen=True):
    """The organizations of the connections in a session; None: of users without one."""

    named: list[str | None]
    """Of users who have access by token or member list."""
    all: list[str | None]


class JoinedOrganizations(Request[dict[str, Joined]], frozen=True):
    """The organizations of the connections in sessions; sessions without any are left out."""

    session_ids: list[str]


class ConnectedOrganizations(Request[dict[str, list[str | None]]], frozen=True):
    """The organizations of users' connections, each once; users without any are left out."""

    user_ids: list[str]


class HasConnection(Request[bool], frozen=True):
    """Whether a connection of an organization is on the node."""

    connection_id: str
    organization_id: str


class KnownUsers(Protocol):
    """All users who have ever connected."""

    async def organizations(self, user_ids: Sequence[str]) -> dict[str, str | None]:
        """The organization in each user's latest token; unknown users are left out."""
        ...


class Tenancy:
    """Finds the organizations that users and sessions belong to, whether online or not.

    ``writers``: senders of stored messages, by stream; ``set_organizations``: the organizations
    that were set for sessions as such, by session. Only requests of roles confined to an
    organization need these lookups.
    """

    def __init__(
        self,
        hub: Hub,
        control: Control,
        members: Members,
        assigned: AssignedOrganizations,
        known: KnownUsers,
        writers: Writers,
        set_organizations: SetOrganizations,
    ) -> None:
        self._hub = hub
        self._control = control
        self._members = members
        self._assigned = assigned
        self._known = known
        self._writers = writers
        self._set_organizations = set_organizations
        self._grants: OrderedDict[tuple[str, str], None] = OrderedDict()
        """LRU cache of (organization, session) pairs for which ``owns`` returned True."""
        control.add_handler(JoinedOrganizations, self._joined_here)
        control.add_handler(ConnectedOrganizations, self._connected_here)
        control.add_handler(HasConnection, self._has_here)

    def scope(self, organization_id: str | None) -> Scope:
        """The scope of an organization; None: everything."""
        return Scope(self, self._hub, organization_id)

    async def organizations_of(self, user_ids: Iterable[str]) -> dict[str, str | None]:
        """The organization of each user, or None; unknown users are left out.

        The assigned organization, else that of the open connections on all nodes, else that of the
        user's latest token, which also decides between connections of several organizations.
        Raises ``StorageUnavailable``.
        """
        found: dict[str, str | None] = {}
        unassigned: list[str] = []
        for user_id in dict.fromkeys(user_ids):
            assigned = self._assigned.get(user_id)
            if assigned is not None:
                found[user_id] = assigned
            else:
                unassigned.append(user_id)
        if not unassigned:
            return found
        answers = await self._control.ask_all(ConnectedOrganizations(unassigned), ANSWER_S)
        undecided: list[str] = []
        for user_id in unassigned:
            connected: set[str | None] = set()
            for part in answers.by_node.values():
                connected.update(part.get(user_id, ()))
            if connected:
                found[user_id] = next(iter(connected))
            if len(connected) != 1:
                undecided.append(user_id)
        if undecided:
            found |= await self._known.organizations(undecided)
        return found

    def _connected_here(self, request: ConnectedOrganizations) -> dict[str, list[str | None]]:
        found = {}
        for user_id in request.user_ids:
            connections = self._hub.of_user(user_id)
            if connections:
                found[user_id] = list({c.claims.organization_id for c in connections})
        return found

    async def owners_of(self, session_ids: Sequence[str]) -> dict[str, set[str]]:
        """The organizations that each session belongs to, may be empty.

        The one that was set for the session. Without: those of its members and writers, online or
        not, and of the users who have joined it. Users who may enter any session (administrators,
        services) without being named in their token or the member list count only if there is no
        other. Raises ``StorageUnavailable``.
        """
        owners: dict[str, set[str]] = {}
        for start in range(0, len(session_ids), SESSIONS_AT_ONCE):
            part = session_ids[start : start + SESSIONS_AT_ONCE]
            given = await self._set_organizations(part)
            owners |= {session_id: {given[session_id]} for session_id in given}
            owners |= await self._owners_of([each for each in part if each not in given])
        return owners

    async def set_organizations_of(self, session_ids: Sequence[str]) -> Mapping[str, str]:
        """The organizations that were set for sessions; those without one are left out."""
        return await self._set_organizations(session_ids)

    async def _owners_of(self, session_ids: Sequence[str]) -> dict[str, set[str]]:
        if not session_ids:
            return {}
        written = await self._writers([SESSION + session_id for session_id in session_ids])
        members = {session_id: self._members.of_session(session_id) for session_id in session_ids}
        users = {user_id for each in members.values() for user_id in each}
        users |= {w.user_id for each in written.values() for w in each if w.user_id is not None}
        known = await self.organizations_of(users)
        answers = await self._control.ask_all(JoinedOrganizations(list(session_ids)), ANSWER_S)
        owners: dict[str, set[str]] = {}
        for session_id in session_ids:
            writers = written.get(SESSION + session_id, ())
            joined = [each[session_id] for each in answers.by_node.values() if session_id in each]
            found = {known.get(user_id) for user_id in members[session_id]}
            found |= {
                _organization_of(each, known) for each in writers if _shows_owner(each, known)
            }
            found.update(*(each.named for each in joined))
            found.discard(None)
            if not found:
                # A message for one organization alone may have been written from outside of it.
                found = {each.only_for or _organization_of(each, known) for each in writers}
                found.update(*(each.all for each in joined))
            owners[session_id] = {each for each in found if each is not None}
        return owners

    def _joined_here(self, request: JoinedOrganizations) -> dict[str, Joined]:
        found = {}
        for session_id in request.session_ids:
            joined = self._hub.of_session(session_id)
            if joined:
                named = {c.claims.organization_id for c in joined if self.is_named(c, session_id)}
                everyone = {c.claims.organization_id for c in joined}
                found[session_id] = Joined(list(named), list(everyone))
        return found

    def is_named(self, connection: ConnectionInfo, session_id: str) -> bool:
        """Whether a user has access to the session by token or member list.

        Not for unconfined roles: they may enter any session, so it shows nothing of its owner.
        """
        claims = connection.claims
        return claims.role not in UNCONFINED_ROLES and (
            claims.opens(session_id) or self._members.is_member(session_id, claims.sub)
        )

    async def has_connection(self, organization_id: str, connection_id: str) -> bool:
        """Whether a connection of an organization is open, on whichever node."""
        asked = HasConnection(connection_id, organization_id)
        if self._has_here(asked):
            return True
        answers = await self._control.ask_all(asked, ANSWER_S)
        return any(answers.by_node.values())

    def _has_here(self, request: HasConnection) -> bool:
        connection = self._hub.connections.get(request.connection_id)
        return (
            connection is not None and connection.claims.organization_id == request.organization_id
        )

    async def owns(self, organization_id: str, session_id: str) -> bool:
        """Whether a session belongs to an organization. Raises ``StorageUnavailable``."""
        given = (await self._set_organizations([session_id])).get(session_id)
        is_own = given == organization_id
        if given is None:
            is_own = (
                any(
                    c.claims.organization_id == organization_id and self.is_named(c, session_id)
                    for c in self._hub.of_session(session_id)
                )
                or organization_id in (await self._owners_of([session_id]))[session_id]
            )
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
        """The latest result of ``owns``; False if there is none (any more)."""
        return (organization_id, session_id) in self._grants

    async def assign(self, user_id: str, organization_id: str | None, by: str, at: float) -> None:
        """Assign a user's organization, on all nodes (``AccessChanges``).

        Messages are routed to the user's connections by the new organization from now on, and they
        leave the sessions that it does not allow. Raises ``StorageUnavailable``, ``StorageFull``.
        """
        version = await self._assigned.store(user_id, organization_id, by, at)
        await self._control.ask_all(
            OrganizationAssigned(user_id, organization_id, version), SPREAD_S
        )

    def reclaim(self, user_id: str) -> list[ConnectionInfo]:
        """Apply a user's assigned organization to this node's connections; returns the changed."""
        moved = []
        for connection in self._hub.of_user(user_id):
            claims = self._assigned.resolve(connection.claims)
            if claims is not connection.claims:
                self._hub.reclaim(connection, claims)
                moved.append(connection)
        return moved


class Scope:
    """What one request may see and change: everything, or one organization.

    Users, sessions and connections of other organizations are refused like unknown ones, with the
    same text: 403 for names in bodies and filters (``require_…``), 404 for names in paths
    (``find_…``).
    """

    def __init__(self, tenancy: Tenancy, hub: Hub, organization_id: str | None) -> None:
        self._tenancy = tenancy
        self._hub = hub
        self.organization_id = organization_id
        self._learned: dict[str, str | None] = {}
        self._has_session: dict[str, bool] = {}

    # Connections, whose claims have their organization

    def sees(self, connection: ConnectionInfo) -> bool:
        """Whether the connection belongs to the scope."""
        mine = self.organization_id
        return mine is None or connection.claims.organization_id == mine

    def sees_in_session(self, connection: ConnectionInfo) -> bool:
        """Whether a connection in a session of the organization is shown, and gets its messages.

        True for users without an organization (customers), who belong to the session; False for
        users of other organizations.
        """
        return self.shows_in_session(connection.claims.organization_id)

    def shows_in_session(self, organization_id: str | None) -> bool:
        """Whether a connection of an organization is shown in a session of the scope's one."""
        mine = self.organization_id
        return mine is None or organization_id in (None, mine)

    def of_session(self, session_id: str) -> list[ConnectionInfo]:
        """The connections in a session for which ``sees_in_session`` is true."""
        return list(filter(self.sees_in_session, self._hub.of_session(session_id)))

    def filter(self, connections: Iterable[ConnectionInfo]) -> list[ConnectionInfo]:
        """Those of the connections that belong to the scope."""
        return [connection for connection in connections if self.sees(connection)]

    async def require_connection(self, connection_id: str) -> None:
        """Raise ``Forbidden`` for a connection that is outside or does not exist."""
        mine = self.organization_id
        if mine is not None and not await self._tenancy.has_connection(mine, connection_id):
            raise _outside("connection", connection_id)

    # Organizations

    def require_organization(self, organization_id: str) -> None:
        """Raise ``Forbidden`` for another organization."""
        if self.organization_id not in (None, organization_id):
            raise _outside("organization", organization_id)

    # Users

    async def learn(self, user_ids: Iterable[str]) -> None:
        """Look up the organizations of users by one query. Raises ``StorageUnavailable``."""
        if self.organization_id is None:
            return
        missing = set(user_ids) - self._learned.keys()
        if missing:
            self._learned |= await self._tenancy.organizations_of(missing)

    def is_own(self, user_id: str) -> bool:
        """Whether a user belongs to the scope; call ``learn`` before."""
        mine = self.organization_id
        return mine is None or self._learned.get(user_id) == mine

    def is_shown_in_session(self, user_id: str) -> bool:
        """Whether a user of a session is shown; call ``learn`` before.

        True also for users without an organization (customers), False for unknown users.
        """
        return self.is_own(user_id) or self._learned.get(user_id, "") is None

    async def has_user(self, user_id: str) -> bool:
        """Whether a user belongs to the scope. Raises ``StorageUnavailable``."""
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
        """Whether a session belongs to the scope. Raises ``StorageUnavailable``."""
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
        """Those of the sessions that belong to the scope. Raises ``StorageUnavailable``."""
        mine = self.organization_id
        if mine is None:
            return list(session_ids)
        given = await self._tenancy.set_organizations_of(session_ids)
        present = {
            id_
            for id_ in session_ids
            if id_ not in given
            and any(
                self.sees(c) and self._tenancy.is_named(c, id_) for c in self._hub.of_session(id_)
            )
        }
        owners = await self._tenancy.owners_of([id_ for id_ in session_ids if id_ not in present])
        return [id_ for id_ in session_ids if id_ in present or mine in owners[id_]]


def _shows_owner(writer: Writer, known: Mapping[str, str | None]) -> bool:
    """Whether a session belongs to the organization of a writer.

    Not if the message was for one organization alone, nor if the writer's role may write in any
    session, unless a backend wrote in the name of a known user.
    """
    if writer.only_for is not None:
        return False
    if writer.role not in UNCONFINED_ROLES:
        return True
    return not writer.is_publisher and known.get(writer.user_id or "") is not None


def _organization_of(writer: Writer, known: Mapping[str, str | None]) -> str | None:
    """The current organization of a writer; of an unknown one, that at the time of writing."""
    now = None if writer.user_id is None else known.get(writer.user_id)
    return writer.organization_id if now is None else now


def _outside(kind: str, id_: str) -> Forbidden:
    return Forbidden(f"{kind} {id_} is outside of your organization")
