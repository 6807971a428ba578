"""Exports of archived messages, within the requester's organization."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from msgspec import Meta

from wsserver.clock import Clock
from wsserver.identity.permissions import Permissions
from wsserver.paging import LARGEST_INT, decode_cursor, encode_cursor
from wsserver.realtime.access.actor import Actor
from wsserver.realtime.access.tenancy import SESSIONS_AT_ONCE, Scope, Tenancy
from wsserver.realtime.streams.history import admits_for
from wsserver.storage.messages.message_exports import (
    MessageExports,
    Part,
    Row,
    Selection,
    SessionStream,
)

PARTS_AT_ONCE = 10
"""Parts without a message that one request reads; then it answers an empty page."""


class _Cursor(NamedTuple):
    """The position after the last message of a page."""

    key: Annotated[int, Meta(ge=0, le=LARGEST_INT)]


class ArchiveExports:
    """Pages of the messages of all sessions, of an organization's or of one.

    A session's messages come in the order of their offsets, sessions in the order in which they
    began.
    """

    def __init__(
        self, store: MessageExports, permissions: Permissions, tenancy: Tenancy, clock: Clock
    ) -> None:
        self._store = store
        self._permissions = permissions
        self._tenancy = tenancy
        self._clock = clock

    async def page(
        self,
        actor: Actor,
        selection: Selection,
        *,
        session_id: str | None,
        organization_id: str | None,
        limit: int,
        cursor: str | None,
    ) -> tuple[list[Row], str | None]:
        """Up to ``limit`` messages after a cursor, and the next cursor; None: these are the last.

        Raises ``Forbidden`` for a filter that names something outside of the requester's
        organization, ``BadRequest`` for an invalid cursor, ``StorageUnavailable``.
        """
        self._permissions.require(actor.claims, "messages:read")
        own = self._permissions.confined_to(actor.claims)
        scope = self._tenancy.scope(own)
        if session_id is not None:
            await scope.require_session(session_id)
        if selection.sender is not None:
            await scope.require_users([selection.sender])
        if organization_id is not None:
            scope.require_organization(organization_id)
        if own is not None:
            # Messages may be for another organization alone.
            selection = selection._replace(admits=admits_for(actor.claims))
        within = self._tenancy.scope(own if organization_id is None else organization_id)
        position: int | None = 0 if cursor is None else decode_cursor(cursor, _Cursor).key
        rows: list[Row] = []
        for _ in range(PARTS_AT_ONCE):
            if rows or position is None:
                break
            rows, position = await self._part(within, selection, session_id, position, limit)
        return rows, None if position is None else encode_cursor(_Cursor(position))

    async def _part(
        self,
        within: Scope,
        selection: Selection,
        session_id: str | None,
        after: int,
        limit: int,
    ) -> Part:
        """The first messages of the next sessions, which may be none."""
        candidates, has_more = await self._candidates(selection, session_id, after)
        inside = set(await within.sessions([each.session_id for each in candidates]))
        wanted = [each for each in candidates if each.session_id in inside]
        part = await self._store.read(wanted, selection, after, self._clock.wall(), limit)
        if part.position is None and has_more:
            return part._replace(position=candidates[-1].end)
        return part

    async def _candidates(
        self, selection: Selection, session_id: str | None, after: int
    ) -> tuple[list[SessionStream], bool]:
        """The next sessions, and whether more may follow."""
        if session_id is not None:
            return await self._store.session(session_id), False
        found = await self._store.sessions(after, selection.since, SESSIONS_AT_ONCE)
        return found, len(found) == SESSIONS_AT_ONCE
