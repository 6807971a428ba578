"""What every request goes through: source, body, errors, headers."""

from __future__ import annotations

import asyncio
import re
from types import TracebackType
from typing import Any

from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, RequestHandler, stream_request_body

from wsserver.errors import (
    BadRequest,
    BodyTooLarge,
    HostForbidden,
    OriginForbidden,
    Starting,
    WsServerError,
)
from wsserver.web.api.context import WebContext
from wsserver.web.api.pipeline import announces_body, identify, note_failure
from wsserver.web.api.problems import (
    ERRORS_BY_STATUS,
    InternalError,
    PathNotFound,
    RequestTimeout,
    problem_reply,
)
from wsserver.web.http import cors
from wsserver.web.http.replies import COMMON_HEADERS, Reply
from wsserver.web.http.unsent import patience_s

BODY_LIMIT_BYTES = 1024 * 1024
DISCARD_LIMIT_BYTES = 16 * 1024 * 1024
"""Read and thrown away after a refusal, so that the client gets to read the answer."""

_LENGTH = re.compile(r"[0-9]{1,18}")
_NO_LIMIT = 2**62


@stream_request_body
class BaseHandler(RequestHandler):
    """Checks where a request comes from, takes its body, and makes every error a document.

    Subclasses define ``check``, which looks at the headers alone, and ``respond``. What they raise
    becomes the answer. Tornado hands the body over in parts, because only so can a client that
    sends too much be told: its own limit just cuts the connection.
    """

    takes_any_host = False
    checks_start = False
    """Does ``check`` or ``respond`` itself refuse what must wait for the end of the start?"""
    route = "*"
    """The path's template, for the figures."""
    allowed_methods: tuple[str, ...] = ("GET", "HEAD", "OPTIONS")

    request_id: str
    remote_ip: str
    is_routine = False
    """Is the answer one of very many alike (``Reply.is_routine``)?"""

    async def check(self) -> None:
        """Look at the headers; raises what stands against the request."""

    async def respond(self) -> None:
        """Answer a request that was not refused; ``body`` is complete."""
        raise PathNotFound("nothing is served here")

    @property
    def context(self) -> WebContext:
        """The rest of the system."""
        context: WebContext = self.application.settings["context"]
        return context

    @property
    def body(self) -> bytes:
        """What the client sent."""
        return bytes(self._body)

    @property
    def has_body(self) -> bool:
        """Does the client say that it sends anything?"""
        return announces_body(self.request.headers)

    # The way of a request

    async def prepare(self) -> None:
        """Check the headers, then decide whether the body is wanted (Tornado's hook)."""
        self.context.traffic.begin(self)
        self._body = bytearray()
        self._received = 0
        self._refusal: WsServerError | None = None
        self._is_answered = False
        self._timer: asyncio.TimerHandle | None = None
        try:
            self._check_source()
            if self.context.manager.is_starting and not self.checks_start:
                raise Starting
            await self.check()
        except WsServerError as error:
            self._refusal = error
        if not self.has_body:
            if self._refusal is not None:
                raise self._refusal
            return
        await self._expect_body()

    async def _expect_body(self) -> None:
        headers = self.request.headers
        length = headers.get("Content-Length", "")
        is_too_large = _LENGTH.fullmatch(length) is not None and int(length) > BODY_LIMIT_BYTES
        if is_too_large and self._refusal is None:
            self._refusal = _too_large()
        self.request.connection.set_max_body_size(_NO_LIMIT)  # type: ignore[union-attr]
        if self._refusal is not None and "Expect" in headers:
            raise self._refusal  # nothing has been sent yet, and nothing will be
        self._timer = asyncio.get_running_loop().call_later(
            self.context.settings.handshake_timeout_s, self._give_up
        )
        if is_too_large and self._refusal is not None:
            await self._answer_early(self._refusal)

    async def data_received(self, chunk: bytes) -> None:
        """Take a part of the body (Tornado's hook)."""
        self._received += len(chunk)
        if self._is_answered:
            if self._received > DISCARD_LIMIT_BYTES and not self._finished:
                self.finish()
        elif self._received > BODY_LIMIT_BYTES:
            self._body.clear()
            self.context.incoming.remove(self)
            await self._answer_early(self._refusal or _too_large())
        elif self._refusal is None:
            self._body += chunk
            stream = self.request.connection.stream  # type: ignore[union-attr]
            self.context.incoming.add(self, len(self._body), self.remote_ip, stream.close)

    async def _answer_early(self, error: WsServerError) -> None:
        """Answer while the client still sends; the rest is read and thrown away, up to a limit.

        A socket closed with unread data in it is reset, and the client would never see the answer.
        """
        self._is_answered = True
        self._write_problem(error)
        self.set_header("Content-Length", str(sum(map(len, self._write_buffer))))
        self.set_header("Connection", "close")
        try:
            await self.flush()
        except StreamClosedError:
            pass

    def _give_up(self) -> None:
        """The body has taken too long."""
        if self._finished:
            return
        if not self._is_answered:
            self.clear()
            self._write_problem(RequestTimeout("the body did not arrive in time"))
            self.set_header("Connection", "close")
        self.finish()

    async def _serve(self, *args: str, **kwargs: str) -> None:
        """All methods end here; which ones a path has is ``check``'s business."""
        self._stop_timer()
        if self._is_answered:
            self.finish()
            self.request.connection.stream.close()  # type: ignore[union-attr]
            return
        if self._refusal is not None:
            raise self._refusal
        await self.respond()

    get = head = post = put = patch = delete = options = _serve

    def _check_source(self) -> None:
        headers = self.request.headers
        host = headers.get("Host")
        if not self.takes_any_host and not self.context.allows_host(host, self.peer, headers):
            raise HostForbidden("Host not allowed: allowed_hosts does not name it")
        if not self.is_origin_allowed():
            raise OriginForbidden("Origin not allowed: allowed_origins does not name it")

    def is_origin_allowed(self) -> bool:
        """May the page that the request comes from use us? No Origin: it is no page."""
        origins = self.request.headers.get_list("Origin")
        return self.context.origins.allows(
            ", ".join(origins) if origins else None, self.request.host, self.scheme
        )

    @property
    def scheme(self) -> str:
        """``http`` or ``https``, as the client sees it."""
        request = self.request
        return self.context.proxies.scheme(
            self.peer, request.protocol, request.headers.get_list("X-Forwarded-Proto")
        )

    @property
    def peer(self) -> str:
        """The address of the socket's other end."""
        return self.request.remote_ip or ""

    def write_reply(self, reply: Reply) -> None:
        """Make a reply the answer."""
        self.is_routine = reply.is_routine
        self.set_status(reply.status)
        self.set_header("Content-Type", reply.content_type)
        for name, value in reply.headers.items():
            self.set_header(name, value)
        self.write(reply.body)

    # Headers and errors

    def set_default_headers(self) -> None:
        """Give every answer, errors included, its common headers (Tornado's hook)."""
        headers = self.request.headers
        if not hasattr(self, "request_id"):
            self.request_id, self.remote_ip = identify(self.context, headers, self.peer)
        self.clear_header("Server")
        self.set_header("X-Request-ID", self.request_id)
        for name, value in COMMON_HEADERS.items():
            self.set_header(name, value)
        for name, value in cors.answer_headers(headers.get_list("Origin"), self.is_origin_allowed):
            self.set_header(name, value)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Make a document of whatever was raised (Tornado's hook)."""
        raised = kwargs.get("exc_info", (None, None, None))[1]
        error: WsServerError
        if isinstance(raised, WsServerError):
            error = raised
        else:
            error = ERRORS_BY_STATUS.get(status_code, InternalError)()
        self._write_problem(error)
        if error.meaning.status == 405:
            self.set_header("Allow", ", ".join(self.allowed_methods))
        self.finish()

    def _write_problem(self, error: WsServerError) -> None:
        self.write_reply(problem_reply(error, self.request_id))

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Log what should not have happened; refusals are in the access log (Tornado's hook).

        Tornado's own text would show the query string, which may hold a token.
        """
        if value is None or isinstance(value, (WsServerError, HTTPError, StreamClosedError)):
            return
        request = self.request
        note_failure(self.context, request.method or "", request.path, self.request_id, value)

    def decode_argument(self, value: bytes, name: str | None = None) -> str:
        """Decode a part of the path (Tornado's hook)."""
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise BadRequest("the path is not valid UTF-8") from None

    def compute_etag(self) -> str | None:
        """None: nothing here may be stored (Tornado's hook)."""
        return None

    # The end

    def finish(self, chunk: Any = None) -> asyncio.Future[None]:
        """End the answer; one that is not fetched at once counts until it is (Tornado's method)."""
        size = sum(map(len, self._write_buffer)) + (len(chunk) if chunk is not None else 0)
        fetched = super().finish(chunk)
        stream = self.request.connection.stream  # type: ignore[union-attr]
        if stream.writing():
            # One that does not fetch its answer must not hold the connection for ever.
            unsent = self.context.unsent
            unsent.add(stream, size, self.remote_ip, stream.close)
            timer = asyncio.get_running_loop().call_later(patience_s(size), stream.close)

            def fetched_or_gone(_: object) -> None:
                timer.cancel()
                unsent.remove(stream)

            fetched.add_done_callback(fetched_or_gone)
        return fetched

    def on_finish(self) -> None:
        """Count the answer (Tornado's hook)."""
        self._end()

    def on_connection_close(self) -> None:
        """The client has gone before it was answered (Tornado's hook)."""
        super().on_connection_close()
        self._end()

    def _end(self) -> None:
        self._stop_timer()
        self._body = bytearray()  # the handler itself lives on until the garbage is collected
        self.context.traffic.end(self)

    def _stop_timer(self) -> None:
        """The body is complete, or nothing more of it is taken."""
        self.context.incoming.remove(self)
        timer = getattr(self, "_timer", None)
        if timer is not None:
            timer.cancel()


def _too_large() -> BodyTooLarge:
    return BodyTooLarge(f"at most {BODY_LIMIT_BYTES} bytes", limit_bytes=BODY_LIMIT_BYTES)


class NotFoundHandler(BaseHandler):
    """Answers for every path that is not in the route table."""

    async def check(self) -> None:
        """Refuse."""
        raise PathNotFound("nothing is served under this path")
