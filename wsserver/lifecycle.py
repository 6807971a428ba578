"""Start and stop of one server: its sockets, the system behind them, its plugins.

``process`` runs one until a signal comes, ``Server`` runs one inside another program.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

from wsserver.app import System, build, templates_of
from wsserver.cluster.errors import ClusterUnusable
from wsserver.cluster.worker_identity import WorkerIdentity
from wsserver.config import ConfigFaults, Fault, Settings
from wsserver.database_factory import check_unused, check_usable, setting_of
from wsserver.errors import WsServerError
from wsserver.extending.loading import Extensions
from wsserver.extension_registry import load_extensions
from wsserver.listening_sockets import BACKLOG, bind, close_all, url_of
from wsserver.plugins import Plugin, load_plugins
from wsserver.storage.engine.errors import DatabaseUnusable
from wsserver.web.server.listener import Listener

HTTP_GRACE_S = 1.0
ARRIVAL_S = 0.25
"""Time for the first request on connections that were accepted just before a hand-over."""


class Lifecycle:
    """One run of a server, in the order ``prepare``, ``load``, ``listen``, ``stop``.

    To be used on one event loop. After a ``load`` that failed or was cancelled: ``abandon``.
    """

    def __init__(
        self,
        settings: Settings,
        plugins: list[Plugin],
        sockets: list[socket.socket],
        worker: WorkerIdentity | None = None,
        extensions: Extensions | None = None,
    ) -> None:
        self.settings = settings
        self.plugins = plugins
        self.system: System = build(settings, worker=worker, extensions=extensions)
        self.listener = Listener(self.system.application, settings)
        self.url = url_of(sockets[0])
        self._sockets = sockets

    @classmethod
    def prepare(
        cls,
        settings: Settings,
        sockets: list[socket.socket] | None = None,
        worker: WorkerIdentity | None = None,
    ) -> Lifecycle:
        """Import plugins and extensions, bind the sockets, build the system.

        ``sockets``: bound already, for one of several workers. Raises ``ConfigFaults``
        with everything that is wrong; then nothing stays open.
        """
        plugins, extensions, sockets = check(settings, sockets)
        try:
            return cls(settings, plugins, sockets, worker, extensions)
        except BaseException:
            close_all(sockets)
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
        for listening in self._sockets:
            listening.listen(BACKLOG)  # a worker's socket is only bound until its first start
        self.listener.start(self._sockets)

    async def stop(self) -> None:
        """Close the clients' connections, end the periodic work, close the database.

        Keeps accepting while connections close, so that new clients get ``draining``.
        """
        await self.system.service.drain()
        await self.close()
        await self.system.service.stop()

    async def hand_over(self) -> None:
        """Stop without refusing anybody: new connections wait for the successor, a worker."""
        self.listener.stop_accepting()
        await asyncio.sleep(ARRIVAL_S)
        await self.stop()

    async def close(self) -> None:
        """Stop listening, and give HTTP requests under way ``HTTP_GRACE_S``."""
        await self.listener.stop(HTTP_GRACE_S)
        close_all(self._sockets)

    async def abandon(self) -> None:
        """Release everything after a start or stop that was cut short; no more is stored."""
        await self.close()
        await self.system.service.abandon()


def check(
    settings: Settings, given: list[socket.socket] | None
) -> tuple[list[Plugin], Extensions, list[socket.socket]]:
    """Do what can fail before anything is built; raises ``ConfigFaults`` with all faults."""
    faults: list[Fault] = []
    plugins: list[Plugin] = []
    extensions = Extensions({})
    sockets = given or []
    if settings.workers > 1:
        message = "must be 1 here: only the command wsserver serve starts workers"
        faults.append(Fault("workers", "start", message))
    with _collecting(faults):
        plugins = load_plugins(settings.plugins)
    with _collecting(faults):
        extensions = load_extensions(settings)
    with _collecting(faults):
        templates_of(settings, extensions.templates)
    in_use: list[Fault] = []
    with _collecting(in_use), _database_faults(settings):
        check_unused(settings)
    if not in_use and given is None:  # else nothing may seem to listen here, not even for a moment
        with _collecting(faults):
            sockets = bind(settings)
    if faults or in_use:  # else the start looks at the database
        if not in_use:
            named = _database_faults(settings)
            with _collecting(faults), contextlib.suppress(WsServerError), named:
                check_usable(settings)
        close_all(sockets)
        raise ConfigFaults(faults + in_use)
    return plugins, extensions, sockets


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
        message = f"{fault.path}: {fault.problem}; {fault.remedy}"
        raise ConfigFaults([Fault(setting_of(settings), "start", message)]) from None
