"""Listener: accepts connections while there are descriptors, and stops in order."""

from __future__ import annotations

import errno
import logging
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any

from tornado.ioloop import IOLoop
from tornado.web import Application

from wsserver.config import Settings
from wsserver.fd_limits import KEPT_BACK, descriptor_limit, lowest_free
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Paths
from wsserver.web.resources.routes import RouteTable
from wsserver.web.server.fast_path import FastPath
from wsserver.web.server.tornado_server import MAX_BUFFER_BYTES, PrefilledStream, make_http_server
from wsserver.wire.sockets import set_nodelay

log = logging.getLogger(__name__)

ACCEPTS_PER_TURN = 32
SHORTEST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 1.0
LOG_INTERVAL_S = 1.0

_FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Listener:
    """Accepts connections for an application, and stops accepting while descriptors run out.

    Tornado's own accept loop would then spin, with a traceback in the log each time. Meanwhile
    connections wait in the kernel's queue, and existing ones are served as usual.
    """

    def __init__(
        self,
        application: Application,
        settings: Settings,
        limit: Callable[[], int] = descriptor_limit,
    ) -> None:
        self._context: WebContext = application.settings["context"]
        self._server = make_http_server(application, settings)
        routes: RouteTable = application.settings["routes"]
        self._fast_path = FastPath(
            self._context,
            Paths(each for each in routes.endpoints if not (each.is_streamed or each.is_received)),
            self._serve_by_tornado,
        )
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
        for listening in self._sockets:
            set_nodelay(listening.fileno())  # accepted ones inherit it, so it costs them no call
        self._watch()

    async def stop(self, grace_s: float) -> None:
        """Stop accepting, wait for requests and responses under way, close all connections.

        ``grace_s``: the time for both together; what takes longer is cut off.
        """
        self.stop_accepting()
        if not self._is_stopped:
            self._is_stopped = True
            self._fast_path.close()
        deadline = time.monotonic() + grace_s
        if not await self._context.traffic.wait_idle(grace_s):
            log.warning("requests cut off count=%d", self._context.traffic.under_way)
        elif not await self._context.unsent.wait_empty(deadline - time.monotonic()):
            log.warning("responses cut off count=%d", len(self._context.unsent))
        self._fast_path.cut()
        await self._server.close_all_connections()

    def stop_accepting(self) -> None:
        """Close the listening sockets; connections are served on."""
        self._unwatch()
        if self._resume is not None:
            IOLoop.current().remove_timeout(self._resume)
            self._resume = None
        for listening in self._sockets:
            listening.close()
        self._sockets.clear()

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
            self._fast_path.receive(connection, address)
        except Exception:
            log.exception("connection not served")
            connection.close()

    def _serve_by_tornado(
        self, connection: socket.socket, address: tuple[Any, ...], received: bytes
    ) -> None:
        stream = PrefilledStream(
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
