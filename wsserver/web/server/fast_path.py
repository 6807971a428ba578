"""Fast path for new connections: common handshakes and API requests; Tornado serves the others."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tornado.ioloop import IOLoop

from wsserver.errors import WsServerError
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Endpoint, Paths
from wsserver.web.api.pipeline import Exchange, RequestInfo, identify, note_failure
from wsserver.web.api.problems import InternalError, RequestTimeout, problem_reply
from wsserver.web.http.headers import RequestHead, parse_head
from wsserver.web.http.held_bytes import patience_s
from wsserver.web.http.replies import Reply, response_bytes
from wsserver.web.sockets.fast_handshake import FastHandshake
from wsserver.wire.readiness import READ, WRITE, best_readiness

log = logging.getLogger(__name__)

READ_BYTES = 64 * 1024
BODY_LIMIT_BYTES = 64 * 1024
"""Larger bodies are left to Tornado, which can refuse them while they are being sent."""
SWEEPS_PER_TIMEOUT = 4
CLIENTS_PER_TURN = 32
"""Clients read from, or closed, in one turn of the event loop; a handshake takes about 0.2 ms."""

_LENGTH = re.compile(r"[0-9]{1,8}")
_COMMON_CONNECTION = frozenset({"", "keep-alive", "close"})

Serve = Callable[[socket.socket, tuple[Any, ...], bytes], None]


@dataclass(slots=True)
class Request:
    """A request whose head has been parsed."""

    endpoint: Endpoint
    info: RequestInfo
    body_at: int
    """Offset of its body in what has been received."""
    end: int
    """Offset behind its body."""
    started: float
    """Monotonic seconds."""
    is_last: bool
    """Whether the client has asked for the connection to be closed after the response."""


@dataclass(slots=True, eq=False)
class Client:
    """A connection that has sent nothing, or nothing but common requests so far."""

    socket: socket.socket
    fd: int
    address: tuple[Any, ...]
    interest: int = 0
    """Events it is watched for; 0: it is not watched."""
    deadline: float | None = None
    """When a wait for the client ends (monotonic seconds); None while it waits for a response."""
    request: Request | None = None
    """The one under way, from its head to its response."""
    received: bytearray = field(default_factory=bytearray)
    """Received bytes of that request and of those behind it."""
    body: asyncio.Future[None] | None = None
    """Done when the request's body is complete, while that is waited for."""
    unsent: bytes | memoryview = b""
    """The part of the response that the socket has not accepted."""
    remote_ip: str = ""
    """Client address of the latest request, forwarding headers of trusted proxies included."""
    is_last: bool = False
    """Whether the connection is closed after the response."""


class FastPath:
    """Connections from their acceptance until they are WebSockets, Tornado's, or closed.

    The first bytes decide. A valid handshake becomes a connection (``FastHandshake``). A common
    API request is answered here: one with a known path and method, an allowed Host, a body of
    declared, moderate size, and no header of a browser or an upgrade. What it does is decided by
    ``Exchange`` as for every request; skipped is the work of Tornado around it, which costs more
    than the rest together. Everything else, refused handshakes and incomplete heads included, goes
    to Tornado (``serve``) with the bytes received, and the connection stays there.

    A connection is closed after ``handshake_timeout_s`` without its first byte, or with an
    incomplete body, and after ``keepalive_timeout_s`` without a further request; up to a quarter
    of the shorter one later. Its socket is read a last time before: a request in it is answered.
    """

    def __init__(self, context: WebContext, paths: Paths, serve: Serve) -> None:
        self._context = context
        self._paths = paths
        self._serve = serve
        self._handshakes = FastHandshake(context)
        self._clients: dict[int, Client] = {}
        self._readiness = best_readiness(IOLoop.current(), self._on_ready, CLIENTS_PER_TURN)
        self._timer: object | None = None
        self._is_closed = False
        self._is_cut = False

    def receive(self, connection: socket.socket, address: tuple[Any, ...]) -> None:
        """Take over an accepted, non-blocking socket, without Nagle's algorithm."""
        client = Client(connection, connection.fileno(), address)
        self._clients[client.fd] = client
        if self._timer is None:
            self._arm()
        try:
            data = connection.recv(READ_BYTES)
        except BlockingIOError:
            self._await(client, READ, self._context.settings.handshake_timeout_s)
            return
        except OSError:
            data = b""
        self._take(client, data)

    def close(self) -> None:
        """Close the connections without a request; the others are closed after their responses."""
        self._is_closed = True
        for client in tuple(self._clients.values()):
            if client.request is None and not client.unsent:
                self._drop_if_silent(client)

    def cut(self) -> None:
        """Close all connections, and stop watching."""
        for client in tuple(self._clients.values()):
            self._drop(client)
        if self._timer is not None:
            IOLoop.current().remove_timeout(self._timer)
            self._timer = None
        if not self._is_cut:
            self._is_cut = True
            self._readiness.close()

    # Reading

    def _on_ready(self, ready: list[tuple[int, int]]) -> None:
        for fd, _ in ready:
            client = self._clients.get(fd)
            if client is None:
                continue
            if client.deadline is None:  # it has gone, or sends more before its response
                self._readiness.forget(fd)
                client.interest = 0
            elif client.unsent:
                self._send(client, client.unsent)
            else:
                self._read(client)

    def _read(self, client: Client) -> None:
        try:
            data = client.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._take(client, data)

    def _drop_if_silent(self, client: Client) -> None:
        """Close a connection without a request, unless its socket holds one.

        Closing would reset it, and a proxy that sent the request would answer 502, because it
        cannot know whether the request was carried out.
        """
        try:
            data = client.socket.recv(READ_BYTES)
        except OSError:
            data = b""
        self._take(client, data)

    def _take(self, client: Client, data: bytes) -> None:
        """Process received bytes; none: the connection has ended, or is to be closed."""
        if not data:
            self._drop(client)
            return
        client.received += data
        if client.request is None:
            self._begin(client)
        elif client.body is not None:
            if len(client.received) < client.request.end:
                self._hold_body(client, client.request)
                return
            client.deadline = None
            body = self._release_body(client)
            if body is not None and not body.done():  # else its request was cancelled just now
                body.set_result(None)

    def _begin(self, client: Client) -> None:
        """Start what ``received`` begins with: a handshake, a request, or Tornado's work."""
        head = parse_head(client.received)
        if head is not None and "Upgrade" in head:
            accepted = self._handshakes.decide(head, client.address[0])
            if accepted is not None:
                self._forget(client)
                self._handshakes.open(accepted, client.socket, bytes(client.received[head.size :]))
                return
            head = None
        request = self._request(head, client.address[0]) if head is not None else None
        if request is None:
            self._forget(client)
            self._serve(client.socket, client.address, bytes(client.received))
            return
        client.request = request
        client.deadline = None
        self._context.traffic.begin(request)
        self._context.tasks.spawn(self._answer(client, request), name="request")

    def _request(self, head: RequestHead, peer: str) -> Request | None:
        """The request with this head, None if it is Tornado's."""
        found = self._paths.find(head.method, head.path)
        size = _body_bytes(head)
        if found is None or size is None or not self._is_common(head, peer):
            return None
        request_id, remote_ip = identify(self._context, head, peer)
        info = RequestInfo(
            method=head.method,
            path=head.path,
            query=head.query,
            headers=head,
            peer=peer,
            request_id=request_id,
            remote_ip=remote_ip,
            parts=found.parts,
        )
        return Request(
            endpoint=found.endpoint,
            info=info,
            body_at=head.size,
            end=head.size + size,
            started=self._context.clock.monotonic(),
            is_last=head.get("Connection").lower() == "close",
        )

    def _is_common(self, head: RequestHead, peer: str) -> bool:
        """Whether nothing in a head has to be checked before the endpoint is called."""
        return (
            "%" not in head.path
            and "Origin" not in head
            and head.get("Connection").lower() in _COMMON_CONNECTION
            and self._context.allows_host(head.get("Host"), peer, head)
        )

    # Responding

    async def _answer(self, client: Client, request: Request) -> None:
        try:
            self._finish(client, request, await self._reply(client, request))
        finally:
            if client.request is request:  # cancelled: the client has gone, or the server stops
                client.request = None
                self._drop(client)
            self._context.traffic.end(request)

    async def _reply(self, client: Client, request: Request) -> Reply:
        info = request.info
        exchange = Exchange(self._context, request.endpoint, info)
        try:
            refusal = await _refusal(exchange)
            body = await self._body(client, request)
            if refusal is not None:
                raise refusal
            return await exchange.respond(body)
        except WsServerError as error:
            return problem_reply(error, info.request_id)
        except Exception as error:  # noqa: BLE001 - becomes a 500, and is logged
            note_failure(self._context, info.method, info.path, info.request_id, error)
            return problem_reply(InternalError(), info.request_id)

    async def _body(self, client: Client, request: Request) -> bytes:
        """The whole body; raises ``RequestTimeout``; cancelled if the client is dropped."""
        if len(client.received) < request.end:
            body = client.body = asyncio.get_running_loop().create_future()
            if self._clients.get(client.fd) is client:
                self._await(client, READ, self._context.settings.handshake_timeout_s)
                self._hold_body(client, request)
            else:  # dropped while the request was checked
                body.cancel()
            await body
        return bytes(client.received[request.body_at : request.end])

    def _hold_body(self, client: Client, request: Request) -> None:
        """Count an incomplete body against the limit on the bytes of all of them."""
        if client.body is not None:
            self._context.incoming.add(
                client, len(client.received), request.info.remote_ip, partial(self._drop, client)
            )

    def _release_body(self, client: Client) -> asyncio.Future[None] | None:
        """End the wait for a body; returns the future of that wait, if there was one."""
        self._context.incoming.remove(client)
        body, client.body = client.body, None
        return body

    def _finish(self, client: Client, request: Request, reply: Reply) -> None:
        """Send the response, log and count it."""
        context, info = self._context, request.info
        is_whole = len(client.received) >= request.end
        client.is_last = request.is_last or self._is_closed or not is_whole
        wall = context.clock.wall()
        data = response_bytes(reply, info.request_id, wall, is_last=client.is_last)
        client.request = None
        client.remote_ip = info.remote_ip
        del client.received[: request.end]
        if self._clients.get(client.fd) is client:
            self._send(client, data)
        context.access_log.answered(
            info.method,
            request.endpoint.path,
            info.path,
            reply.status,
            context.clock.monotonic() - request.started,
            info.remote_ip,
            info.request_id,
            is_routine=reply.is_routine,
        )

    def _send(self, client: Client, data: bytes | memoryview) -> None:
        try:
            sent = client.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._drop(client)
            return
        if sent < len(data):
            is_first = not client.unsent
            client.unsent = memoryview(data)[sent:]
            self._await(client, WRITE, patience_s(len(data)) if is_first else None)
            if is_first and client.interest:
                self._context.unsent.add(
                    client, len(data), client.remote_ip, partial(self._drop, client)
                )
        elif client.is_last:
            self._drop(client)
        else:
            if client.unsent:
                self._context.unsent.remove(client)
            client.unsent = b""
            self._await(client, READ, self._context.settings.keepalive_timeout_s)
            if client.received:
                self._begin(client)

    # Waiting

    def _await(self, client: Client, interest: int, patience_s: float | None) -> None:
        """Wait for a client, at most this long; None: until its present deadline."""
        if patience_s is not None:
            client.deadline = self._context.clock.monotonic() + patience_s
        if client.interest == interest:
            return
        try:
            if client.interest:
                self._readiness.change(client.fd, interest)
            else:
                self._readiness.watch(client.fd, interest)
        except OSError as error:
            log.warning("connection not watched error=%s", error)
            self._drop(client)
            return
        client.interest = interest

    def _arm(self, delay_s: float | None = None) -> None:
        if delay_s is None:
            settings = self._context.settings
            shorter_s = min(settings.handshake_timeout_s, settings.keepalive_timeout_s)
            delay_s = shorter_s / SWEEPS_PER_TIMEOUT
        self._timer = IOLoop.current().call_later(delay_s, self._sweep)

    def _sweep(self) -> None:
        """Close the connections, and end the waits for bodies, whose deadline has passed."""
        self._timer = None
        now = self._context.clock.monotonic()
        late = [c for c in self._clients.values() if c.deadline is not None and now >= c.deadline]
        for client in late[:CLIENTS_PER_TURN]:
            if client.body is None and client.unsent:
                self._drop(client)  # it does not read its response
            elif client.body is None:
                self._drop_if_silent(client)
            else:
                client.deadline = None
                body = self._release_body(client)
                if body is not None and not body.done():
                    body.set_exception(RequestTimeout("the body did not arrive in time"))
        if len(late) > CLIENTS_PER_TURN:
            self._arm(0)
        elif self._clients:
            self._arm()

    def _drop(self, client: Client) -> None:
        self._forget(client)
        self._context.unsent.remove(client)
        client.socket.close()
        body = self._release_body(client)
        if body is not None:
            body.cancel()

    def _forget(self, client: Client) -> None:
        if self._clients.get(client.fd) is client:
            del self._clients[client.fd]
            if client.interest:
                self._readiness.forget(client.fd)
                client.interest = 0


async def _refusal(exchange: Exchange) -> WsServerError | None:
    """The refusal of a request, decided before its body is read; None if it is accepted."""
    try:
        await exchange.check()
    except WsServerError as error:
        return error
    return None


def _body_bytes(head: RequestHead) -> int | None:
    """The declared size of a body; None if it is too large or malformed."""
    declared = head.get("Content-Length", "0")
    if _LENGTH.fullmatch(declared) is None:
        return None
    size = int(declared)
    return size if size <= BODY_LIMIT_BYTES else None
