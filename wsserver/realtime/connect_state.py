"""Arrivals: what has to be known of a newcomer's streams before it can be let in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from wsserver.identity.claims import Claims
from wsserver.realtime.access.session_access import SessionAccess
from wsserver.realtime.inbox.inboxes import Inboxes, InboxState
from wsserver.realtime.streams.retention_policy import INBOX, SESSION, organization_stream_of
from wsserver.realtime.streams.stream import Recovery
from wsserver.realtime.streams.streams import Streams
from wsserver.storage.engine.fair_queue import reading_for


class Arrival(NamedTuple):
    """Where a newcomer's streams stand in the turn of the loop in which it is let in."""

    inbox: Recovery
    session: Recovery | None
    """Of the session that the connection is bound to."""
    waiting: InboxState
    """What nobody has acknowledged."""
    organization: Recovery | None
    """Of the organization; None: the newcomer belongs to none."""


class Arrivals:
    """Finds out about streams for newcomers; most of the time without asking the storage.

    ``check`` raises what stands against claims since they were verified.
    """

    def __init__(
        self,
        streams: Streams,
        inboxes: Inboxes,
        access: SessionAccess,
        check: Callable[[Claims], None],
    ) -> None:
        self.inboxes = inboxes
        self._streams = streams
        self._access = access
        self._check = check

    def is_expected(self, claims: Claims, session_id: str | None) -> bool:
        """Is everything in memory?"""
        return self._known(claims, session_id, InboxState(claims.sub)) is not None

    @asynccontextmanager
    async def of(
        self, claims: Claims, session_id: str | None, admit: Callable[[Claims], None]
    ) -> AsyncIterator[Arrival]:
        """How things stand; to be used in the same turn of the loop.

        What may have changed while storage was asked is checked anew; raises what ``check`` and
        ``admit`` raise, ``Forbidden``, ``StorageUnavailable``.
        """
        waiting = InboxState(claims.sub)
        try:
            while (arrival := self._known(claims, session_id, waiting)) is None:
                if self._places(claims, session_id) is None:
                    for name in _streams_of(claims, session_id):
                        if name is not None:
                            await self._streams.open(name)
                else:
                    with reading_for(claims.sub):
                        waiting = await self.inboxes.open(claims.sub)
                self._check(claims)
                admit(claims)
                if session_id is not None:
                    self._access.require(claims, session_id)
            yield arrival
        finally:
            self.inboxes.close(waiting)

    def _known(self, claims: Claims, session_id: str | None, waiting: InboxState) -> Arrival | None:
        """The arrival, unless storage has to be asked for something."""
        places = self._places(claims, session_id)
        if places is None:
            return None
        inbox, session, organization = places
        # Where no message ever came, none waits: so nothing needs to be read for most users.
        is_known = waiting.is_read or not inbox.offset
        return Arrival(inbox, session, waiting, organization) if is_known else None

    def _places(
        self, claims: Claims, session_id: str | None
    ) -> tuple[Recovery, Recovery | None, Recovery | None] | None:
        """Where the streams of inbox, session and organization are, if that is in memory."""
        places: list[Recovery | None] = []
        for name in _streams_of(claims, session_id):
            place = None
            if name is not None:
                place = self._streams.recover_now(name, None, claims, 0)
                if place is None:
                    return None
            places.append(place)
        inbox, session, organization = places
        return (inbox, session, organization) if inbox is not None else None


def _streams_of(claims: Claims, session_id: str | None) -> tuple[str, str | None, str | None]:
    """The streams whose positions a newcomer is given: inbox, session, organization."""
    session = None if session_id is None else SESSION + session_id
    return INBOX + claims.sub, session, organization_stream_of(claims)
