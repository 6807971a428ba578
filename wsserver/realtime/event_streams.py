"""``EventStreams``: opens event streams, and replays what a client missed since an earlier one.

A client that comes back with the cursor of its last event is taken to where it was: as if the
connection had only stood still, each missed message follows as an event of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wsserver.clock import rfc3339
from wsserver.errors import Forbidden, SessionLimit
from wsserver.protocol.pushes import position_of, push
from wsserver.protocol.types import Position
from wsserver.realtime.access.session_access import SessionAccess
from wsserver.realtime.connect_state import ConnectState
from wsserver.realtime.connections.channel import Channel, new_channel
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.delivery.event_cursors import reached
from wsserver.realtime.sessions.sessions import Sessions
from wsserver.realtime.streams.cursors import FIELD, advance, format_cursor
from wsserver.realtime.streams.retention_policy import (
    BROADCAST,
    INBOX,
    SESSION,
    organization_stream_of,
)
from wsserver.realtime.streams.stream import TOO_FAR_BEHIND, Recovery
from wsserver.wire.event_stream import EventStream
from wsserver.wire.events import build_event
from wsserver.wire.poller import Poller

FORBIDDEN = "forbidden"

Cursor = Mapping[str, Position]


class EventStreams:
    """Makes the ``EventStreamStart`` of each new event stream.

    ``replay_budget``: bytes of kept messages that may be queued for one connection. A client whose
    system confirms nothing for ``silence_s`` seconds is lost.
    """

    def __init__(
        self,
        poller: Poller,
        access: SessionAccess,
        node: str,
        *,
        replay_budget: int,
        session_limit: int,
        silence_s: float,
    ) -> None:
        self._poller = poller
        self._access = access
        self._node = node
        self._replay_budget = replay_budget
        self._session_limit = session_limit
        self._silence_s = silence_s

    async def readable(self, who: ConnectionInfo, cursor: Cursor) -> dict[str, Position]:
        """The streams of a cursor that a client may read; access may have been withdrawn.

        Raises ``Forbidden`` for the inbox of another user, as no server has given out such a
        cursor, and ``SessionLimit``.
        """
        inbox = INBOX + who.user_id
        if any(name.startswith(INBOX) and name != inbox for name in cursor):
            raise Forbidden(f"{FIELD}: the cursor of another user")
        sessions = [name.removeprefix(SESSION) for name in cursor if name.startswith(SESSION)]
        if len(sessions) > self._session_limit:
            raise SessionLimit(self._session_limit)
        for session_id in sessions:
            await self._access.prepare(who.claims, session_id)
        return {name: cursor[name] for name in cursor if self._may_read(who, name)}

    def start(
        self,
        connection: ConnectionInfo,
        state: ConnectState,
        cursor: Cursor,
        inbox_pushes: Sequence[bytes],
    ) -> EventStreamStart:
        """The start of an event stream, in the iteration in which ``state`` is exact."""
        resumed = {
            name: recovery
            for name, recovery in state.resumed.items()
            if self._may_read(connection, name)  # again: it may have been withdrawn meanwhile
        }
        return EventStreamStart(
            connection,
            new_channel(self._node, connection.connection_id),
            state,
            cursor,
            _affordable(resumed, state, self._replay_budget - sum(map(len, inbox_pushes))),
            inbox_pushes,
        )

    def open(
        self, start: EventStreamStart, fd: int, response: bytes, established: bytes
    ) -> EventStream:
        """Take over the socket; raises as ``Poller.adopt_event_stream`` does."""
        connection = start.connection
        transport = self._poller.adopt_event_stream(
            fd,
            connection,
            greeting=response + start.greeting(established),
            silence_s=self._silence_s,
        )
        transport.cursor = start.cursor
        transport.secret = start.channel.secret
        return transport

    def _may_read(self, who: ConnectionInfo, stream: str) -> bool:
        return self._access.allows_stream(who.claims, who.session_id, stream)


class EventStreamStart:
    """The first events of one event stream, and its cursor.

    Sent are ``connection_established``, with a cursor ``resumed``, the inbox, ``session_joined`` of
    a bound connection, then the missed messages of the other streams.
    """

    def __init__(
        self,
        connection: ConnectionInfo,
        channel: Channel,
        state: ConnectState,
        cursor: Cursor,
        resumed: Mapping[str, Recovery],
        inbox_pushes: Sequence[bytes],
    ) -> None:
        self.connection = connection
        self.channel = channel
        self.count = 0
        """Number of events that ``greeting`` and ``replay`` have made."""
        self._since = cursor
        self._resumed = resumed
        self._inbox = INBOX + connection.user_id
        self._inbox_pushes = inbox_pushes
        self.cursor = format_cursor(self._positions(state))

    def has_resumed(self, stream: str) -> bool:
        """Whether a stream goes on where its cursor was."""
        found = self._resumed.get(stream)
        return found is not None and found.is_complete

    def position_in(self, stream: str, recovery: Recovery) -> Recovery:
        """Where the client is in a stream: at its cursor, if it can be taken on from there."""
        if not self.has_resumed(stream):
            return recovery
        return Recovery(recovery.epoch, self._since[stream].offset, [], None)

    def greeting(self, established: bytes) -> bytes:
        """The events up to the inbox; ``established``: the push ``connection_established``."""
        pushes = [established]
        if self._since:
            now = rfc3339(self.connection.connected_at)
            pushes.append(push("resumed", now, streams=self._answers()))
        missed = self._resumed.get(self._inbox)
        pushes += _merged(self._inbox_pushes, missed.messages if missed is not None else [])
        events = []
        for text in pushes:
            self._pass(text)
            events.append(build_event(text, event_id=self.cursor))
        if missed is not None:
            self.cursor = advance(self.cursor, self._inbox, missed.epoch, missed.offset)
        self.count += len(events)
        return b"".join(events)

    def replay(self, sessions: Sessions) -> None:
        """Join the sessions of the cursor again, and send what was missed.

        With it the answers that grow in them, also those that began before the cursor.
        """
        connection, transport = self.connection, self.connection.websocket
        rest = sum([recovery.size for recovery in self._resumed.values()])
        for name, recovery in self._resumed.items():
            rest -= recovery.size
            if name == self._inbox or not isinstance(transport, EventStream):
                continue
            session_id = name.removeprefix(SESSION)
            if session_id != name:
                since = self._since[name]
                recovery = sessions.with_growing(connection, session_id, recovery, since, rest)
                if session_id != connection.session_id:
                    sessions.rejoin(connection, session_id, recovery)
            for text in recovery.messages:
                position = position_of(text)
                if position is not None:
                    transport.cursor = advance(transport.cursor, *position)
                transport.send_text(text)
            self.count += len(recovery.messages)
            reached(connection, name, recovery)

    def _positions(self, state: ConnectState) -> dict[str, Position]:
        organization = organization_stream_of(self.connection.claims)
        bound_to = self.connection.session_id
        ends: dict[str | None, Recovery | None] = {
            self._inbox: state.inbox,
            BROADCAST: state.broadcast,
            organization: state.organization,
            None if bound_to is None else SESSION + bound_to: state.session,
        }
        ends.update(self._resumed)
        positions: dict[str, Position] = {}
        for name, end in ends.items():
            if name is not None and end is not None:
                place = self.position_in(name, end)
                positions[name] = Position(place.epoch, place.offset)
        return positions

    def _answers(self) -> dict[str, Any]:
        """For each stream of the cursor: where it goes on, or why not where the cursor was."""
        answers: dict[str, Any] = {}
        for name in self._since:
            recovery = self._resumed.get(name)
            if recovery is None:
                answers[name] = {"recovered": False, "reason": FORBIDDEN}
            else:
                place = self.position_in(name, recovery)
                answers[name] = Recovery(place.epoch, place.offset, [], recovery.reason).answer()
        return answers

    def _pass(self, text: bytes) -> None:
        position = position_of(text)
        if position is not None:
            self.cursor = advance(self.cursor, *position)


def _affordable(
    resumed: Mapping[str, Recovery], state: ConnectState, room: int
) -> dict[str, Recovery]:
    """The recoveries that fit beside the pending messages of the inbox; others are given up.

    So is that of the inbox while pending messages go on to be sent from storage, in their order.
    """
    affordable: dict[str, Recovery] = {}
    for name, recovery in resumed.items():
        is_inbox = name.startswith(INBOX)
        if recovery.size > room or (is_inbox and state.waiting.is_partial):
            reason = recovery.reason or TOO_FAR_BEHIND
            recovery = Recovery(recovery.epoch, recovery.offset, [], reason)
        room -= recovery.size
        affordable[name] = recovery
    return affordable


def _merged(pending: Sequence[bytes], missed: Sequence[bytes]) -> list[bytes]:
    """Pending and missed messages of an inbox, each once, in the order of their offsets."""
    by_offset: dict[int, bytes] = {}
    for text in (*missed, *pending):
        position = position_of(text)
        by_offset[position[2] if position is not None else 0] = text
    return [by_offset[offset] for offset in sorted(by_offset)]
