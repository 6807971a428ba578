"""Readiness of sockets (epoll), behind one descriptor of the event loop."""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any, Final, Protocol

READ: Final = 0x01
"""Readable, or at the end of the stream. The numbers are those of epoll and Tornado."""
WRITE: Final = 0x04
"""Writable."""
BROKEN: Final = 0x18
"""Error or hang-up; reported whether asked for or not."""

OnReady = Callable[[list[tuple[int, int]]], None]
"""Gets ``(descriptor, events)`` pairs: hints, true a moment ago."""


class Loop(Protocol):
    """Event loop interface; ``tornado.ioloop.IOLoop`` implements it."""

    def add_handler(self, fd: int, handler: Callable[[int, int], None], events: int) -> None:
        """Call ``handler(fd, events)`` whenever the descriptor is ready."""

    def update_handler(self, fd: int, events: int) -> None:
        """Change what a descriptor is watched for."""

    def remove_handler(self, fd: int) -> None:
        """Stop watching a descriptor."""

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> object:
        """Call back once after ``delay`` seconds; returns a handle."""

    def remove_timeout(self, timeout: Any) -> None:
        """Cancel a handle of ``call_later``."""

    def add_callback(self, callback: Callable[..., Any], *args: Any) -> None:
        """Call back in the loop's next turn."""


class Readiness(Protocol):
    """Watches descriptors, level-triggered."""

    def watch(self, fd: int, interest: int) -> None:
        """Start watching; raises ``OSError`` if the system refuses."""

    def change(self, fd: int, interest: int) -> None:
        """Replace what the descriptor is watched for; 0: errors and hang-up only."""

    def forget(self, fd: int) -> None:
        """Stop watching; must come before the descriptor is closed."""

    def close(self) -> None:
        """Stop watching everything."""


class EpollReadiness:
    """Descriptors in a private epoll object, which is the only one that the loop watches.

    Adding or dropping a connection costs the loop nothing, and a batch of ready ones costs one
    callback. ``max_events`` limits a batch; epoll moves those reported to the end of its list.
    """

    def __init__(self, loop: Loop, on_ready: OnReady, max_events: int = 512) -> None:
        self._loop = loop
        self._on_ready = on_ready
        self._max_events = max_events
        self._epoll = select.epoll()
        loop.add_handler(self._epoll.fileno(), self._poll, READ)

    def watch(self, fd: int, interest: int) -> None:
        """See ``Readiness``."""
        self._epoll.register(fd, interest)

    def change(self, fd: int, interest: int) -> None:
        """See ``Readiness``."""
        self._epoll.modify(fd, interest)

    def forget(self, fd: int) -> None:
        """See ``Readiness``."""
        self._epoll.unregister(fd)

    def close(self) -> None:
        """See ``Readiness``."""
        self._loop.remove_handler(self._epoll.fileno())
        self._epoll.close()

    def _poll(self, _fd: int, _events: int) -> None:
        self._on_ready(self._epoll.poll(0, self._max_events))


class LoopReadiness:
    """Every descriptor watched by the loop itself, for systems without epoll."""

    def __init__(self, loop: Loop, on_ready: OnReady) -> None:
        self._loop = loop
        self._on_ready = on_ready
        self._watched: set[int] = set()

    def watch(self, fd: int, interest: int) -> None:
        """See ``Readiness``."""
        self._loop.add_handler(fd, self._ready, interest)
        self._watched.add(fd)

    def change(self, fd: int, interest: int) -> None:
        """See ``Readiness``."""
        self._loop.update_handler(fd, interest)

    def forget(self, fd: int) -> None:
        """See ``Readiness``."""
        self._loop.remove_handler(fd)
        self._watched.discard(fd)

    def close(self) -> None:
        """See ``Readiness``."""
        for fd in tuple(self._watched):
            self.forget(fd)

    def _ready(self, fd: int, events: int) -> None:
        self._on_ready([(fd, events)])


def best_readiness(loop: Loop, on_ready: OnReady, max_events: int = 512) -> Readiness:
    """Choose epoll where the system has it. ``max_events`` limits its batches.

    Everything else waits while a batch is processed, so a long one is only for cheap events.
    """
    if hasattr(select, "epoll"):
        return EpollReadiness(loop, on_ready, max_events)
    return LoopReadiness(loop, on_ready)
