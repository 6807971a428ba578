"""Builds Server-Sent Events (HTML §9.2).

The body of the response ends with the connection, without chunks: so an event is the same bytes for
every recipient, as a frame is.
"""

from __future__ import annotations

from typing import Final

MESSAGE: Final = b"message"
PING: Final = b"ping"
CLOSE: Final = b"close"


def build_event(data: bytes, name: bytes = MESSAGE, event_id: bytes = b"") -> bytes:
    """One event; ``data`` and ``event_id`` have no line breaks, as JSON and cursors have none.

    Without ``event_id`` the client keeps the id of the event before.
    """
    if event_id:
        return b"event: %b\nid: %b\ndata: %b\n\n" % (name, event_id, data)
    return b"event: %b\ndata: %b\n\n" % (name, data)
