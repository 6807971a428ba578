"""HTTP client for outgoing requests: no redirects, no proxies, addresses checked (SSRF)."""

from __future__ import annotations

import asyncio
import logging
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import KW_ONLY, dataclass
from typing import Any
from urllib.parse import urlsplit

from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.httputil import HTTPInputError
from tornado.iostream import IOStream, UnsatisfiableReadError
from tornado.netutil import Resolver
from tornado.simple_httpclient import HTTPTimeoutError, SimpleAsyncHTTPClient
from tornado.tcpclient import TCPClient

from wsserver.addresses.reach import Place, Reach, check_url, look_up
from wsserver.notifications.http import KEPT_BYTES, HttpAnswer, HttpRequest, NoAnswer
from wsserver.redaction import one_line
from wsserver.version import __version__

log = logging.getLogger(__name__)

BUFFER_LIMIT_BYTES = 1024 * 1024
HEAD_LIMIT_BYTES = 64 * 1024
"""Limit of the status line and headers of an answer."""
CONNECT_TIMEOUT_S = 5.0
DOCUMENT_TIMEOUT_S = 10.0
"""Longer than a caller's own limit, which cancels the fetch."""


@dataclass(eq=False, repr=False)
class HttpClient:
    """Implements ``HttpSend`` on Tornado's client, with a new connection for each request.

    An answer counts once its head has arrived: even if the body is endless, cut off or too slow,
    the peer has processed the request, and would process it again if it were repeated.

    ``reach``: the addresses that may be reached, for URLs chosen by users; None: any, for URLs of
    the configuration. ``timeout_s``: of a whole request. ``tls``: None uses the trust store of the
    system. ``kept_bytes``: of an answer's body; the rest is not read.
    """

    reach: Reach | None
    _: KW_ONLY
    timeout_s: float = 10.0
    tls: ssl.SSLContext | None = None
    kept_bytes: int = KEPT_BYTES

    async def __call__(self, request: HttpRequest) -> HttpAnswer:
        """Send a request; raises ``NoAnswer``, and ``UrlForbidden`` before connecting."""
        client, connection = self._connect(request.url)
        answer = _PartialAnswer(self.kept_bytes)
        fetching = self._fetch(client, request, self.timeout_s, answer.take_line, answer.take_body)
        fetching.add_done_callback(lambda _: answer.enough.set())
        try:
            await answer.enough.wait()
            if not answer.has_head:
                if fetching.done():
                    fetching.result()
                raise HTTPInputError
        except HTTPTimeoutError:
            raise NoAnswer(f"no answer within {self.timeout_s:g} s") from None
        except _NO_ANSWER as error:
            raise _no_answer(request.url, error) from None
        finally:
            connection.give_up()
            client.close()
        return HttpAnswer(answer.status, answer.headers, bytes(answer.body))

    @asynccontextmanager
    async def stream(self, request: HttpRequest) -> AsyncIterator[HttpStream]:
        """Send a request and read the answer's body while it arrives.

        ``timeout_s`` is the longest time without a byte; there is no limit of the whole. The
        connection is closed at the end of the block. Raises as a call.
        """
        client, connection = self._connect(request.url)
        stream = HttpStream(request.url, self.timeout_s)
        fetching = self._fetch(client, request, 0, stream.take_line, stream.take_body)
        fetching.add_done_callback(stream.end)
        try:
            await stream.wait_for_head()
            yield stream
        finally:
            connection.give_up()
            client.close()

    def _connect(self, url: str) -> tuple[SimpleAsyncHTTPClient, _ClosableClient]:
        """A client for one request, and its connection; raises ``UrlForbidden``."""
        resolver = None
        if self.reach is not None:
            resolver = _CheckedResolver(place=check_url(url, self.reach), reach=self.reach)
        client = SimpleAsyncHTTPClient(
            force_instance=True,
            resolver=resolver,
            max_body_size=sys.maxsize,  # ``kept_bytes`` is the limit
            max_buffer_size=BUFFER_LIMIT_BYTES,
            max_header_size=HEAD_LIMIT_BYTES,
        )
        connection = _ClosableClient(client.resolver)
        client.tcp_client = connection
        return client, connection

    def _fetch(
        self,
        client: SimpleAsyncHTTPClient,
        request: HttpRequest,
        timeout_s: float,
        take_line: Callable[[str], None],
        take_body: Callable[[bytes], None],
    ) -> asyncio.Future[Any]:
        """Begin the request; ``timeout_s`` of the whole, 0: none."""
        wanted = self._tornado_request(request, timeout_s, take_line, take_body)
        # Not awaited itself: cancelled, it would keep the connection and log errors.
        fetching = client.fetch(wanted, raise_error=False)
        fetching.add_done_callback(lambda done: done.exception())
        return fetching

    def _tornado_request(
        self,
        request: HttpRequest,
        timeout_s: float,
        take_line: Callable[[str], None],
        take_body: Callable[[bytes], None],
    ) -> HTTPRequest:
        return HTTPRequest(
            request.url,
            method=request.method,
            headers=dict(request.headers),
            body=request.body,
            header_callback=take_line,
            streaming_callback=take_body,
            user_agent=f"wsserver/{__version__}",
            follow_redirects=False,
            decompress_response=False,
            connect_timeout=min(CONNECT_TIMEOUT_S, self.timeout_s),
            request_timeout=timeout_s,
            ssl_options=self.tls,
            allow_nonstandard_methods=True,  # GET with a body, POST without
        )


async def fetch_document(url: str) -> bytes:
    """GET a document of 1 MiB at most, without redirects; cancelled, it closes the connection.

    Raises ``NoAnswer``, and ``ValueError`` for another status than 200 or a larger document.
    """
    client = HttpClient(None, timeout_s=DOCUMENT_TIMEOUT_S, kept_bytes=BUFFER_LIMIT_BYTES + 1)
    answer = await client(HttpRequest("GET", url, {"Accept": "application/json"}))
    if answer.status != 200:
        raise ValueError(f"the answer has the status {answer.status}")
    if len(answer.body) > BUFFER_LIMIT_BYTES:
        raise ValueError(f"the document is larger than {BUFFER_LIMIT_BYTES} bytes")
    return answer.body


class _Head:
    """Status line and headers of an answer."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}

    @property
    def has_head(self) -> bool:
        """Whether the final status is known, not just an informational one (1xx)."""
        return self.status >= 200

    def take_line(self, line: str) -> None:
        """Receive a line of the head."""
        if line.startswith("HTTP/"):
            self.status = int(line.split()[1])
            self.headers.clear()
        else:
            name, _, value = line.partition(":")
            self.headers[name.lower()] = value.strip()


class _PartialAnswer(_Head):
    """The part of an answer that has been received so far."""

    def __init__(self, kept_bytes: int) -> None:
        super().__init__()
        self._kept_bytes = kept_bytes
        self.body = bytearray()
        self.enough = asyncio.Event()
        """Set when the answer is complete, or as much as is kept of it."""

    def take_body(self, chunk: bytes) -> None:
        """Receive a part of the body."""
        self.body += chunk[: self._kept_bytes - len(self.body)]
        if len(self.body) >= self._kept_bytes:
            self.enough.set()


class HttpStream(_Head):
    """An answer whose body is read while it arrives."""

    def __init__(self, url: str, timeout_s: float) -> None:
        super().__init__()
        self._url = url
        self._timeout_s = timeout_s
        self._received = bytearray()
        self._news = asyncio.Event()
        self._end: asyncio.Future[Any] | None = None

    async def wait_for_head(self) -> None:
        """Return when status and headers are there; raises ``NoAnswer``."""
        while not self.has_head:
            if self._end is not None:
                raise self._failure()
            await self._wait()

    async def read(self) -> bytes:
        """The bytes that have arrived, waiting for some; ``b""`` at the end of the body.

        Raises ``NoAnswer`` if it breaks off, stays silent too long, or arrives so much faster than
        it is read that it exceeds ``BUFFER_LIMIT_BYTES``.
        """
        while not self._received:
            if self._end is not None:
                if self._end.cancelled() or self._end.exception() is not None:
                    raise self._failure()
                return b""
            await self._wait()
        if len(self._received) > BUFFER_LIMIT_BYTES:
            raise _unusable(self._url, "the answer arrives faster than it can be read")
        chunk = bytes(self._received)
        self._received.clear()
        return chunk

    def take_line(self, line: str) -> None:
        """Receive a line of the head."""
        super().take_line(line)
        self._news.set()

    def take_body(self, chunk: bytes) -> None:
        """Receive a part of the body; what is beyond the limit is only counted as too much."""
        if len(self._received) <= BUFFER_LIMIT_BYTES:
            self._received += chunk
        self._news.set()

    def end(self, fetching: asyncio.Future[Any]) -> None:
        """The request has ended, one way or the other."""
        self._end = fetching
        self._news.set()

    async def _wait(self) -> None:
        self._news.clear()
        try:
            await asyncio.wait_for(self._news.wait(), self._timeout_s)
        except TimeoutError:
            raise NoAnswer(f"no byte within {self._timeout_s:g} s") from None

    def _failure(self) -> NoAnswer:
        error = None if self._end is None or self._end.cancelled() else self._end.exception()
        if isinstance(error, _NO_ANSWER):
            return _no_answer(self._url, error)
        return NoAnswer("the connection was closed without an answer")


class _ClosableClient(TCPClient):
    """TCP client whose connection can be closed from outside."""

    def __init__(self, resolver: Resolver) -> None:
        super().__init__(resolver)
        self._stream: IOStream | None = None
        self._is_given_up = False

    async def connect(self, *args: Any, **options: Any) -> IOStream:
        """Connect; a connection that is ready after ``give_up`` is closed."""
        self._stream = await super().connect(*args, **options)
        if self._is_given_up:
            self._stream.close()
        return self._stream

    def give_up(self) -> None:
        """Close the connection, now or as soon as it is made."""
        self._is_given_up = True
        if self._stream is not None:
            self._stream.close()


class _CheckedResolver(Resolver):
    """Resolver of one host; raises ``UrlForbidden`` for addresses that may not be reached."""

    def initialize(self, *, place: Place, reach: Reach) -> None:
        """Constructor of a ``Configurable`` of Tornado."""
        self._place = place
        self._reach = reach

    async def resolve(
        self, host: str, port: int, family: int = 0
    ) -> list[tuple[int, tuple[str, int]]]:
        """Look up and check: the connection goes to these addresses, without a second lookup."""
        return await look_up(self._place, self._reach)


_NO_ANSWER = (
    UnsatisfiableReadError,
    HTTPInputError,
    HTTPTimeoutError,
    HTTPClientError,
    OSError,
    UnicodeError,
)
"""What a request fails with."""


def _no_answer(url: str, error: Exception) -> NoAnswer:
    if isinstance(error, UnsatisfiableReadError):
        text = f"the head of the answer is larger than {HEAD_LIMIT_BYTES} bytes"
        return _unusable(url, text)
    if isinstance(error, HTTPInputError):
        return _unusable(url, "the answer is not HTTP")
    return NoAnswer(_reason(error))


def _unusable(url: str, what: str) -> NoAnswer:
    """Log an unusable answer, for the operator of the peer; only the host of the URL is logged."""
    host = one_line(urlsplit(url).netloc.rpartition("@")[2])
    log.warning("answer not usable host=%s error=%s", host, what)
    return NoAnswer(what)


def _reason(error: Exception) -> str:
    """Text of a network error, without the URL."""
    if isinstance(error, HTTPClientError):
        return "the connection was closed without an answer"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error.strerror or type(error).__name__}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
