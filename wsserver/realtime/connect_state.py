"""``ConnectStateLoader``: loads the stream positions that a new connection is sent first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import NamedTuple

from msgspec import Struct

from wsserver.identity.claims import Claims
from wsserver.protocol.types import Position
from wsserver.realtime.access.session_access import SessionAccess
from wsserver.realtime.inbox.inboxes import Inboxes, InboxState
from wsserver.realtime.sessions.read_positions import Positions, ReadPositions
from wsserver.realtime.streams.holds import Hold
from wsserver.realtime.streams.retention_policy import (
    BROADCAST,
    INBOX,
    SESSION,
    organization_stream_of,
)
from wsserver.realtime.streams.stream import Recovery
from wsserver.realtime.streams.streams import Streams
from wsserver.storage.engine.fair_queue import reading_for


class ConnectState(Struct, frozen=True):
    """Stream positions of a new connection, exact in this iteration of the event loop."""

    inbox: Recovery
    session: Recovery | None
    """Of the session that the connection is bound to."""
    waiting: InboxState
    """The unacknowledged messages."""
    organization: Recovery | None
    """None for a user without an organization."""
    positions: Positions
    """How far users have read the session that it is bound to."""
    broadcast: Recovery | None = None
    """For event streams only."""
    resumed: Mapping[str, Recovery] = {}
    """The streams of a cursor, with the messages that were missed."""


class ConnectStateLoader:
    """Loads the ``ConnectState`` of new connections, mostly from memory.

    ``check`` raises if claims are not valid any more, e.g. ``TokenRevoked``. ``replay_budget``:
    bytes of missed messages for one connection.
    """

    def __init__(
        self,
        streams: Streams,
        inboxes: Inboxes,
        access: SessionAccess,
        check: Callable[[Claims], None],
        positions: ReadPositions,
        replay_budget: int,
    ) -> None:
        self._inboxes = inboxes
        self._streams = streams
        self._access = access
        self._check = check
        self._read_positions = positions
        self._replay_budget = replay_budget

    def now(self, claims: Claims, session_id: str | None) -> ConnectState | None:
        """The state of a WebSocket, as ``load`` gives it; None if ``load`` has to be awaited."""
        if self._streams.is_shared:
            return None
        streams = _streams_of(claims, session_id)
        return self._state(streams, InboxState(claims.sub), session_id, None, {})

    def recheck(self, claims: Claims, session_id: str | None) -> None:
        """Check again what may have changed: raises what ``check`` raises, ``Forbidden``."""
        self._check(claims)
        if session_id is not None:
            self._access.require(claims, session_id)

    def load(
        self,
        claims: Claims,
        session_id: str | None,
        admit: Callable[[Claims], None],
        since: Mapping[str, Position] | None = None,
    ) -> Loading:
        """Load the state, in ``async with``; to be used in the same iteration of the event loop.

        ``since``: the cursor of an event stream, empty for a new one; None: a WebSocket, whose
        client resumes by a command. Checks again what may have changed while storage was read:
        raises what ``check`` and ``admit`` raise, ``Forbidden``, ``StorageUnavailable``.
        """
        return Loading(self, claims, session_id, admit, since)

    async def wait(self, loading: Loading) -> ConnectState:
        """The state, once it is in memory; of the messages that wait, ``loading`` takes note."""
        claims, session_id, since = loading.claims, loading.session_id, loading.since
        streams = _streams_of(claims, session_id, is_event_stream=since is not None)
        names = [name for name in streams if name is not None]
        held = list(dict.fromkeys([*names, *(since or ())]))
        hold = loading.hold = unsettled = self._streams.hold(held)
        read: Positions | None = None
        while True:
            if session_id is not None and self._read_known(session_id, read) is None:
                read = await self._read_positions.read(session_id)
            elif unsettled is not None:
                await unsettled.settle()
                unsettled = None
            elif (positions := self._positions(streams)) is None:
                for name in names:
                    await self._streams.open(name)
            elif positions[0] is not None and positions[0].offset and not loading.waiting.is_read:
                # An inbox at offset 0 is empty, as most are: it need not be read.
                with reading_for(claims.sub):
                    waiting = loading.waiting = await self._inboxes.open(claims.sub)
                if hold is not None:
                    # What was stored meanwhile may be in it, and is delivered once.
                    await hold.reach(names[0], waiting.epoch, waiting.offset)
            else:
                resumed: Mapping[str, Recovery] = {}
                if since:
                    resumed = await self._streams.recover(since, claims, self._replay_budget)
                    loading.admit(claims)
                    self.recheck(claims, session_id)
                state = self._state(streams, loading.waiting, session_id, read, resumed)
                if state is not None:
                    return state
            loading.admit(claims)
            self.recheck(claims, session_id)

    def end(self, loading: Loading) -> None:
        """Release what was held for a state: it has been used, or could not be loaded."""
        self._inboxes.close(loading.waiting)
        if loading.hold is not None:
            loading.hold.release()

    def _state(
        self,
        streams: _Streams,
        waiting: InboxState,
        session_id: str | None,
        read: Positions | None,
        resumed: Mapping[str, Recovery],
    ) -> ConnectState | None:
        """The state, or None if storage has to be read; ``read``: positions that were."""
        positions = self._positions(streams)
        read_positions = {} if session_id is None else self._read_known(session_id, read)
        if positions is None or read_positions is None:
            return None
        inbox, session, organization, broadcast = positions
        if inbox is None or (inbox.offset and not waiting.is_read):
            return None
        return ConnectState(
            inbox, session, waiting, organization, read_positions, broadcast, resumed
        )

    def _read_known(self, session_id: str, read: Positions | None) -> Positions | None:
        """The read positions of now, or those that were read; None: neither is there."""
        known = self._read_positions.known(session_id)
        return read if known is None else known

    def _positions(self, streams: _Streams) -> list[Recovery | None] | None:
        """The ends of the streams, if all are in memory."""
        positions: list[Recovery | None] = []
        for name in streams:
            position = None
            if name is not None:
                position = self._streams.position_now(name)
                if position is None:
                    return None
            positions.append(position)
        return positions


class Loading:
    """The loading of a ``ConnectState``; a context manager, as what it is exact by is held."""

    def __init__(
        self,
        loader: ConnectStateLoader,
        claims: Claims,
        session_id: str | None,
        admit: Callable[[Claims], None],
        since: Mapping[str, Position] | None,
    ) -> None:
        self._loader = loader
        self.claims = claims
        self.session_id = session_id
        self.admit = admit
        self.since = since
        self.waiting = InboxState(claims.sub)
        self.hold: Hold | None = None
        """Keeps the positions of streams exact."""

    async def __aenter__(self) -> ConnectState:
        try:
            return await self._loader.wait(self)
        except BaseException:
            self._loader.end(self)
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loader.end(self)


class _Streams(NamedTuple):
    """The streams whose positions a new connection is sent."""

    inbox: str
    session: str | None
    organization: str | None
    broadcast: str | None


def _streams_of(
    claims: Claims, session_id: str | None, *, is_event_stream: bool = False
) -> _Streams:
    return _Streams(
        INBOX + claims.sub,
        None if session_id is None else SESSION + session_id,
        organization_stream_of(claims),
        BROADCAST if is_event_stream else None,
    )
