"""WebSocket protocol (RFC 6455, RFC 7692): frames, parser, handshake, and the poller of sockets.

Frames, parser, deflate and handshake are free of I/O. Independent of HTTP servers and of the
application's messages. May import: clock.
"""

from __future__ import annotations

from wsserver.wire import parser
from wsserver.wire.frames import WireError, build_frame, close_frame
from wsserver.wire.parser import FrameParser
from wsserver.wire.poller import Poller
from wsserver.wire.sockets import take_socket
from wsserver.wire.transport import Owner, State, Transport

IS_COMPILED = not str(parser.__file__).endswith(".py")
"""Whether the modules are extensions (``setup.py``: ``WSSERVER_COMPILE``)."""

__all__ = [
    "IS_COMPILED",
    "FrameParser",
    "Owner",
    "Poller",
    "State",
    "Transport",
    "WireError",
    "build_frame",
    "close_frame",
    "take_socket",
]
