"""Sockets, TLS and HTTP/1.1 exchanges, each with one deadline; answers with a size limit.

``http.client`` and ``urllib3`` bound neither: their time-outs count for each read from the socket,
so that a trickle of bytes never ends, and their ``read()`` takes an answer of any size into memory.
"""

from __future__ import annotations

import http.client
import io
import queue
import socket
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from wsctl.formatting import byte_size

if TYPE_CHECKING:
    import ssl

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""More than any answer of the API: a page of a list ends at a few MiB."""
_CHUNK_BYTES = 256 * 1024


class AnswerTooLarge(http.client.HTTPException):
    """The answer exceeds the size limit."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the answer has more than {byte_size(limit_bytes)}")


class AnswerTooSlow(TimeoutError):
    """The answer began, but was not complete before the deadline."""


class Deadline:
    """Deadline (monotonic) of an exchange.

    ``each_s``: it is put off whenever something arrives, by so many seconds from then.
    """

    def __init__(self, at: float, *, each_s: float | None = None) -> None:
        self.at = at
        self.has_answer_begun = False
        self._each_s = each_s

    def arrived(self) -> None:
        """Note that a part of the answer was received."""
        self.has_answer_begun = True
        if self._each_s is not None:
            self.at = time.monotonic() + self._each_s

    def left_s(self) -> float:
        """Seconds left; raises ``TimeoutError`` if there are none."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise self.missed()
        return left

    def missed(self) -> TimeoutError:
        """The exception for a missed deadline."""
        return AnswerTooSlow() if self.has_answer_begun else TimeoutError()


class _Source(io.RawIOBase):
    """The receiving side of a socket; every read ends at the deadline."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._socket = sock
        self._deadline = deadline

    def readable(self) -> bool:
        """Required by ``io``."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read received bytes into ``buffer``; 0 at the end."""
        self._socket.settimeout(self._deadline.left_s())
        try:
            count = self._socket.recv_into(buffer)
        except TimeoutError:
            raise self._deadline.missed() from None
        self._deadline.arrived()
        return count


class _BoundedSocket:
    """Socket for ``http.client`` with one deadline for all its calls."""

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
        """Do nothing: ``http.client`` calls it before the answer is read."""


class Connection:
    """One kept-alive connection to a server, over an open socket."""

    def __init__(self, sock: socket.socket, host: str, port: int, *, is_tls: bool) -> None:
        self._socket = sock
        self._http = http.client.HTTPConnection(host, port)
        if is_tls:
            self._http.default_port = 443  # the port that Host leaves out

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
        the connection cannot be used afterwards.
        """
        # Each exchange has its own deadline and reader of the same socket: with one request at a
        # time, no bytes of the next answer can have been read before.
        bounded: Any = _BoundedSocket(self._socket, Deadline(deadline_at))
        self._http.sock = bounded
        self._http.request(method, path, body=body, headers=dict(headers))
        response = self._http.getresponse()
        return response, _read(response, limit_bytes)

    def stream(
        self, path: str, *, headers: Mapping[str, str], patience_s: float
    ) -> http.client.HTTPResponse:
        """GET an answer whose body the caller reads; each part arrives within ``patience_s``.

        Raises as ``exchange`` does, here and in reading. Nothing else can be sent afterwards.
        """
        deadline = Deadline(time.monotonic() + patience_s, each_s=patience_s)
        bounded: Any = _BoundedSocket(self._socket, deadline)
        self._http.sock = bounded
        self._http.request("GET", path, headers=dict(headers))
        return self._http.getresponse()

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
    if response.length:  # read(n) does not report an early end
        raise http.client.IncompleteRead(bytes(content), response.length)
    return bytes(content)


class Address(NamedTuple):
    """Host and port of a server's URL."""

    host: str
    port: int
    is_tls: bool


def address_of(url: str) -> Address:
    """Host and port of an ``http`` or ``https`` URL."""
    parts = urlsplit(url)
    is_tls = parts.scheme == "https"
    return Address(parts.hostname or "", parts.port or (443 if is_tls else 80), is_tls)


def open_connection(host: str, port: int, is_tls: bool, deadline: float) -> Connection:
    """A connection to a server, with TLS for an https URL."""
    sock = open_tls(host, port, deadline) if is_tls else open_socket(host, port, deadline)
    return Connection(sock, host, port, is_tls=is_tls)


def open_tls(
    host: str, port: int, deadline: float, context: ssl.SSLContext | None = None
) -> ssl.SSLSocket:
    """A TLS socket; ``context`` None: one that verifies the certificate."""
    import ssl

    plain = open_socket(host, port, deadline)
    try:
        plain.settimeout(_left_s(deadline))
        context = context or ssl.create_default_context()
        return context.wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise


def open_socket(host: str, port: int, deadline: float) -> socket.socket:
    """TCP socket to the first address of ``host`` that accepts before ``deadline`` (monotonic)."""
    addresses = look_up(host, port, deadline)
    failure: OSError = OSError(0, "the name has no address")
    for left, (family, kind, protocol, _, address) in zip(
        range(len(addresses), 0, -1), addresses, strict=True
    ):
        sock = socket.socket(family, kind, protocol)
        try:
            # An address that does not answer must leave time for the others.
            sock.settimeout(_left_s(deadline) / left)
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
        except OSError as error:
            failure = error
            sock.close()
    raise failure


def look_up(host: str, port: int, deadline: float) -> list[Any]:
    """The addresses of a host name, as ``socket.getaddrinfo`` returns them.

    Raises ``OSError``. The look-up runs on a daemon thread, because with a dead name server it
    would not end before ``deadline``.
    """
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def work() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        addresses = answers.get(timeout=_left_s(deadline))
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(addresses, UnicodeError):
        raise OSError(0, f"{host} is not a valid host name")
    if isinstance(addresses, Exception):
        raise addresses
    return list(addresses)


def _left_s(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def reason_of(error: Exception) -> str:
    """Why a connection failed, in a few words."""
    if isinstance(error, AnswerTooSlow):
        return "its answer was not complete in time"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, http.client.RemoteDisconnected):
        return "it closed the connection without an answer"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}"
