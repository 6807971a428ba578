"""One server process: from settings to an exit status."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import importlib
import logging
import resource
import signal
import socket
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from tornado.netutil import bind_sockets

from wsserver.app import System, build
from wsserver.config import ConfigFaults, Fault, Settings
from wsserver.development import announce
from wsserver.realtime.manager import WebSocketManager
from wsserver.storage.faults import DatabaseFault
from wsserver.web.server import Listener

log = logging.getLogger(__name__)

PLUGIN_GROUP = "wsserver.plugins"
BACKLOG = 4096
HTTP_GRACE_S = 1.0
EXIT_OK = 0
EXIT_FORCED = 1


def run(settings: Settings, *, dev: bool = False) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status.

    Raises ``ConfigFaults`` for what only shows when it is tried: a port in use, a database that
    cannot be used, a plugin that cannot be imported.
    """
    raise_descriptor_limit()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(serve(settings, dev=dev))


async def serve(settings: Settings, *, dev: bool = False) -> int:
    """Start, wait for a signal, stop; a second signal cuts the stop short."""
    stop, hurry = asyncio.Event(), asyncio.Event()
    _on_signals(lambda: hurry.set() if stop.is_set() else stop.set())
    sockets = _bind(settings)
    system = build(settings)
    try:
        for plugin in _plugins(settings):
            plugin(system.manager)
        await system.service.start()
    except DatabaseFault as fault:
        _close(sockets)
        raise ConfigFaults([Fault("database", str(settings.database), str(fault))]) from None
    except BaseException:
        _close(sockets)
        raise
    listener = Listener(system.application, settings)
    listener.start(sockets)
    _spare_the_collector()
    url = url_of(sockets[0])
    print(f"listening on {url}", file=sys.stderr, flush=True)
    if system.hosts.takes_any:
        log.warning("reachable from everywhere without allowed_hosts: any Host is accepted")
    forget = announce(system, settings, url) if dev else contextlib.nullcontext()
    with forget:
        await stop.wait()
        log.info("stopping")
        return await _stop(system, listener, hurry)


async def _stop(system: System, listener: Listener, hurry: asyncio.Event) -> int:
    stopping = asyncio.ensure_future(_stop_in_order(system, listener))
    hurrying = asyncio.ensure_future(hurry.wait())
    await asyncio.wait({stopping, hurrying}, return_when=asyncio.FIRST_COMPLETED)
    hurrying.cancel()
    if stopping.done():
        stopping.result()
        log.info("stopped")
        return EXIT_OK
    log.warning("stopped at once: second signal")
    stopping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await stopping
    return EXIT_FORCED


async def _stop_in_order(system: System, listener: Listener) -> None:
    """Drain with the door open, so that who knocks is told why; then shut it."""
    await system.service.drain()
    await listener.stop(HTTP_GRACE_S)
    await system.service.stop()


def url_of(listening: socket.socket) -> str:
    """The address of a listening socket, as a URL."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def raise_descriptor_limit() -> None:
    """Allow as many descriptors as the system lets us: each connection takes one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's loop where it is installed: the extra is the switch."""
    try:
        uvloop: Any = importlib.import_module("uvloop")
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _on_signals(handle: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, handle)


def _bind(settings: Settings) -> list[socket.socket]:
    try:
        return bind_sockets(settings.port, settings.host, backlog=BACKLOG)
    except OSError as error:
        key = "host" if isinstance(error, socket.gaierror) else "port"
        if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            key = "host"
        where = f"{settings.host}:{settings.port}"
        message = f"cannot listen on {where}: {error.strerror or error}"
        raise ConfigFaults([Fault(key, "", message)]) from None


def _close(sockets: list[socket.socket]) -> None:
    for listening in sockets:
        listening.close()


def _plugins(settings: Settings) -> list[Callable[[WebSocketManager], Any]]:
    """Installed plugins first, then those of the settings, each a callable."""
    plugins, faults = [], []
    for entry in entry_points(group=PLUGIN_GROUP):
        try:
            plugins.append(entry.load())
        except Exception as error:  # foreign code may raise anything at import
            log.exception("plugin failed to load name=%s", entry.name)
            faults.append(Fault("plugins", f"entry point {entry.name}", repr(error)))
    for name in settings.plugins:
        module, _, function = name.partition(":")
        try:
            plugins.append(getattr(importlib.import_module(module), function))
        except Exception as error:  # as above
            log.exception("plugin failed to load name=%s", name)
            faults.append(Fault("plugins", "", f"{name}: {error!r}"))
    if faults:
        raise ConfigFaults(faults)
    return plugins


def _spare_the_collector() -> None:
    """Take all that start-up made out of the collector's sight, and let it look less often.

    Connections are freed by reference counting; a full collection over tens of thousands of them
    would hold up the loop for nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
