"""RFC 6455 bytes without I/O, and the sockets that carry them."""

from __future__ import annotations

from wsserver.wire.detach import take_socket
from wsserver.wire.frames import WireError, build_frame, close_frame
from wsserver.wire.parser import FrameParser
from wsserver.wire.poller import Poller
from wsserver.wire.transport import Owner, State, Transport

__all__ = [
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
