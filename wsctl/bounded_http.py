"""HTTP/1.1 requests with one deadline for the whole exchange and a limit for the answer's bytes.

``http.client`` alone bounds neither: its time-out counts for each read from the socket, so that
bytes that trickle go on for ever, and ``read()`` takes whatever comes into memory.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from collections.abc import Mapping
from typing import Any

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""More than any answer of the API: a page of a list ends at a few MiB."""
_CHUNK_BYTES = 256 * 1024


class AnswerTooLarge(http.client.HTTPException):
    """An answer with more bytes than are read."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the answer has more than {size_of(limit_bytes)}")


class AnswerTooSlow(TimeoutError):
    """An answer that had begun, and did not end in time."""


def size_of(count: int) -> str:
    """Bytes as people read a limit: ``64 MiB``, ``8 KiB``."""
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count >> 10} KiB"


class Deadline:
    """A moment (monotonic) at which an exchange has to be over."""

    def __init__(self, at: float) -> None:
        self.at = at
        self.has_answer_begun = False

    def left_s(self) -> float:
        """Seconds until then; raises ``TimeoutError`` when there are none."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise self.missed()
        return left

    def missed(self) -> TimeoutError:
        """The error for an exchange that is not over by then."""
        return AnswerTooSlow() if self.has_answer_begun else TimeoutError()


class _Source(io.RawIOBase):
    """The receiving side of a socket; every read ends at the deadline."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._socket = sock
        self._deadline = deadline

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` with what has come; 0 at the end."""
        self._socket.settimeout(self._deadline.left_s())
        try:
            count = self._socket.recv_into(buffer)
        except TimeoutError:
            raise self._deadline.missed() from None
        self._deadline.has_answer_begun = True
        return count


class _BoundedSocket:
    """What ``http.client`` asks of a socket, with a deadline over all its calls together."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self.socket = sock
        self.deadline = deadline

    def sendall(self, data: Any) -> None:
        """Send all of it, or raise ``TimeoutError``."""
        rest = memoryview(data)
        while rest:
            self.socket.settimeout(self.deadline.left_s())
            rest = rest[self.socket.send(rest) :]

    def makefile(self, _: str) -> io.BufferedReader:
        """The answer's bytes."""
        return io.BufferedReader(_Source(self.socket, self.deadline))

    def close(self) -> None:
        """Nothing: ``http.client`` calls it before the answer is read; ``Connection`` closes."""


class Connection:
    """One kept-alive connection to a server, over a socket that is open already."""

    def __init__(self, sock: socket.socket, host: str, port: int, *, is_tls: bool) -> None:
        self._socket = sock
        self._http = http.client.HTTPConnection(host, port)
        if is_tls:
            self._http.default_port = 443  # what Host need not name

    def exchange(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None,
        headers: Mapping[str, str],
        deadline_at: float,
        limit_bytes: int = MAX_ANSWER_BYTES,
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """Send a request and read its whole answer before ``deadline_at`` (monotonic).

        Raises ``AnswerTooLarge``, ``TimeoutError``, ``OSError`` and ``http.client.HTTPException``;
        the connection is of no use afterwards.
        """
        # Each exchange has its own deadline, and so its own reader of the same socket: with one
        # request at a time nothing of the next answer can have been read before.
        bounded: Any = _BoundedSocket(self._socket, Deadline(deadline_at))
        self._http.sock = bounded
        self._http.request(method, path, body=body, headers=dict(headers))
        response = self._http.getresponse()
        return response, _read(response, limit_bytes)

    def close(self) -> None:
        """Close the socket."""
        self._http.close()
        self._socket.close()


def _read(response: http.client.HTTPResponse, limit_bytes: int) -> bytes:
    if (response.length or 0) > limit_bytes:
        raise AnswerTooLarge(limit_bytes)
    content = bytearray()
    while part := response.read(_CHUNK_BYTES):
        content += part
        if len(content) > limit_bytes:
            raise AnswerTooLarge(limit_bytes)
    if response.length:  # read(n) does not complain of an end that came too early
        raise http.client.IncompleteRead(bytes(content), response.length)
    return bytes(content)
