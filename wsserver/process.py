"""One server process: from settings to an exit status."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from tornado.netutil import bind_sockets

from wsserver.app import System, build, templates_of
from wsserver.clock import widen_time
from wsserver.config import ConfigFaults, Fault, Settings
from wsserver.development import first_steps
from wsserver.errors import WsServerError
from wsserver.event_loop import fastest_loop
from wsserver.fd_limits import raise_descriptor_limit
from wsserver.plugins import Plugin, call_plugins, load_plugins
from wsserver.signals import handle_signals
from wsserver.storage.engine.check import check_file
from wsserver.storage.engine.errors import DatabaseFault
from wsserver.storage.engine.lock import check_unlocked
from wsserver.web.server.listener import Listener

log = logging.getLogger(__name__)

BACKLOG = 4096
HTTP_GRACE_S = 1.0
START_PATIENCE_S = 1.0
"""How long connections may wait for the end of the start in the kernel's queue."""
EXIT_OK = 0
EXIT_FAILED = 1
"""Cut short by a second signal, or not started for a reason that may pass, as a locked database."""

_FAULTS_OF_HOST = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL)


def run(settings: Settings, *, dev: bool = False) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status.

    Raises ``ConfigFaults`` for what only shows when it is tried: a port in use, a database that
    cannot be used, a plugin that cannot be imported.
    """
    raise_descriptor_limit()
    widen_time()
    with asyncio.Runner(loop_factory=fastest_loop()) as runner:
        return runner.run(serve(settings, dev=dev))


async def serve(settings: Settings, *, dev: bool = False) -> int:
    """Start, wait for a signal, stop; a second signal cuts the stop short.

    During a start that takes longer than ``START_PATIENCE_S``, every request gets 503 ``starting``.
    """
    stop, hurry = asyncio.Event(), asyncio.Event()
    handle_signals(asyncio.get_running_loop(), stop, hurry)
    plugins, sockets = _prepare(settings)
    with contextlib.ExitStack() as at_end:
        at_end.callback(_close, sockets)
        system = build(settings)
        url = url_of(sockets[0])
        listener = Listener(system.application, settings)
        try:
            is_ready = await _start(
                _start_in_order(system, plugins),
                lambda: listener.start(sockets),
                stop,
                hurry,
                settings.drain_timeout_s,
            )
        except WsServerError as error:
            log.error("not started error=%s", error)
            await listener.stop(HTTP_GRACE_S)
            return EXIT_FAILED
        except ConfigFaults:
            await listener.stop(HTTP_GRACE_S)
            raise
        if not is_ready:
            await listener.stop(HTTP_GRACE_S)
            if system.service.is_running:
                await system.service.stop()  # it was ready just then
            log.info("stopped before it was ready")
            return EXIT_FAILED if hurry.is_set() else EXIT_OK
        _spare_the_collector()
        # Before the ready line: wsctl finds the server by the files that this leaves.
        text = at_end.enter_context(first_steps(system, settings, url)) if dev else ""
        _say(f"listening on {url}\n")
        if system.hosts.takes_any:
            log.warning("reachable from everywhere without allowed_hosts, any Host is accepted")
        _say(text)
        await stop.wait()
        log.info("stopping")
        return await _stop(system, listener, hurry)


def _prepare(settings: Settings) -> tuple[list[Plugin], list[socket.socket]]:
    """What can fail before anything is built; raises ``ConfigFaults`` with all that is wrong."""
    faults: list[Fault] = []
    plugins: list[Plugin] = []
    sockets: list[socket.socket] = []
    with _collecting(faults):
        plugins = load_plugins(settings.plugins)
    with _collecting(faults):
        templates_of(settings)
    in_use: list[Fault] = []
    with _collecting(in_use), _database_faults():
        check_unlocked(settings.database)
    if not in_use:  # else nothing may seem to listen here, not even for a moment
        with _collecting(faults):
            sockets = _bind(settings)
    if faults or in_use:  # else the start looks at the database
        if not in_use:
            with _collecting(faults), contextlib.suppress(WsServerError), _database_faults():
                check_file(settings.database)
        _close(sockets)
        faults += in_use
        raise ConfigFaults(faults)
    return plugins, sockets


async def _start(
    work: Coroutine[Any, Any, None],
    listen: Callable[[], None],
    stop: asyncio.Event,
    hurry: asyncio.Event,
    stop_timeout_s: float,
) -> bool:
    """Do the work of a start, then ``listen``; False: a signal to stop came first.

    A start that takes long listens before its end. A disk that does not answer holds up the stop
    for ``stop_timeout_s`` at most.
    """
    starting = asyncio.ensure_future(work)
    is_done = await _first_of(starting, stop, START_PATIENCE_S)
    if not is_done and not stop.is_set():
        log.warning("the start takes long, answering 503 meanwhile after_s=%g", START_PATIENCE_S)
        listen()
        listen = _nothing
        is_done = await _first_of(starting, stop)
    if is_done:
        starting.result()
        listen()
        return True
    starting.cancel()
    if not await _first_of(starting, hurry, stop_timeout_s):
        log.warning("stopped at once, the database has not closed yet")
    elif not starting.cancelled():
        starting.exception()  # of no interest any more, but asyncio would log it
    return False


def _nothing() -> None:
    """Listening already."""


async def _start_in_order(system: System, plugins: list[Plugin]) -> None:
    await call_plugins(plugins, system.manager)
    with _database_faults():
        await system.service.start()


async def _first_of(
    task: asyncio.Future[None], event: asyncio.Event, timeout_s: float | None = None
) -> bool:
    """Wait for a task until an event is set or time is up; is the task done?"""
    waiting = asyncio.ensure_future(event.wait())
    either: set[asyncio.Future[Any]] = {task, waiting}
    await asyncio.wait(either, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    return task.done()


async def _stop(system: System, listener: Listener, hurry: asyncio.Event) -> int:
    stopping = asyncio.ensure_future(_stop_in_order(system, listener))
    if await _first_of(stopping, hurry):
        stopping.result()
        log.info("stopped")
        return EXIT_OK
    log.warning("stopped at once by a second signal")
    stopping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await stopping
    return EXIT_FAILED


async def _stop_in_order(system: System, listener: Listener) -> None:
    """Keep accepting while draining, so that new clients get ``draining``; then close."""
    await system.service.drain()
    await listener.stop(HTTP_GRACE_S)
    await system.service.stop()


def url_of(listening: socket.socket) -> str:
    """The address of a listening socket, as a URL."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.contextmanager
def _collecting(faults: list[Fault]) -> Iterator[None]:
    try:
        yield
    except ConfigFaults as found:
        faults += found.faults


@contextlib.contextmanager
def _database_faults() -> Iterator[None]:
    try:
        yield
    except DatabaseFault as fault:
        message = f"{fault.path}: {fault.problem}; {fault.remedy}"
        raise ConfigFaults([Fault("database", "start", message)]) from None


def _bind(settings: Settings) -> list[socket.socket]:
    try:
        return bind_sockets(settings.port, settings.host, backlog=BACKLOG)
    except OSError as error:
        is_host = isinstance(error, socket.gaierror) or error.errno in _FAULTS_OF_HOST
        message = f"cannot listen on {settings.host} port {settings.port}: {error.strerror}"
        raise ConfigFaults([Fault("host" if is_host else "port", "start", message)]) from None


def _say(text: str) -> None:
    """Write to stderr, whether or not it is still read."""
    with contextlib.suppress(OSError):
        print(text, end="", file=sys.stderr, flush=True)


def _close(sockets: list[socket.socket]) -> None:
    for listening in sockets:
        listening.close()


def _spare_the_collector() -> None:
    """Take all that start-up made out of the collector's sight, and let it look less often.

    Connections are freed by reference counting; a full collection over tens of thousands of them
    would hold up the loop for nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
