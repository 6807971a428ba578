"""Cursors of connections: what an event stream has received otherwise than by an event.

Without effect on WebSockets, whose clients keep the positions themselves.
"""

from __future__ import annotations

from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.streams import cursors
from wsserver.realtime.streams.stream import Recovery
from wsserver.wire.event_stream import EventStream


def reached(connection: ConnectionInfo, stream: str, recovery: Recovery) -> None:
    """The client has got a stream up to its end, in the reply to a command."""
    transport = connection.websocket
    if isinstance(transport, EventStream):
        transport.cursor = cursors.advance(
            transport.cursor, stream, recovery.epoch, recovery.offset
        )


def left(connection: ConnectionInfo, stream: str) -> None:
    """A stream is not sent to the connection any more."""
    transport = connection.websocket
    if isinstance(transport, EventStream):
        transport.cursor = cursors.without(transport.cursor, stream)
