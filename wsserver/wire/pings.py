"""``Ping``: the bytes of a ping for each kind of connection, built once for all recipients."""

from __future__ import annotations

from typing import NamedTuple

from wsserver.wire import events
from wsserver.wire.events import build_event
from wsserver.wire.frames import PING, build_frame


class Ping(NamedTuple):
    """A ping, ready to be sent."""

    frames: bytes
    """Both forms in one write: a text for scripts, an RFC 6455 ping for the browser itself."""
    event: bytes
    """For event streams."""


def build_ping(text: bytes, payload: bytes) -> Ping:
    """Build a ping; ``payload`` is returned in the pong."""
    return Ping(build_frame(text) + build_frame(payload, PING), build_event(text, events.PING))
