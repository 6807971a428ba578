"""``Channel``: messages between supervisor and worker, as lines of JSON over a pair of sockets.

The end of a process ends its channel: a worker whose supervisor was killed reads the end of it.
"""

from __future__ import annotations

import json
import socket
from typing import Any

READ_BYTES = 65_536


class Channel:
    """One end of the pair. Messages are small; only the first, with the settings, may be long."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._received = b""
        self.has_ended = False
        """Whether the other end is closed."""

    def fileno(self) -> int:
        """For selectors and event loops."""
        return self._end.fileno()

    def send(self, **message: Any) -> None:
        """Send a message; dropped if the other end is closed."""
        line = json.dumps(message).encode("ascii") + b"\n"  # ASCII: also lone surrogates of secrets
        try:
            self._end.sendall(line)
        except OSError:
            self.has_ended = True

    def report(self, state: str) -> None:
        """Send a state that will be sent again; dropped if the other end does not read."""
        line = json.dumps({"state": state}).encode() + b"\n"
        try:
            self._end.send(line, socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass
        except OSError:
            self.has_ended = True

    def receive(self, *, waits: bool = False) -> list[dict[str, Any]]:
        """The messages that have arrived; ``waits`` until some bytes have."""
        try:
            data = self._end.recv(READ_BYTES, 0 if waits else socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self.has_ended = True
            return []
        *lines, self._received = (self._received + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        """Close this end."""
        self._end.close()
