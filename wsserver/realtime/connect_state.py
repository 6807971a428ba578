"""``ConnectStateLoader``: loads the stream positions that a new connection is sent first."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from wsserver.identity.claims import Claims
from wsserver.realtime.access.session_access import SessionAccess
from wsserver.realtime.inbox.inboxes import Inboxes, InboxState
from wsserver.realtime.sessions.read_positions import Positions, ReadPositions
from wsserver.realtime.streams.retention_policy import INBOX, SESSION, organization_stream_of
from wsserver.realtime.streams.stream import Recovery
from wsserver.realtime.streams.streams import Streams
from wsserver.storage.engine.fair_queue import reading_for


class ConnectState(NamedTuple):
    """Stream positions of a new connection, exact in this iteration of the event loop."""

    inbox: Recovery
    session: Recovery | None
    """Of the session that the connection is bound to."""
    waiting: InboxState
    """The unacknowledged messages."""
    organization: Recovery | None
    """None for a user without an organization."""
    positions: Positions
    """How far the users of the session have read."""


class ConnectStateLoader:
    """Loads the ``ConnectState`` of new connections, mostly from memory.

    ``check`` raises if claims are not valid any more, e.g. ``TokenRevoked``.
    """

    def __init__(
        self,
        streams: Streams,
        inboxes: Inboxes,
        access: SessionAccess,
        check: Callable[[Claims], None],
        positions: ReadPositions,
    ) -> None:
        self._inboxes = inboxes
        self._streams = streams
        self._access = access
        self._check = check
        self._read_positions = positions

    def is_in_memory(self, claims: Claims, session_id: str | None) -> bool:
        """Whether ``load`` needs no storage."""
        if self._streams.is_shared:
            return False
        return self._known(claims, session_id, InboxState(claims.sub), None) is not None

    def recheck(self, claims: Claims, session_id: str | None) -> None:
        """Check again what may have changed: raises what ``check`` raises, ``Forbidden``."""
        self._check(claims)
        if session_id is not None:
            self._access.require(claims, session_id)

    @asynccontextmanager
    async def load(
        self, claims: Claims, session_id: str | None, admit: Callable[[Claims], None]
    ) -> AsyncIterator[ConnectState]:
        """Load the state; to be used in the same iteration of the event loop.

        Checks again what may have changed while storage was read: raises what ``check`` and
        ``admit`` raise, ``Forbidden``, ``StorageUnavailable``.
        """
        waiting = InboxState(claims.sub)
        names = [name for name in _streams_of(claims, session_id) if name is not None]
        hold = unsettled = self._streams.hold(names)
        read: Positions | None = None
        try:
            while (
                unsettled is not None
                or (state := self._known(claims, session_id, waiting, read)) is None
            ):
                if session_id is not None and self._read_known(session_id, read) is None:
                    read = await self._read_positions.read(session_id)
                elif unsettled is not None:
                    await unsettled.settle()
                    unsettled = None
                elif self._positions(claims, session_id) is None:
                    for name in names:
                        await self._streams.open(name)
                else:
                    with reading_for(claims.sub):
                        waiting = await self._inboxes.open(claims.sub)
                    if hold is not None:
                        # What was stored meanwhile may be in it, and is delivered once.
                        await hold.reach(names[0], waiting.epoch, waiting.offset)
                admit(claims)
                self.recheck(claims, session_id)
            yield state
        finally:
            self._inboxes.close(waiting)
            if hold is not None:
                hold.release()

    def _known(
        self,
        claims: Claims,
        session_id: str | None,
        waiting: InboxState,
        read: Positions | None,
    ) -> ConnectState | None:
        """The state, or None if storage has to be read; ``read``: positions that were."""
        positions = self._positions(claims, session_id)
        read_positions = {} if session_id is None else self._read_known(session_id, read)
        if positions is None or read_positions is None:
            return None
        inbox, session, organization = positions
        # An inbox at offset 0 is empty, as most are: it need not be read.
        is_known = waiting.is_read or not inbox.offset
        if not is_known:
            return None
        return ConnectState(inbox, session, waiting, organization, read_positions)

    def _read_known(self, session_id: str, read: Positions | None) -> Positions | None:
        """The read positions of now, or those that were read; None: neither is there."""
        known = self._read_positions.known(session_id)
        return read if known is None else known

    def _positions(
        self, claims: Claims, session_id: str | None
    ) -> tuple[Recovery, Recovery | None, Recovery | None] | None:
        """The ends of the streams of inbox, session and organization, if all are in memory."""
        positions: list[Recovery | None] = []
        for name in _streams_of(claims, session_id):
            position = None
            if name is not None:
                position = self._streams.position_now(name)
                if position is None:
                    return None
            positions.append(position)
        inbox, session, organization = positions
        return (inbox, session, organization) if inbox is not None else None


def _streams_of(claims: Claims, session_id: str | None) -> tuple[str, str | None, str | None]:
    """The streams whose positions a new connection is sent: inbox, session, organization."""
    session = None if session_id is None else SESSION + session_id
    return INBOX + claims.sub, session, organization_stream_of(claims)
