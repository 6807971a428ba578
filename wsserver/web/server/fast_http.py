"""Serves plain API requests straight from their sockets; all else is the full HTTP server's."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tornado.ioloop import IOLoop

from wsserver.errors import WsServerError
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Paths
from wsserver.web.api.pipeline import Exchange, note_failure
from wsserver.web.api.problems import InternalError, RequestTimeout, problem_reply
from wsserver.web.http.replies import Reply
from wsserver.web.http.responses import response_bytes
from wsserver.web.http.unsent import patience_s
from wsserver.web.server.fast_requests import Request, RequestReader
from wsserver.wire.readiness import READ, WRITE, best_readiness
from wsserver.wire.sockets import set_nodelay

log = logging.getLogger(__name__)

READ_BYTES = 64 * 1024
SWEEPS_PER_TIMEOUT = 4
REQUESTS_PER_TURN = 32
"""Requests begun, or given up, before everybody else has a turn."""


Serve = Callable[[socket.socket, tuple[Any, ...], bytes], None]


@dataclass(slots=True, eq=False)
class Client:
    """A connection that has sent nothing but plain requests so far."""

    socket: socket.socket
    fd: int
    address: tuple[Any, ...]
    interest: int = 0
    """What it is watched for; 0 while it is not."""
    deadline: float | None = None
    """When its patience or ours ends; None while it waits for us."""
    request: Request | None = None
    """The one under way, from its head to its answer."""
    received: bytearray = field(default_factory=bytearray)
    """What has come of that request, and of those behind it."""
    body: asyncio.Future[None] | None = None
    """Done when the request's body is complete, where that is waited for."""
    unsent: bytes | memoryview = b""
    """What the client has not fetched of the answer."""
    remote_ip: str = ""
    """Of the latest request, as trusted proxies tell it."""
    is_last: bool = False
    """Is the connection to be closed behind it?"""


class FastHttp:
    """The connections of API clients that send one plain HTTP/1.1 request after the other.

    Plain is what programs send: a path and method of the route table, a Host that names us, a body
    of known, moderate size, nothing that a browser or an upgrade adds. What becomes of it is
    decided where it always is (``Exchange``); only Tornado's way there and back is saved, which
    costs more than the rest together. At the first request that is not plain, the connection goes
    to the full HTTP server (``serve``) with what was read of it, and stays there.

    A connection without a request is closed after ``keepalive_timeout_s``, one whose body does not
    come after ``handshake_timeout_s``; either up to a quarter of the shorter one later. Before it
    is closed, its socket is read a last time: a request that has come by then is answered.
    """

    def __init__(self, context: WebContext, paths: Paths, serve: Serve) -> None:
        self._context = context
        self._reader = RequestReader(context, paths)
        self._serve = serve
        self._clients: dict[int, Client] = {}
        self._readiness = best_readiness(IOLoop.current(), self._on_ready, REQUESTS_PER_TURN)
        self._timer: object | None = None
        self._is_closed = False
        self._is_cut = False

    def receive(self, connection: socket.socket, address: tuple[Any, ...]) -> None:
        """Take a non-blocking socket that has something to read."""
        client = Client(connection, connection.fileno(), address)
        self._clients[client.fd] = client
        set_nodelay(client.fd)
        if self._timer is None:
            self._arm()
        self._await(client, READ, self._context.settings.handshake_timeout_s)
        self._read(client)

    def close(self) -> None:
        """Close the connections without a request under way; the others follow their answers."""
        self._is_closed = True
        for client in tuple(self._clients.values()):
            if client.request is None and not client.unsent:
                self._drop_if_silent(client)

    def cut(self) -> None:
        """Close the connections that are left, and stop watching."""
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
            if client.deadline is None:  # it has gone, or does not wait for its answer
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
        """Close a connection without a request, unless one has come that was not read yet.

        Closed over it, the socket would be reset, and a proxy that sent the request would answer
        502: it cannot know whether it was carried out.
        """
        try:
            data = client.socket.recv(READ_BYTES)
        except OSError:
            data = b""
        self._take(client, data)

    def _take(self, client: Client, data: bytes) -> None:
        """Go on with what was read; nothing: the connection has ended, or is to."""
        if not data:
            self._drop(client)
            return
        client.received += data
        if client.request is None:
            self._begin(client)
        elif client.body is not None and len(client.received) >= client.request.end:
            client.deadline = None
            client.body.set_result(None)
            client.body = None

    def _begin(self, client: Client) -> None:
        """Begin with what has been received."""
        request = self._reader.read(client.received, client.address[0])
        if request is None:
            self._hand_over(client)
            return
        client.request = request
        client.deadline = None
        self._context.traffic.begin(request)
        self._context.tasks.spawn(self._answer(client, request), name="request")

    def _hand_over(self, client: Client) -> None:
        """Let the full server begin again with the request, and keep the connection."""
        self._forget(client)
        self._serve(client.socket, client.address, bytes(client.received))

    # Answering

    async def _answer(self, client: Client, request: Request) -> None:
        try:
            self._finish(client, request, await self._reply(client, request))
        finally:
            if client.request is request:  # cancelled: it has gone, or the server stops
                client.request = None
                self._drop(client)
            self._context.traffic.end(request)

    async def _reply(self, client: Client, request: Request) -> Reply:
        asked = request.asked
        exchange = Exchange(self._context, request.endpoint, asked)
        try:
            refusal = await _refusal(exchange)
            body = await self._body(client, request)
            if refusal is not None:
                raise refusal
            return await exchange.respond(body)
        except WsServerError as error:
            return problem_reply(error, asked.request_id)
        except Exception as error:  # noqa: BLE001 - the edge; it is logged
            note_failure(self._context, asked.method, asked.path, asked.request_id, error)
            return problem_reply(InternalError(), asked.request_id)

    async def _body(self, client: Client, request: Request) -> bytes:
        """The whole body; raises ``RequestTimeout``."""
        if len(client.received) < request.end:
            client.body = asyncio.get_running_loop().create_future()
            self._await(client, READ, self._context.settings.handshake_timeout_s)
            await client.body
        return bytes(client.received[request.body_at : request.end])

    def _finish(self, client: Client, request: Request, reply: Reply) -> None:
        """Answer, and count it."""
        context, asked = self._context, request.asked
        is_whole = len(client.received) >= request.end
        client.is_last = request.is_last or self._is_closed or not is_whole
        wall = context.clock.wall()
        data = response_bytes(reply, asked.request_id, wall, is_last=client.is_last)
        client.request = None
        client.remote_ip = asked.remote_ip
        del client.received[: request.end]
        if self._clients.get(client.fd) is client:
            self._send(client, data)
        context.access_log.answered(
            asked.method,
            request.endpoint.path,
            asked.path,
            reply.status,
            context.clock.monotonic() - request.started,
            asked.remote_ip,
            asked.request_id,
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
        """Wait for a client, at most this long; None: until the deadline that it has."""
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
        """Part with those who have had their time."""
        self._timer = None
        now = self._context.clock.monotonic()
        late = [c for c in self._clients.values() if c.deadline is not None and now >= c.deadline]
        for client in late[:REQUESTS_PER_TURN]:
            if client.body is None and client.unsent:
                self._drop(client)  # it does not fetch its answer
            elif client.body is None:
                self._drop_if_silent(client)
            else:
                client.deadline = None
                client.body.set_exception(RequestTimeout("the body did not arrive in time"))
                client.body = None
        if len(late) > REQUESTS_PER_TURN:
            self._arm(0)
        elif self._clients:
            self._arm()

    def _drop(self, client: Client) -> None:
        self._forget(client)
        self._context.unsent.remove(client)
        client.socket.close()
        if client.body is not None:
            client.body.cancel()
            client.body = None

    def _forget(self, client: Client) -> None:
        if self._clients.get(client.fd) is client:
            del self._clients[client.fd]
            if client.interest:
                self._readiness.forget(client.fd)
                client.interest = 0


async def _refusal(exchange: Exchange) -> WsServerError | None:
    """What stands against a request, before its body is looked at."""
    try:
        await exchange.check()
    except WsServerError as error:
        return error
    return None
