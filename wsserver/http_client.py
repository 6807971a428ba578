"""HTTP client for outgoing requests: no redirects, no proxies, addresses checked (SSRF)."""

from __future__ import annotations

import asyncio
import logging
import ssl
import sys
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
        resolver = None
        if self.reach is not None:
            resolver = _CheckedResolver(place=check_url(request.url, self.reach), reach=self.reach)
        client = SimpleAsyncHTTPClient(
            force_instance=True,
            resolver=resolver,
            max_body_size=sys.maxsize,  # ``kept_bytes`` is the limit
            max_buffer_size=BUFFER_LIMIT_BYTES,
            max_header_size=HEAD_LIMIT_BYTES,
        )
        client.tcp_client = connection = _ClosableClient(client.resolver)
        answer = _PartialAnswer(self.kept_bytes)
        # Not awaited itself: cancelled, it would keep the connection and log errors.
        fetching = client.fetch(self._tornado_request(request, answer), raise_error=False)
        fetching.add_done_callback(lambda done: done.exception())
        fetching.add_done_callback(lambda _: answer.enough.set())
        try:
            await answer.enough.wait()
            if not answer.has_head:
                if fetching.done():
                    fetching.result()
                raise HTTPInputError
        except HTTPTimeoutError:
            raise NoAnswer(f"no answer within {self.timeout_s:g} s") from None
        except UnsatisfiableReadError:
            raise _unusable(
                request.url, f"the head of the answer is larger than {HEAD_LIMIT_BYTES} bytes"
            ) from None
        except HTTPInputError:
            raise _unusable(request.url, "the answer is not HTTP") from None
        except (HTTPClientError, OSError, UnicodeError) as error:
            raise NoAnswer(_reason(error)) from None
        finally:
            connection.give_up()
            client.close()
        return HttpAnswer(answer.status, answer.headers, bytes(answer.body))

    def _tornado_request(self, request: HttpRequest, answer: _PartialAnswer) -> HTTPRequest:
        return HTTPRequest(
            request.url,
            method=request.method,
            headers=dict(request.headers),
            body=request.body,
            header_callback=answer.take_line,
            streaming_callback=answer.take_body,
            user_agent=f"wsserver/{__version__}",
            follow_redirects=False,
            decompress_response=False,
            connect_timeout=min(CONNECT_TIMEOUT_S, self.timeout_s),
            request_timeout=self.timeout_s,
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


class _PartialAnswer:
    """The part of an answer that has been received so far."""

    def __init__(self, kept_bytes: int) -> None:
        self._kept_bytes = kept_bytes
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.enough = asyncio.Event()
        """Set when the answer is complete, or as much as is kept of it."""

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

    def take_body(self, chunk: bytes) -> None:
        """Receive a part of the body."""
        self.body += chunk[: self._kept_bytes - len(self.body)]
        if len(self.body) >= self._kept_bytes:
            self.enough.set()


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
