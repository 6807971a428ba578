"""Listens: accepts connections, bounds how long they may be silent, stops in order."""

from __future__ import annotations

import errno
import logging
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.web import Application

from wsserver.config import Settings
from wsserver.fd_limits import KEPT_BACK, descriptor_limit, lowest_free
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Paths
from wsserver.web.http.prefilled_stream import BegunStream
from wsserver.web.resources.routes import ENDPOINTS
from wsserver.web.server.fast_handshake import FastHandshake
from wsserver.web.server.fast_http import FastHttp

log = logging.getLogger(__name__)

MAX_HEADER_BYTES = 16 * 1024
MAX_BUFFER_BYTES = 1024 * 1024
ACCEPTS_PER_TURN = 32
SHORTEST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 1.0
LOG_INTERVAL_S = 1.0
BODY_GRACE_S = 5.0
IDLE_GRACE_S = 60.0

_FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def make_http_server(application: Application, settings: Settings) -> HTTPServer:
    """Tornado's server with bounds on everything that a client can draw out or blow up.

    The time limits between requests and for a head are the stream's (``BegunStream``). The body's
    own time limit is the handler's, which can answer 408; this one stands behind it.
    """
    return HTTPServer(
        application,
        max_header_size=MAX_HEADER_BYTES,
        max_buffer_size=MAX_BUFFER_BYTES,
        body_timeout=settings.handshake_timeout_s + BODY_GRACE_S,
        idle_connection_timeout=(
            settings.keepalive_timeout_s + settings.handshake_timeout_s + IDLE_GRACE_S
        ),
    )


class Listener:
    """Accepts connections for an application, and stops accepting while descriptors run out.

    Tornado's own accept loop would spin on a full process and log a traceback each time round.
    Connections wait in the kernel's queue meanwhile, and existing ones notice nothing.
    """

    def __init__(
        self,
        application: Application,
        settings: Settings,
        limit: Callable[[], int] = descriptor_limit,
    ) -> None:
        self._context: WebContext = application.settings["context"]
        self._server = make_http_server(application, settings)
        self._plain_http = FastHttp(self._context, Paths(ENDPOINTS), self._serve_http)
        self._doorway = FastHandshake(self._context, self._plain_http.receive)
        self._is_stopped = False
        self._limit = limit
        self._head_timeout_s = settings.handshake_timeout_s
        self._keepalive_s = settings.keepalive_timeout_s
        self._sockets: list[socket.socket] = []
        self._watched = False
        self._pause_s = SHORTEST_PAUSE_S
        self._logged_at = float("-inf")
        self._resume: object | None = None

    def start(self, sockets: Iterable[socket.socket]) -> None:
        """Begin to accept on listening, non-blocking sockets; they are closed by ``stop``."""
        self._sockets.extend(sockets)
        self._watch()

    async def stop(self, grace_s: float) -> None:
        """Accept no more, give requests under way ``grace_s`` seconds, cut all connections."""
        self._unwatch()
        if self._resume is not None:
            IOLoop.current().remove_timeout(self._resume)
            self._resume = None
        for listening in self._sockets:
            listening.close()
        self._sockets.clear()
        if not self._is_stopped:
            self._is_stopped = True
            self._doorway.close()
            self._plain_http.close()
        if not await self._context.traffic.wait_idle(grace_s):
            log.warning("requests cut off count=%d", self._context.traffic.under_way)
        self._plain_http.cut()
        await self._server.close_all_connections()

    def _watch(self) -> None:
        self._resume = None
        self._watched = True
        for listening in self._sockets:
            IOLoop.current().add_handler(listening, self._accept, IOLoop.READ)

    def _unwatch(self) -> None:
        if self._watched:
            self._watched = False
            for listening in self._sockets:
                IOLoop.current().remove_handler(listening)

    def _accept(self, listening: socket.socket, events: int) -> None:
        ceiling = self._limit() - KEPT_BACK
        if lowest_free() >= ceiling:
            self._pause("descriptors are running out")
            return
        for _ in range(ACCEPTS_PER_TURN):
            try:
                connection, address = listening.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                self._pause(error.strerror or "no descriptors left")
                return
            is_last = connection.fileno() >= ceiling
            self._serve(connection, address)
            self._pause_s = SHORTEST_PAUSE_S
            if is_last:
                self._pause("descriptors are running out")
                return

    def _serve(self, connection: socket.socket, address: tuple[Any, ...]) -> None:
        connection.setblocking(False)
        try:
            self._doorway.receive(connection, address)
        except Exception:
            log.exception("connection not served")
            connection.close()

    def _serve_http(
        self, connection: socket.socket, address: tuple[Any, ...], received: bytes
    ) -> None:
        stream = BegunStream(
            connection,
            received,
            MAX_BUFFER_BYTES,
            head_timeout_s=self._head_timeout_s,
            keepalive_timeout_s=self._keepalive_s,
        )
        self._server.handle_stream(stream, address)

    def _pause(self, reason: str) -> None:
        self._unwatch()
        now = time.monotonic()
        if now - self._logged_at >= LOG_INTERVAL_S:
            self._logged_at = now
            log.warning("accepting no connections for now reason=%s", reason)
        self._resume = IOLoop.current().call_later(self._pause_s, self._watch)
        self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s)
