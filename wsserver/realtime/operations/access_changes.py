"""``AccessChanges``: brings changes of access lists into force on this node, whoever made them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from wsserver.cluster.control import Control, Notice, Request
from wsserver.errors import StorageUnavailable
from wsserver.identity.revocations import Revocations
from wsserver.protocol.close_codes import CloseCode
from wsserver.realtime.access.memberships import AssignedOrganizations, Members
from wsserver.realtime.access.tenancy import OrganizationAssigned, Tenancy
from wsserver.realtime.manager import WebSocketManager
from wsserver.realtime.operations.user_records import UserErased
from wsserver.realtime.sessions.unread import UnreadPushes
from wsserver.storage.tables.access_lists import CHANGES_AT_ONCE, AccessChangeStore, ListChange

POLL_S = 0.5
"""Period of looking for changes of other nodes whose requests got lost."""
COUNTED = 16
"""Revocations whose closed connections are counted one by one; each looks at all connections."""

COUNTS_KEPT = 1000
"""Revocations whose closed connections are remembered until their requests come."""


class MembersReplaced(Request[int], frozen=True):
    """The member list of a session was replaced in the database, as its change ``version``."""

    session_id: str
    user_ids: tuple[str, ...]
    version: int


class MembersStored(Notice, frozen=True):
    """The same, to be applied before anything that was sent after it: requests become tasks.

    So a node that stood still does not write later messages to who was removed. It also reaches
    nodes that are taken for lost, which are not asked.
    """

    change: MembersReplaced


class SessionAssigned(Request[int], frozen=True):
    """The organization of a session was set in the database, as its change ``version``."""

    session_id: str
    version: int


class RevokeTokens(Request[int], frozen=True):
    """Tokens were added to the deny list; the answer is the number of closed connections."""

    version: int
    jti: str | None = None
    user_id: str | None = None
    issued_until: float = 0.0
    """Of a user: tokens issued up to this time, in seconds since the epoch."""


class TokensRevoked(Notice, frozen=True):
    """The same, to be applied before anything that was sent after it."""

    change: RevokeTokens


class AccessChanges:
    """The changes of revocations, member lists and organizations, in the order of their numbers.

    Erasures of users are among them: a node that has missed the notice gives it to itself.

    A node that has stored a change sends it to all nodes, itself first. Where it is the next one it
    is applied at once; where others are missing before it, all are read from the database, as by
    ``poll``. So all nodes end with what was stored last.
    """

    def __init__(
        self,
        store: AccessChangeStore,
        manager: WebSocketManager,
        tenancy: Tenancy,
        members: Members,
        organizations: AssignedOrganizations,
        revocations: Revocations,
        unread: UnreadPushes,
        control: Control,
    ) -> None:
        self.version = 0
        """The number of the latest change that is applied here, with all before it."""
        self._store = store
        self._manager = manager
        self._hub = manager.hub
        self._tenancy = tenancy
        self._members = members
        self._organizations = organizations
        self._revocations = revocations
        self._unread = unread
        self._control = control
        self._reading = asyncio.Lock()
        self._closed: dict[int, int] = {}
        """Connections closed by the latest revocations that were read before they were received."""
        self._unreviewed: set[str] = set()
        """Sessions whose change is applied, except that it was not found out yet who may stay."""

    def register(self) -> None:
        """Register the handlers."""
        control = self._control
        control.add_handler(MembersReplaced, self.members_replaced)
        control.add_handler(OrganizationAssigned, self.organization_assigned)
        control.add_handler(SessionAssigned, self.session_assigned)
        control.add_handler(RevokeTokens, self.revoke)
        control.add_listener(UserErased, self.user_erased)
        control.add_listener(MembersStored, self.members_stored)
        control.add_listener(TokensRevoked, self.tokens_revoked)

    async def load(self) -> None:
        """Begin with the changes of now; the lists are read after it."""
        self.version = await self._store.version()

    async def poll(self) -> bool:
        """Apply what was stored elsewhere, or by a commit whose outcome was not known here.

        Keeps quiet while the database is away; False then.
        """
        try:
            if await self._store.version() > self.version:
                await self._catch_up()
            for session_id in tuple(self._unreviewed):
                await self._review(session_id)
        except StorageUnavailable:
            return False  # /health reports the reason
        return True

    def members_stored(self, notice: MembersStored) -> None:
        """Apply a member list unless changes are missing before it: its request follows."""
        self._replace_if_next(notice.change)

    async def members_replaced(self, request: MembersReplaced) -> int:
        """Apply a member list; users who lose access are removed from the session."""
        self._replace_if_next(request)
        await self._reach(request.version)
        return self.version

    def _replace_if_next(self, change: MembersReplaced) -> None:
        if self._is_next(change.version):
            self._replace_members(change.session_id, change.user_ids)

    async def organization_assigned(self, request: OrganizationAssigned) -> int:
        """Apply a user's organization; connections leave the sessions that it does not allow."""
        if self._is_next(request.version):
            self._assign(request.user_id, request.organization_id)
        else:
            await self._reach(request.version)
        return self.version

    async def session_assigned(self, request: SessionAssigned) -> int:
        """Apply the organization of a session: who has no access by it any more leaves."""
        if self._is_next(request.version):
            await self._review(request.session_id)
        else:
            await self._reach(request.version)
        return self.version

    def revoke(self, request: RevokeTokens) -> int:
        """Deny tokens, and close the connections that use them.

        In any order: nothing takes a revocation back. ``poll`` finds what is missing before it.
        """
        if request.version in self._closed:  # applied already
            return self._closed.pop(request.version)
        return self._deny(request)

    def tokens_revoked(self, notice: TokensRevoked) -> None:
        """Deny tokens; the request that follows answers how many connections were closed."""
        self._note_closed(notice.change.version, self._deny(notice.change))

    def _deny(self, change: RevokeTokens) -> int:
        self._is_next(change.version)
        if change.jti is not None:
            self._revocations.revoke_jti(change.jti)
        if change.user_id is not None:
            self._revocations.revoke_user(change.user_id, change.issued_until)
        return self._close_revoked()

    def user_erased(self, notice: UserErased) -> None:
        """Note that this node has heard of an erasure; ``poll`` finds what is missing before it."""
        self._is_next(notice.version)

    def _is_next(self, version: int) -> bool:
        """Whether no change is missing before this one; it counts as applied then."""
        if version != self.version + 1:
            return False
        self.version = version
        return True

    async def _reach(self, version: int) -> None:
        """Have applied all changes up to this one."""
        if version > self.version:
            await self._catch_up()

    async def _catch_up(self) -> None:
        async with self._reading:
            is_complete = False
            while not is_complete:
                changes = await self._store.since(self.version)
                is_complete = len(changes) < CHANGES_AT_ONCE
                # What was applied meanwhile is newer than what was read.
                newer = [each for each in changes if each.number > self.version]
                self._apply(newer)
                # The organization of a session is numbered like its members.
                for each in newer:
                    if each.kind == "members":
                        await self._review(each.key)

    def _apply(self, changes: Sequence[ListChange]) -> None:
        is_counted = len(changes) <= COUNTED
        is_revoked = False
        for change in changes:
            match change.kind:
                case "members":
                    self._replace_members(change.key, change.value)
                case "organization":
                    self._assign(change.key, change.value)
                case "jti":
                    self._revocations.revoke_jti(change.key)
                    is_revoked = True
                case "user":
                    self._revocations.revoke_user(change.key, change.value)
                    is_revoked = True
                case "erased":
                    self._control.notify_here(UserErased(change.key, change.number))
            self.version = change.number
            if is_revoked and is_counted:
                is_revoked = False
                self._note_closed(change.number, self._close_revoked())
        if is_revoked:
            self._close_revoked()

    def _note_closed(self, version: int, count: int) -> None:
        """Remember how many connections a revocation has closed before its request came."""
        self._closed[version] = self._closed.get(version, 0) + count
        while len(self._closed) > COUNTS_KEPT:
            del self._closed[next(iter(self._closed))]

    def _close_revoked(self) -> int:
        revoked = [each for each in self._hub if self._revocations.is_revoked(each.claims)]
        for connection in revoked:
            self._manager.close(connection, CloseCode.TOKEN_REVOKED, "token revoked")
        return len(revoked)

    def _replace_members(self, session_id: str, user_ids: Sequence[str]) -> None:
        before = set(self._members.of_session(session_id))
        removed = self._members.apply(session_id, user_ids)
        self._manager.sessions.positions.forget(session_id)
        self._unread.members_changed(session_id, before ^ set(user_ids))
        self._manager.presence.listed(session_id, set(user_ids) - before, removed)
        for user_id in removed:
            for connection in self._hub.of_user(user_id):
                self._manager.sessions.enforce_access(connection)

    async def _review(self, session_id: str) -> None:
        """Look up again who may be in a session because of the organization that it belongs to."""
        self._unreviewed.add(session_id)
        access = self._manager.sessions.access
        doubtful = [
            connection
            for connection in self._hub.of_session(session_id)
            if access.needs_preparing(connection.claims, session_id)
        ]
        for connection in doubtful:
            await access.prepare(connection.claims, session_id)
        self._unreviewed.discard(session_id)
        for connection in doubtful:
            if connection.is_alive:
                self._manager.sessions.enforce_access(connection)

    def _assign(self, user_id: str, organization_id: str | None) -> None:
        self._organizations.apply(user_id, organization_id)
        for connection in self._tenancy.reclaim(user_id):
            self._manager.sessions.enforce_access(connection)
