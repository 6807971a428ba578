"""Signals of a server process: which ones stop it, and which ones have no effect."""

from __future__ import annotations

import asyncio
import logging
import signal

log = logging.getLogger(__name__)

STOPPING = ("SIGTERM", "SIGINT", "SIGQUIT")
"""Drain and stop; a second one stops at once."""
WITHOUT_EFFECT = ("SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGIO", "SIGPWR")
"""By default each of these ends a process at once, without a word."""


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
