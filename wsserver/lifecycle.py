"""Start and stop of one server: its sockets, the system behind them, its plugins.

``process`` runs one until a signal comes, ``Server`` runs one inside another program.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import traceback
import warnings
from collections.abc import Iterable, Iterator

from tornado.netutil import bind_sockets

from wsserver.app import System, build, templates_of
from wsserver.cluster.errors import ClusterUnusable
from wsserver.config import ConfigFaults, Fault, Settings
from wsserver.database_factory import cluster_of
from wsserver.errors import WsServerError
from wsserver.plugins import Plugin, load_plugins
from wsserver.storage.engine.check import check_file
from wsserver.storage.engine.errors import DatabaseUnusable
from wsserver.storage.engine.lock import check_unlocked
from wsserver.web.server.listener import Listener

BACKLOG = 4096
HTTP_GRACE_S = 1.0

_FAULTS_OF_HOST = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL)


class Lifecycle:
    """One run of a server, in the order ``prepare``, ``load``, ``listen``, ``stop``.

    To be used on one event loop. After a ``load`` that failed or was cancelled: ``abandon``.
    """

    def __init__(
        self, settings: Settings, plugins: list[Plugin], sockets: list[socket.socket]
    ) -> None:
        self.settings = settings
        self.plugins = plugins
        self.system: System = build(settings)
        self.listener = Listener(self.system.application, settings)
        self.url = url_of(sockets[0])
        self._sockets = sockets

    @classmethod
    def prepare(cls, settings: Settings) -> Lifecycle:
        """Import the plugins, bind the sockets, build the system.

        Raises ``ConfigFaults`` with everything that is wrong; then nothing stays open.
        """
        plugins, sockets = _check(settings)
        try:
            return cls(settings, plugins, sockets)
        except BaseException:
            _close(sockets)
            raise

    async def load(self) -> None:
        """Open the database, read what it has, begin the periodic work.

        Raises ``ConfigFaults`` for a database that cannot be used or a cluster that cannot be
        joined, ``StorageUnavailable`` or ``StorageFull`` where that may pass.
        """
        try:
            with _database_faults(self.settings):
                await self.system.service.start()
        except ClusterUnusable as fault:
            raise ConfigFaults([Fault(fault.key, "start", fault.problem)]) from None

    def listen(self) -> None:
        """Begin to accept connections."""
        self.listener.start(self._sockets)

    async def stop(self) -> None:
        """Close the clients' connections, end the periodic work, close the database.

        Keeps accepting while connections close, so that new clients get ``draining``.
        """
        await self.system.service.drain()
        await self.close()
        await self.system.service.stop()

    async def close(self) -> None:
        """Stop listening, and give HTTP requests under way ``HTTP_GRACE_S``."""
        await self.listener.stop(HTTP_GRACE_S)
        _close(self._sockets)

    async def abandon(self) -> None:
        """Release everything after a start or stop that was cut short; no more is stored."""
        await self.close()
        await self.system.service.abandon()


def url_of(listening: socket.socket) -> str:
    """The address of a listening socket, as a URL."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _check(settings: Settings) -> tuple[list[Plugin], list[socket.socket]]:
    """Do what can fail before anything is built; raises ``ConfigFaults`` with all faults."""
    faults: list[Fault] = []
    plugins: list[Plugin] = []
    sockets: list[socket.socket] = []
    with _collecting(faults):
        plugins = load_plugins(settings.plugins)
    with _collecting(faults):
        templates_of(settings)
    in_use: list[Fault] = []
    if settings.database_url is None:
        with _collecting(in_use), _database_faults(settings):
            check_unlocked(settings.database, cluster_of(settings))
    if not in_use:  # else nothing may seem to listen here, not even for a moment
        with _collecting(faults):
            sockets = _bind(settings)
    if faults or in_use:  # else the start looks at the database
        if not in_use and settings.database_url is None:
            at_file = _database_faults(settings)
            with _collecting(faults), contextlib.suppress(WsServerError), at_file:
                check_file(settings.database)
        _close(sockets)
        raise ConfigFaults(faults + in_use)
    return plugins, sockets


@contextlib.contextmanager
def _collecting(faults: list[Fault]) -> Iterator[None]:
    try:
        yield
    except ConfigFaults as found:
        faults += found.faults


@contextlib.contextmanager
def _database_faults(settings: Settings) -> Iterator[None]:
    try:
        yield
    except DatabaseUnusable as fault:
        key = "database" if settings.database_url is None else "database_url"
        message = f"{fault.path}: {fault.problem}; {fault.remedy}"
        raise ConfigFaults([Fault(key, "start", message)]) from None


def _bind(settings: Settings) -> list[socket.socket]:
    try:
        return bind_sockets(settings.port, settings.host, backlog=BACKLOG)
    except OSError as error:
        with warnings.catch_warnings():  # Tornado leaves the sockets open that it has made so far
            warnings.simplefilter("ignore", ResourceWarning)
            traceback.clear_frames(error.__traceback__)
        is_host = isinstance(error, socket.gaierror) or error.errno in _FAULTS_OF_HOST
        message = f"cannot listen on {settings.host} port {settings.port}: {error.strerror}"
        raise ConfigFaults([Fault("host" if is_host else "port", "start", message)]) from None


def _close(sockets: Iterable[socket.socket]) -> None:
    for listening in sockets:
        listening.close()
