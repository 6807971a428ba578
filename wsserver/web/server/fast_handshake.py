"""Lets the plain, good handshakes in straight from their sockets; all else is Tornado's."""

from __future__ import annotations

import logging
import socket
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, TypeVar

from tornado.ioloop import IOLoop

from wsserver.identity.ids import is_id
from wsserver.protocol.ids import new_id
from wsserver.realtime.connections.connection import PLAIN, V1
from wsserver.realtime.manager import ConnectRequest
from wsserver.web.api.context import WebContext
from wsserver.web.http.http_head import END, Head, read_head
from wsserver.web.sockets.admission import Admission
from wsserver.web.sockets.sockets import (
    SOCKETS,
    USER_AGENT_LIMIT,
    Socket,
    agree,
    knock_of,
    offered_subprotocols,
    switch_protocols,
    take_in,
)
from wsserver.wire.handshake import check_upgrade
from wsserver.wire.readiness import READ, best_readiness

log = logging.getLogger(__name__)

T = TypeVar("T")

HEAD_LIMIT_BYTES = 8192
LOOKS_PER_TURN = 32
"""A handshake takes about 0.2 ms; everybody has a turn between so many of them."""
CLOSED_PER_TURN = 256
_BY_PATH = {each.path: each for each in SOCKETS if "{" not in each.path}
_BOUND = next(each for each in SOCKETS if "{" in each.path)
_BOUND_PREFIX = _BOUND.path.partition("{")[0]

Serve = Callable[[socket.socket, tuple[Any, ...]], None]


class Waiting(NamedTuple):
    """A socket that has said nothing yet."""

    connection: socket.socket
    address: tuple[Any, ...]
    deadline: float


class FastHandshake:
    """Looks at what a new socket says first, without taking it out of the socket.

    A complete handshake of somebody who may come in becomes a connection at once: no request
    object, no stream, no task. Anything else, every refusal included, is left as it is for the
    full HTTP server (``serve``), so that there is one place which refuses. Sockets that stay
    silent are closed after ``handshake_timeout_s``.
    """

    def __init__(self, context: WebContext, serve: Serve) -> None:
        self._context = context
        self._serve = serve
        self._waiting: dict[int, Waiting] = {}
        self._order: deque[tuple[float, int]] = deque()
        """Deadlines, the next one first; those of sockets that have spoken are passed over."""
        self._readiness = best_readiness(IOLoop.current(), self._on_ready, LOOKS_PER_TURN)
        self._timer: object | None = None
        self._admission = Admission(context)

    def receive(self, connection: socket.socket, address: tuple[Any, ...]) -> None:
        """Take an accepted, non-blocking socket."""
        if self._look(connection, address):
            return
        fd = connection.fileno()
        deadline = self._context.clock.monotonic() + self._context.settings.handshake_timeout_s
        try:
            self._readiness.watch(fd, READ)
        except OSError as error:
            log.warning("connection not watched error=%s", error)
            connection.close()
            return
        self._waiting[fd] = Waiting(connection, address, deadline)
        self._order.append((deadline, fd))
        if self._timer is None:
            self._arm()

    def close(self) -> None:
        """Close every socket that still waits, and stop watching."""
        for waiting in self._waiting.values():
            self._readiness.forget(waiting.connection.fileno())
            waiting.connection.close()
        self._waiting.clear()
        self._order.clear()
        if self._timer is not None:
            IOLoop.current().remove_timeout(self._timer)
            self._timer = None
        self._readiness.close()

    # Waiting

    def _on_ready(self, ready: list[tuple[int, int]]) -> None:
        for fd, _ in ready:
            waiting = self._waiting.pop(fd)
            self._readiness.forget(fd)
            if not self._look(waiting.connection, waiting.address):
                waiting.connection.close()  # woken by nothing that can be read: it is broken

    def _arm(self) -> None:
        """Wake up when the next deadline has passed."""
        delay_s = max(0.0, self._order[0][0] - self._context.clock.monotonic())
        self._timer = IOLoop.current().call_later(delay_s, self._close_silent)

    def _close_silent(self) -> None:
        self._timer = None
        now = self._context.clock.monotonic()
        closed = 0
        while self._order:
            deadline, fd = self._order[0]
            waiting = self._waiting.get(fd)
            if waiting is not None and waiting.deadline == deadline:
                if deadline > now or closed == CLOSED_PER_TURN:
                    self._arm()
                    return
                closed += 1
                del self._waiting[fd]
                self._readiness.forget(fd)
                waiting.connection.close()
            self._order.popleft()

    # Looking

    def _look(self, connection: socket.socket, address: tuple[Any, ...]) -> bool:
        """See to a socket that has said something; False: it has not."""
        try:
            seen = connection.recv(HEAD_LIMIT_BYTES, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            connection.close()
            return True
        if not seen:
            connection.close()
        elif not self._let_in(connection, address, seen):
            self._serve(connection, address)
        return True

    def _let_in(self, connection: socket.socket, address: tuple[Any, ...], seen: bytes) -> bool:
        """Make a connection of a good handshake; False leaves everything as it was."""
        length = seen.find(END)
        head = read_head(seen[:length]) if length >= 0 else None
        if head is None:
            return False
        target = _find(head.path)
        if target is None or head.get_list("X-Request-ID"):  # rare; which to echo is known there
            return False
        endpoint, session_id = target
        started = self._context.clock.monotonic()
        try:
            key = check_upgrade(head.method, head)
            if key is None or "Content-Length" in head:
                return False
            if not self._is_source_allowed(head, address[0]):
                return False
            agreement = agree(head, self._context.settings)
            offered = offered_subprotocols(head)
            knock = knock_of(endpoint, session_id, head.query, head)
            # The last that may say no: it uses a ticket up.
            claims = finish_now(self._admission.decide(knock, is_probe=False))
        except Exception:  # noqa: BLE001 - whatever it is: the full server will meet it, and answer
            return False
        request_id = new_id("req", self._context.clock.wall())
        protocol = V1 if V1 in offered else PLAIN
        remote_ip = self._context.proxies.client_address(
            address[0], head.get_list("X-Forwarded-For")
        )
        newcomer = ConnectRequest(
            claims=claims,
            endpoint=endpoint.endpoint,
            session_id=session_id,
            protocol=protocol,
            remote_ip=remote_ip,
            user_agent=head.get("User-Agent")[:USER_AGENT_LIMIT],
            deflate_bits=agreement.window_bits if agreement is not None else 0,
        )
        response = switch_protocols(key, protocol, request_id, agreement)
        connection.recv(length + len(END))
        is_expected = self._context.manager.can_connect_now(newcomer)
        taking_in = take_in(self._context, connection.detach(), newcomer, request_id, response)
        if is_expected:
            finish_now(taking_in)
        else:
            self._context.tasks.spawn(taking_in, name="handshake")
        self._context.access_log.answered(
            "GET",
            endpoint.path,
            head.path,
            101,
            self._context.clock.monotonic() - started,
            remote_ip,
            request_id,
        )
        return True

    def _is_source_allowed(self, head: Head, peer: str) -> bool:
        context = self._context
        host = head.get("Host")
        origins = head.get_list("Origin")
        scheme = context.proxies.scheme(peer, "http", head.get_list("X-Forwarded-Proto"))
        return context.allows_host(host, peer, head) and context.origins.allows(
            ", ".join(origins) if origins else None, host, scheme
        )


def _find(path: str) -> tuple[Socket, str | None] | None:
    """The endpoint of a path and the session named in it."""
    found = _BY_PATH.get(path)
    if found is not None:
        return found, None
    session_id = path.removeprefix(_BOUND_PREFIX)
    if session_id != path and is_id(session_id):
        return _BOUND, session_id
    return None


class NotNowError(Exception):
    """A coroutine has to wait for something."""


def finish_now(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that has nothing to wait for; raises ``NotNowError`` if it has."""
    try:
        coroutine.send(None)
    except StopIteration as finished:
        value: T = finished.value
        return value
    coroutine.close()
    raise NotNowError
