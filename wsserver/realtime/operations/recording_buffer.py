"""``RecordingBuffer``: what went over the wires of some connections of this node, bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.json import decode, encode

from wsserver.clock import Clock, rfc3339
from wsserver.realtime.connections.connection import SSE, WEBSOCKET, ConnectionInfo
from wsserver.realtime.operations.recorded_frames import read_text, redacted
from wsserver.wire.sent_texts import texts_in_events, texts_in_frames

EVENTS_LIMIT: Final = 20_000
BYTES_LIMIT: Final = 4 * 1024 * 1024
"""Of one recording on one node; nothing is added after the first event beyond it."""
FRAME_LIMIT: Final = 256 * 1024
"""Of a longer text only type and size are recorded."""
CONNECTIONS_LIMIT: Final = 200
PAGE_BYTES: Final = 512 * 1024
"""Of the events that one node answers at a time."""
REFS_LIMIT: Final = 1000
"""Commands about a session whose replies are awaited."""


class Wanted(Struct, frozen=True):
    """What is to be recorded."""

    recording_id: str
    user_id: str | None
    session_id: str | None
    with_contents: bool
    organization_id: str | None
    """Only connections of this organization; None: all."""
    by: str
    started_at: float
    ends_at: float
    """Seconds since the epoch."""
    node: str = ""
    """The node that was asked for it, which reports its end."""


class RecordingBuffer:
    """The events of one recording on this node, numbered from 0."""

    def __init__(self, wanted: Wanted, clock: Clock) -> None:
        self.wanted = wanted
        self.connections: dict[str, dict[str, Any]] = {}
        self.is_full = False
        """Whether events were left out because of a limit."""
        self._clock = clock
        self._events: list[bytes] = []
        """As JSON, which takes a fraction of the memory of objects."""
        self.bytes = 0
        self._is_at_limit = False

    def __len__(self) -> int:
        return len(self._events)

    def add_connection(self, connection: ConnectionInfo) -> bool:
        """Note whose connection it is; False: it was noted before, or there are too many."""
        if connection.connection_id in self.connections:
            return False
        if len(self.connections) >= CONNECTIONS_LIMIT:
            self.is_full = True
            return False
        claims = connection.claims
        self.connections[connection.connection_id] = {
            "connection_id": connection.connection_id,
            "user_id": connection.user_id,
            "role": claims.role,
            "organization_id": claims.organization_id,
            "endpoint": connection.endpoint,
            "session_id": connection.session_id,
            "protocol": connection.protocol,
            "transport": SSE if connection.websocket.is_event_stream else WEBSOCKET,
            "user_agent": connection.user_agent,
            "opened_at": rfc3339(connection.connected_at),
        }
        return True

    def add(self, direction: str, connection_id: str, fields: dict[str, Any]) -> None:
        """Add an event: ``in`` and ``out`` as the client sees it, or ``client``: open and close.

        After the first one beyond a limit all are left out, so that there are no gaps before it.
        """
        if self._is_at_limit:
            return
        event = {
            "at": rfc3339(self._clock.wall()),
            "dir": direction,
            "connection": connection_id,
            **fields,
        }
        stored = encode(event)
        if len(self._events) >= EVENTS_LIMIT or self.bytes + len(stored) > BYTES_LIMIT:
            self._is_at_limit = self.is_full = True
            return
        self._events.append(stored)
        self.bytes += len(stored)

    def page(self, start: int, limit: int) -> list[dict[str, Any]]:
        """The events from a number on, at most ``limit`` and ``PAGE_BYTES``."""
        found = _within(self._events[start : start + limit], PAGE_BYTES)
        return [decode(each) for each in found]


class ConnectionRecorder:
    """Observer of one connection, for one recording."""

    def __init__(
        self,
        buffer: RecordingBuffer,
        connection: ConnectionInfo,
        ended: Callable[[str], None],
    ) -> None:
        self._buffer = buffer
        self._id = connection.connection_id
        self._ended = ended
        self._texts = texts_in_events if connection.websocket.is_event_stream else texts_in_frames
        self._session_id = buffer.wanted.session_id
        self._refs: dict[Any, None] = {}

    def opened(self, pushes: Sequence[bytes]) -> None:
        """The connection is new, and was greeted with these pushes."""
        self._buffer.add("client", self._id, {"type": "connect"})
        for payload in pushes:
            self._add("in", payload)

    def sent(self, data: bytes) -> None:
        """Frames or events to the client."""
        for payload in self._texts(data):
            self._add("in", payload)

    def received(self, payload: bytes) -> None:
        """A command of the client."""
        self._add("out", payload)

    def closed(self, code: int, reason: str, clean: bool) -> None:
        """The end of the connection."""
        fields = {"type": "close", "code": int(code), "reason": reason, "clean": clean}
        self._buffer.add("client", self._id, fields)
        self._ended(self._id)

    def _add(self, direction: str, payload: bytes) -> None:
        frame = read_text(payload) if len(payload) <= FRAME_LIMIT else None
        if frame is None:
            self._buffer.add(direction, self._id, {"type": None, "bytes": len(payload)})
            return
        if self._session_id is not None and not self._concerns_session(direction, frame):
            return
        shown = redacted(frame, with_contents=self._buffer.wanted.with_contents)
        type_ = frame.get("type")
        fields = {"type": type_ if isinstance(type_, str) else None, "bytes": len(payload)}
        self._buffer.add(direction, self._id, {**fields, "frame": shown})

    def _concerns_session(self, direction: str, frame: dict[str, Any]) -> bool:
        """Whether a text is about the recorded session, or the reply to one that is."""
        ref = frame.get("ref")
        ref = ref if isinstance(ref, str | int) else None
        if direction == "in" and ref is not None and ref in self._refs:
            del self._refs[ref]
            return True
        if frame.get("type") == "connection_established":
            return True
        session_id, stream = self._session_id, f"session:{self._session_id}"
        streams = frame.get("streams")
        concerns = (
            frame.get("session_id") == session_id
            or frame.get("stream") == stream
            or (isinstance(streams, dict) and stream in streams)
        )
        if concerns and direction == "out" and ref is not None and len(self._refs) < REFS_LIMIT:
            self._refs[ref] = None
        return concerns


def _within(events: list[bytes], limit_bytes: int) -> Iterator[bytes]:
    """The first events up to a size; one in any case."""
    left = limit_bytes
    for number, event in enumerate(events):
        left -= len(event)
        if left < 0 and number:
            return
        yield event
