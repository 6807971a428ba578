"""``Openings``: tells of each new connection on this node, and of what it was greeted with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from wsserver.realtime.connections.connection import ConnectionInfo

Listener = Callable[[ConnectionInfo, Sequence[bytes]], None]
"""Called with a new connection before anything follows its first pushes, which it also gets."""


class Openings:
    """Listeners to new connections; usually there are none."""

    __slots__ = ("listeners",)

    def __init__(self) -> None:
        self.listeners: list[Listener] = []

    def add(self, listener: Listener) -> None:
        """Call a listener from now on."""
        self.listeners.append(listener)

    def remove(self, listener: Listener) -> None:
        """Call it no longer."""
        if listener in self.listeners:
            self.listeners.remove(listener)
