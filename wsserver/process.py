"""The process of ``wsserver serve``: runs a server until a signal; returns an exit status."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from wsserver.clock import widen_time
from wsserver.config import ConfigFaults, Settings
from wsserver.database_factory import setting_of
from wsserver.development import first_steps
from wsserver.errors import WsServerError
from wsserver.event_loop import fastest_loop
from wsserver.fd_limits import raise_descriptor_limit
from wsserver.lifecycle import Lifecycle
from wsserver.logs import lines_together
from wsserver.plugins import call_plugins
from wsserver.server import Server
from wsserver.tasks import CANCEL_PATIENCE_S

log = logging.getLogger(__name__)

START_PATIENCE_S = 1.0
"""How long connections wait in the kernel's queue for the end of the start."""
EXIT_OK = 0
EXIT_FAILED = 1
"""Stopped by a second signal, or not started for a temporary reason, as a locked database."""
EXIT_TEMPORARY = 75
"""A server that is needed cannot be reached (EX_TEMPFAIL of sysexits.h)."""
EXIT_UNAVAILABLE = {"database": EXIT_FAILED, "database_url": EXIT_TEMPORARY}
"""Of a database that cannot be used now, by the setting that names it."""


@dataclass
class Stops:
    """What ends a server that runs; all on its event loop."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    """Set after ``stop``: to end without waiting for clients."""
    is_hand_over: bool = False
    """Whether another process goes on accepting from the same sockets."""


def run(settings: Settings, *, dev: bool = False) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status.

    Raises ``ConfigFaults`` for what only shows when it is tried: a port in use, a database that
    cannot be used, a plugin that cannot be imported.
    """
    return run_on_loop(serve(settings, dev=dev))


def run_on_loop(main: Coroutine[Any, Any, int]) -> int:
    """Run a server's coroutine on the fastest event loop; returns its exit status."""
    raise_descriptor_limit()
    widen_time()
    with asyncio.Runner(loop_factory=fastest_loop()) as runner:
        status = runner.run(main)
        if runner.run(_tasks_remain()):
            # All is stored. To close the loop would wait for them, forever perhaps.
            logging.shutdown()
            os._exit(status)
    # The loop's handlers are gone: a late one would make a failure of an end that was orderly.
    for name in STOPPING:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    return status


async def _tasks_remain() -> bool:
    """Cancel the tasks that are left, as those of plugins; whether some do not end by that."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        _, left = await asyncio.wait(left, timeout=CANCEL_PATIENCE_S)
    return bool(left)


async def serve(settings: Settings, *, dev: bool = False) -> int:
    """Start, wait for a signal, stop; a second signal cuts the stop short."""
    stops = Stops()
    handle_signals(asyncio.get_running_loop(), stops.stop, stops.hurry)
    run = Lifecycle.prepare(settings)

    def announce(text: str) -> None:
        say(f"listening on {run.url}\n")
        warn_of_hosts(run)
        say(text)

    return await serve_prepared(run, stops, announce, dev=dev)


async def serve_prepared(
    run: Lifecycle,
    stops: Stops,
    announce: Callable[[str], None],
    *,
    dev: bool = False,
    start_patience_s: float | None = START_PATIENCE_S,
) -> int:
    """Start, ``announce`` that it accepts connections, wait for a stop; returns the exit status.

    During a start that takes longer than ``start_patience_s``, every request gets 503 ``starting``;
    None: new connections wait. ``announce`` gets what to try in development mode.
    """
    settings, stop, hurry = run.settings, stops.stop, stops.hurry
    server = Server.of(run)
    try:
        is_ready = await _start(
            _load(run, server), run.listen, stop, hurry, settings.drain_timeout_s, start_patience_s
        )
    except WsServerError as error:
        key = setting_of(settings)
        log.error("not started key=%s error=%s", key, error)
        await run.close()
        return EXIT_UNAVAILABLE[key]
    except ConfigFaults:
        await run.close()
        raise
    if not is_ready:
        await run.close()
        if run.system.service.is_running:
            await run.system.service.stop()  # it was ready just then
        log.info("stopped before it was ready")
        return EXIT_FAILED if hurry.is_set() else EXIT_OK
    _freeze_garbage_collector()
    run.system.service.on_drain = stop.set
    with contextlib.ExitStack() as at_end:
        at_end.enter_context(lines_together(asyncio.get_running_loop().call_soon))
        # Before the ready line: wsctl finds the server by the files that this leaves.
        announce(at_end.enter_context(first_steps(server)) if dev else "")
        await stop.wait()
        log.info("stopping")
        return await _stop(run, stops)


def warn_of_hosts(run: Lifecycle) -> None:
    """Warn if the server accepts any Host though it is reachable from everywhere."""
    if run.system.hosts.takes_any:
        log.warning("reachable from everywhere without allowed_hosts, any Host is accepted")


async def _start(
    work: Coroutine[Any, Any, None],
    listen: Callable[[], None],
    stop: asyncio.Event,
    hurry: asyncio.Event,
    stop_timeout_s: float,
    patience_s: float | None,
) -> bool:
    """Do the work of a start, then ``listen``; False: a signal to stop came first.

    A start that takes long listens before its end. A disk that does not answer holds up the stop
    for ``stop_timeout_s`` at most.
    """
    starting = asyncio.ensure_future(work)
    is_done = await _first_of(starting, stop, patience_s)
    if not is_done and not stop.is_set():
        log.warning("the start takes long, answering 503 meanwhile after_s=%g", patience_s)
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
        starting.exception()  # retrieved, else asyncio would log it
    return False


def _nothing() -> None:
    """Do nothing: the server is listening already."""


async def _load(run: Lifecycle, server: Server) -> None:
    await call_plugins(run.plugins, server)
    await run.load()


async def _first_of(
    task: asyncio.Future[None], event: asyncio.Event, timeout_s: float | None = None
) -> bool:
    """Wait for a task until an event is set or time is up; whether the task is done."""
    waiting = asyncio.ensure_future(event.wait())
    either: set[asyncio.Future[Any]] = {task, waiting}
    await asyncio.wait(either, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    return task.done()


async def _stop(run: Lifecycle, stops: Stops) -> int:
    stopping = asyncio.ensure_future(run.hand_over() if stops.is_hand_over else run.stop())
    if await _first_of(stopping, stops.hurry):
        stopping.result()
        log.info("stopped")
        return EXIT_OK
    log.warning("stopped at once by a second signal")
    stopping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await stopping
    return EXIT_FAILED


def say(text: str) -> None:
    """Write to stderr; a closed one is ignored."""
    with contextlib.suppress(OSError):
        print(text, end="", file=sys.stderr, flush=True)


def _freeze_garbage_collector() -> None:
    """Exclude the objects made at start from garbage collection, and collect less often.

    Connections are freed by reference counting; a full collection over tens of thousands of them
    would hold up the loop for nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    gc.enable()  # it was switched off for the imports


STOPPING = ("SIGTERM", "SIGINT", "SIGQUIT")
"""Signals that drain and stop; a second one stops immediately."""
WITHOUT_EFFECT = ("SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGIO", "SIGPWR")
"""Signals that are ignored with a warning; by default each of them ends a process."""


def handle_signals(
    loop: asyncio.AbstractEventLoop, stop: asyncio.Event, hurry: asyncio.Event
) -> None:
    """Set ``stop`` at the first signal that stops a server, ``hurry`` at a second one.

    SIGHUP (the terminal was closed) only ever sets ``stop``, because several may come for one
    terminal, and does nothing where it was ignored at the start (``nohup``). Python ignores
    SIGPIPE and SIGXFSZ; SIGTSTP and SIGCONT halt the process and let it go on.
    """

    def on_stop() -> None:
        if stop.is_set():
            hurry.set()
        else:
            stop.set()

    for name in STOPPING:
        loop.add_signal_handler(getattr(signal, name), on_stop)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGHUP, stop.set)
    for name in WITHOUT_EFFECT:
        number = getattr(signal, name, None)
        if number is not None:
            loop.add_signal_handler(number, _note, name)


def _note(name: str) -> None:
    log.warning("signal has no effect, SIGTERM and SIGHUP stop the server signal=%s", name)
