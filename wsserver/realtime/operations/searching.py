"""Search in messages: which sessions are searched for whom, access to each hit, pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Annotated, Any, NamedTuple

from msgspec import Meta, Raw
from msgspec.json import encode

from wsserver.clock import Clock
from wsserver.errors import BadRequest
from wsserver.identity.claims import Claims
from wsserver.identity.permissions import UNCONFINED_ROLES, Permissions
from wsserver.paging import LARGEST_INT, PAGE_BYTES, decode_cursor, encode_cursor
from wsserver.protocol.pushes import positioned
from wsserver.realtime.access.actor import Actor
from wsserver.realtime.access.memberships import Members
from wsserver.realtime.access.session_access import ANY, SessionAccess
from wsserver.realtime.access.tenancy import Tenancy
from wsserver.realtime.messages.audience import read_audience
from wsserver.realtime.streams.retention_policy import SESSION
from wsserver.storage.messages.search import SESSIONS_LIMIT, Hit, Query, SearchStore
from wsserver.storage.messages.search_text import terms_of

READ = "messages:read"
ROUNDS = 10
"""Queries of the index for one page. A page may end with fewer hits then, and a cursor: in the
sessions of others there may be thousands of them."""

Readable = Callable[[Collection[str]], Awaitable[Collection[str]]]
"""Those of some sessions that the requester may read."""


class SearchCursor(NamedTuple):
    """Cursor of a search: the last message that was looked at."""

    id: Annotated[int, Meta(ge=0, le=LARGEST_INT)]


class Search:
    """Finds messages of sessions, the newest first, that the requester may read now."""

    def __init__(
        self,
        store: SearchStore,
        access: SessionAccess,
        members: Members,
        permissions: Permissions,
        tenancy: Tenancy,
        clock: Clock,
    ) -> None:
        self._store = store
        self._access = access
        self._members = members
        self._permissions = permissions
        self._tenancy = tenancy
        self._clock = clock

    async def of_user(
        self,
        claims: Claims,
        query: str,
        session_id: str | None,
        limit: int,
        before: str | None,
        budget: int,
    ) -> dict[str, Any]:
        """Messages of the sessions that a user may enter, or of one of them.

        ``budget``: bytes of the answer; one message in any case. Raises ``Forbidden`` for a session
        without access, ``BadRequest`` for a bad cursor, ``StorageUnavailable``.
        """
        sessions: Collection[str] | None
        if session_id is not None:
            await self._access.prepare(claims, session_id)
            self._access.require(claims, session_id)
            sessions = [session_id]
        else:
            sessions = self._sessions_of(claims)

        async def readable(ids: Collection[str]) -> Collection[str]:
            for each in ids:
                await self._access.prepare(claims, each)
            return {each for each in ids if self._access.allows(claims, each)}

        return await self._page(query, sessions, limit, before, budget, readable, claims)

    async def of_actor(
        self, actor: Actor, query: str, session_id: str | None, limit: int, cursor: str | None
    ) -> dict[str, Any]:
        """Messages of all sessions, for a confined role of those of its organization.

        Raises ``Forbidden`` for a session of another organization; otherwise as ``of_user``.
        """
        self._permissions.require(actor.claims, READ)
        scope = self._tenancy.scope(self._permissions.confined_to(actor.claims))
        if session_id is not None:
            await scope.require_session(session_id)

        async def readable(ids: Collection[str]) -> Collection[str]:
            return await scope.sessions(sorted(ids))

        sessions = None if session_id is None else [session_id]
        # Messages may be for another organization alone.
        reader = None if actor.claims.role in UNCONFINED_ROLES else actor.claims
        return await self._page(query, sessions, limit, cursor, PAGE_BYTES, readable, reader)

    def _sessions_of(self, claims: Claims) -> Collection[str] | None:
        """The sessions that a user may enter; None: too many to be named, or all."""
        if claims.sessions == "*" or self._permissions.allows(claims, ANY):
            return None
        sessions = claims.sessions | self._members.sessions_of(claims.sub)
        return sessions if len(sessions) <= SESSIONS_LIMIT else None

    async def _page(
        self,
        query: str,
        sessions: Collection[str] | None,
        limit: int,
        cursor: str | None,
        budget: int,
        readable: Readable,
        reader: Claims | None,
    ) -> dict[str, Any]:
        rest: int | None = LARGEST_INT if cursor is None else _before(cursor)
        terms = terms_of(query)
        now = self._clock.wall()
        page: list[Raw] = []
        for _ in range(ROUNDS):
            if rest is None:
                break
            wanted = Query(terms, sessions, rest, now, limit - len(page), max(1, budget))
            part = await self._store.find(wanted)
            allowed = await readable({_session_of(hit) for hit in part.hits})
            rest = part.rest
            for hit in part.hits:
                if _session_of(hit) not in allowed or not _is_for(reader, hit):
                    continue
                shown = _shown(hit)
                budget -= len(bytes(shown)) + 1
                if budget < 0 and page:
                    return _answer(page, hit.id + 1)
                page.append(shown)
            if len(page) == limit:
                break
        return _answer(page, rest)


def _answer(page: list[Raw], rest: int | None) -> dict[str, Any]:
    cursor = None if rest is None else encode_cursor(SearchCursor(rest))
    return {"messages": page, "next_cursor": cursor}


def _before(cursor: str) -> int:
    try:
        return decode_cursor(cursor, SearchCursor).id
    except BadRequest:
        raise BadRequest("before: not a cursor of a search", field="before") from None


def _session_of(hit: Hit) -> str:
    return hit.found.stream.removeprefix(SESSION)


def _is_for(reader: Claims | None, hit: Hit) -> bool:
    audience = read_audience(hit.found.audience)
    return reader is None or audience is None or audience.admits(reader)


def _shown(hit: Hit) -> Raw:
    """The push as it is in histories, with the snippet."""
    found = hit.found
    push = positioned(found.payload, found.stream, found.epoch, found.offset)
    return Raw(b'%b,"snippet":%b}' % (push[:-1], encode(hit.snippet)))
