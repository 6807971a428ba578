"""Tornado request handlers: source checks, body limits, problem documents, common headers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from types import MappingProxyType, TracebackType
from typing import Any

from tornado.iostream import StreamClosedError
from tornado.routing import PathMatches, Rule
from tornado.web import HTTPError, RequestHandler, stream_request_body

from wsserver.errors import (
    BadRequest,
    BodyTooLarge,
    HostForbidden,
    MethodNotAllowed,
    OriginForbidden,
    Starting,
    WsServerError,
)
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import BodyReceiver, Endpoint, allowed_methods, pattern_of
from wsserver.web.api.pipeline import Exchange, RequestInfo, announces_body, identify, note_failure
from wsserver.web.api.problems import (
    ERRORS_BY_STATUS,
    InternalError,
    PathNotFound,
    RequestTimeout,
    problem_reply,
)
from wsserver.web.http import cors
from wsserver.web.http.held_bytes import patience_s
from wsserver.web.http.replies import COMMON_HEADERS, Reply

BODY_LIMIT_BYTES = 1024 * 1024
DISCARD_LIMIT_BYTES = 16 * 1024 * 1024
"""Read and discarded after a refusal, so that the client can read the answer."""

RECEIVER_PATIENCE_S = 30.0
"""Longest time without a byte of a body that is taken while it arrives."""

_LENGTH = re.compile(r"[0-9]{1,18}")
_NO_LIMIT = 2**62
_NO_LIMIT_S = 30 * 86_400.0


@stream_request_body
class BaseHandler(RequestHandler):
    """Base of all request handlers: checks Host and Origin, reads the body, renders errors.

    Subclasses define ``check``, which sees the headers only, and ``respond``. Errors that they
    raise become the answer. The body is streamed, as Tornado's own size limit closes the
    connection without an answer.
    """

    takes_any_host = False
    checks_start = False
    """True: ``check`` or ``respond`` refuses requests during startup, instead of ``prepare``."""
    route = "*"
    """Path template, as label of the request metrics."""
    allowed_methods: tuple[str, ...] = ("GET", "HEAD", "OPTIONS")

    own_headers: Mapping[str, str] = MappingProxyType({})
    """Headers of every answer, errors included."""

    request_id: str
    remote_ip: str
    is_routine = False
    """``Reply.is_routine`` of the answer: it is not logged."""

    async def check(self) -> None:
        """Validate everything but the body; raises the error to answer with."""

    async def respond(self) -> None:
        """Answer the request; called after ``check`` passed and ``body`` is complete."""
        raise PathNotFound("no endpoint has this path")

    @property
    def context(self) -> WebContext:
        """Services shared by all requests."""
        context: WebContext = self.application.settings["context"]
        return context

    @property
    def body(self) -> bytes:
        """The request body."""
        return bytes(self._body)

    @property
    def has_body(self) -> bool:
        """Whether the headers announce a body."""
        return announces_body(self.request.headers)

    # Request lifecycle

    async def prepare(self) -> None:
        """Check the headers and prepare for the body, if there is one (Tornado hook)."""
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
        # Refused by ``_serve``: Tornado closes connections whose answer ends before the request.
        if self.has_body:
            await self._expect_body()

    async def _expect_body(self) -> None:
        headers = self.request.headers
        length = headers.get("Content-Length", "")
        is_too_large = _LENGTH.fullmatch(length) is not None and int(length) > BODY_LIMIT_BYTES
        if is_too_large and self._refusal is None:
            self._refusal = _too_large()
        self.request.connection.set_max_body_size(_NO_LIMIT)  # type: ignore[union-attr]
        if self._refusal is not None and "Expect" in headers:
            raise self._refusal  # the client waits for 100 Continue and sends no body
        self._timer = asyncio.get_running_loop().call_later(
            self.context.settings.handshake_timeout_s, self._give_up
        )
        if is_too_large and self._refusal is not None:
            await self._answer_early(self._refusal)

    async def data_received(self, chunk: bytes) -> None:
        """Receive a chunk of the body (Tornado hook)."""
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
        """Answer before the body is complete; the rest is read and discarded, up to a limit.

        Closing a socket with unread data resets it, and the client would not see the answer.
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
        """Answer 408: the body did not arrive in time."""
        if self._finished:
            return
        if not self._is_answered:
            self.clear()
            self._write_problem(RequestTimeout("the body did not arrive in time"))
            self.set_header("Connection", "close")
        self.finish()

    async def _serve(self, *args: str, **kwargs: str) -> None:
        """Handle every HTTP method; ``check`` refuses those that the path does not have."""
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
        """Whether the Origin is allowed; requests without one are not from a page and pass."""
        origins = self.request.headers.get_list("Origin")
        return self.context.origins.allows(
            ", ".join(origins) if origins else None, self.request.host, self.scheme
        )

    @property
    def scheme(self) -> str:
        """``http`` or ``https``: the scheme of the client's URL."""
        request = self.request
        return self.context.proxies.scheme(
            self.peer, request.protocol, request.headers.get_list("X-Forwarded-Proto")
        )

    @property
    def peer(self) -> str:
        """Address of the socket's peer: the client's or a proxy's."""
        return self.request.remote_ip or ""

    def write_reply(self, reply: Reply) -> None:
        """Write a reply: status, headers, body."""
        self.is_routine = reply.is_routine
        self.set_status(reply.status)
        self.set_header("Content-Type", reply.content_type)
        for name, value in (*self.own_headers.items(), *reply.headers.items()):
            self.set_header(name, value)
        if reply.body:  # Tornado takes an empty one for a body, too, which a 204 must not have
            self.write(reply.body)

    # Headers and errors

    def set_default_headers(self) -> None:
        """Set the headers common to all answers, errors included (Tornado hook)."""
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
        """Answer with the problem document of the exception (Tornado hook)."""
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
        self, typ: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Log unexpected exceptions; refusals are in the access log (Tornado hook).

        Tornado's own message has the query string, which may hold a token.
        """
        if value is None or isinstance(value, (WsServerError, HTTPError, StreamClosedError)):
            return
        request = self.request
        note_failure(self.context, request.method or "", request.path, self.request_id, value)

    def decode_argument(self, value: bytes, name: str | None = None) -> str:
        """Decode a path parameter (Tornado hook)."""
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise BadRequest("the path is not valid UTF-8") from None

    def compute_etag(self) -> str | None:
        """None: answers must not be cached (Tornado hook)."""
        return None

    # End of the request

    def finish(self, chunk: Any = None) -> asyncio.Future[None]:
        """Finish the answer; unsent bytes count against ``unsent`` until sent (Tornado method)."""
        size = sum(map(len, self._write_buffer)) + (len(chunk) if chunk is not None else 0)
        sent = super().finish(chunk)
        stream = self.request.connection.stream  # type: ignore[union-attr]
        if stream.writing():
            # A client that does not read its answer must not hold the connection for ever.
            unsent = self.context.unsent
            unsent.add(stream, size, self.remote_ip, stream.close)
            timer = asyncio.get_running_loop().call_later(patience_s(size), stream.close)

            def sent_or_closed(_: object) -> None:
                timer.cancel()
                unsent.remove(stream)

            sent.add_done_callback(sent_or_closed)
        return sent

    def on_finish(self) -> None:
        """Count the answer (Tornado hook)."""
        self._end()

    def on_connection_close(self) -> None:
        """Clean up when the client disconnects before the answer (Tornado hook)."""
        super().on_connection_close()
        self._end()

    def _end(self) -> None:
        self._stop_timer()
        self._body = bytearray()  # the handler itself lives on until the garbage is collected
        self.context.traffic.end(self)

    def _stop_timer(self) -> None:
        """Stop the body timeout: the body is complete or is not wanted any more."""
        self.context.incoming.remove(self)
        timer = getattr(self, "_timer", None)
        if timer is not None:
            timer.cancel()


def _too_large() -> BodyTooLarge:
    return BodyTooLarge(
        f"the body is larger than {BODY_LIMIT_BYTES} bytes", limit_bytes=BODY_LIMIT_BYTES
    )


class NotFoundHandler(BaseHandler):
    """Answers 404 for every path that is not in the route table."""

    async def check(self) -> None:
        """Raise ``PathNotFound``."""
        raise PathNotFound("no endpoint has this path")


class ApiHandler(BaseHandler):
    """Serves one path of the route table with its endpoints by method."""

    checks_start = True
    endpoints: Mapping[str, Endpoint]

    def initialize(self, route: str, endpoints: Mapping[str, Endpoint]) -> None:
        """Set the path template and its endpoints by method (Tornado hook)."""
        self.route = route
        self.endpoints = endpoints
        self._receiver: BodyReceiver | None = None
        self.allowed_methods = allowed_methods(endpoints)
        self.takes_any_host = any(each.takes_any_host for each in endpoints.values())

    async def check(self) -> None:
        """Look up the endpoint of the method and run its checks."""
        self._exchange: Exchange | None = None
        request = self.request
        if request.method == "OPTIONS":
            return
        endpoint = self._endpoint()
        if endpoint is None:
            raise MethodNotAllowed(f"{request.method} is not allowed for this path")
        self.own_headers = endpoint.answer_headers
        info = RequestInfo(
            method=request.method or "",
            path=request.path,
            query=request.query,
            headers=request.headers,
            peer=self.peer,
            request_id=self.request_id,
            remote_ip=self.remote_ip,
            parts=self.path_kwargs,
        )
        self._exchange = Exchange(self.context, endpoint, info)
        await self._exchange.check()
        if endpoint.is_received:
            self._receiver = await self._exchange.receive()

    def _endpoint(self) -> Endpoint | None:
        """The endpoint of the method, which a POST may name in a header where that is allowed."""
        request = self.request
        named = request.headers.get("X-HTTP-Method-Override", "")
        if request.method == "POST" and named:
            other = self.endpoints.get(named)
            if other is not None and other.is_overridable:
                request.method = named
        method = request.method or ""
        found = self.endpoints.get(method)
        return self.endpoints.get("GET") if found is None and method == "HEAD" else found

    # A body that is taken while it arrives

    async def _expect_body(self) -> None:
        if self._receiver is None:
            await super()._expect_body()
            return
        connection = self.request.connection
        connection.set_max_body_size(_NO_LIMIT)  # type: ignore[union-attr]
        connection.set_body_timeout(_NO_LIMIT_S)  # type: ignore[union-attr]
        self.context.traffic.end(self)  # a stop does not wait for what can last for hours
        self._rearm()

    async def data_received(self, chunk: bytes) -> None:
        """Receive a chunk of the body (Tornado hook)."""
        receiver = self._receiver
        if receiver is None:
            await super().data_received(chunk)
            return
        self._rearm()
        try:
            await receiver.write(chunk)
        except WsServerError as error:
            self._receiver = None
            await receiver.abort()
            self._stop_timer()
            self._exchange_failed(error)
            await self._answer_early(error)

    def _exchange_failed(self, error: WsServerError) -> None:
        if self._exchange is not None:
            self._exchange.failed(error)

    def _rearm(self) -> None:
        """Allow another while without a byte; then the connection is closed."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(RECEIVER_PATIENCE_S, self._cut)

    def _end(self) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            self.context.tasks.spawn(receiver.abort(), name="broken-off body")
        super()._end()

    async def respond(self) -> None:
        """Run the endpoint, or answer OPTIONS."""
        if self._exchange is None:
            self._answer_options()
        elif self._receiver is not None:
            receiver, self._receiver = self._receiver, None
            self.write_reply(await self._exchange.finish(receiver))
        else:
            reply = await self._exchange.respond(self.body)
            if reply.chunks is None:
                self.write_reply(reply)
            else:
                async with aclosing(reply.chunks) as chunks:
                    await self._stream(reply, chunks)

    async def _stream(self, reply: Reply, chunks: AsyncGenerator[bytes, None]) -> None:
        """Answer with a body that is made while it is sent, as fast as the client reads it.

        A body that cannot be completed ends with the connection, without the last chunk.
        """
        is_probe = self.request.method == "HEAD"
        chunk: bytes | None = None if is_probe else await anext(chunks, None)
        self.write_reply(reply)
        try:
            await self.flush()
            while chunk is not None:
                self.write(chunk)
                async with asyncio.timeout(patience_s(len(chunk))):
                    await self.flush()
                chunk = await anext(chunks, None)
        except (StreamClosedError, TimeoutError):
            self._cut()
        except Exception as error:  # noqa: BLE001 - the status is sent already
            request = self.request
            note_failure(self.context, request.method or "", request.path, self.request_id, error)
            self._cut()

    def _cut(self) -> None:
        self.request.connection.stream.close()  # type: ignore[union-attr]

    def _answer_options(self) -> None:
        self.set_status(204)
        self.set_header("Allow", ", ".join(self.allowed_methods))
        for endpoint in self.endpoints.values():
            if endpoint.option_headers is not None:
                for name, value in endpoint.option_headers(self.context).items():
                    self.set_header(name, value)
        headers = self.request.headers
        if "Origin" in headers and "Access-Control-Request-Method" in headers:
            for name, value in cors.preflight_headers(self.allowed_methods).items():
                self.set_header(name, value)


def rule_for(path: str, handler: type[BaseHandler], **arguments: Any) -> Rule:
    """Tornado rule for a path template; each ``{name}`` matches one segment."""
    return Rule(PathMatches(pattern_of(path) + "$"), handler, arguments)
