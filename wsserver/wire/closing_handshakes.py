"""Closing handshakes and their time limit, with one timer for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from wsserver.clock import Clock
from wsserver.wire.readiness import Loop
from wsserver.wire.transport import Transport

DISCARD_LIMIT_BYTES: Final = 16 * 1024 * 1024
"""Bytes that a peer may still send after the end of its connection; above it, it is closed."""


class ClosingHandshake:
    """One closing handshake: its code and reason, and its deadline."""

    __slots__ = ("code", "deadline", "discarded", "reason")

    def __init__(self, code: int, reason: str, deadline: float) -> None:
        self.code = code
        self.reason = reason
        self.deadline = deadline
        self.discarded = 0
        """Bytes read and discarded; closing with unread input would reset the connection, and the
        peer might never receive the close frame."""


class ClosingHandshakes:
    """The connections being closed. All have the same time limit, so the oldest is due first.

    ``on_late`` is called with each connection that is not closed after ``timeout_s`` seconds.
    """

    def __init__(
        self, loop: Loop, clock: Clock, timeout_s: float, on_late: Callable[[Transport], None]
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._timeout_s = timeout_s
        self._on_late = on_late
        self._closing: dict[Transport, ClosingHandshake] = {}
        self._timer: object | None = None

    def add(self, transport: Transport, code: int, reason: str) -> None:
        """Start the time limit of a connection."""
        deadline = self._clock.monotonic() + self._timeout_s
        self._closing[transport] = ClosingHandshake(code, reason, deadline)
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout_s, self._check)

    def get(self, transport: Transport) -> ClosingHandshake | None:
        """Return a connection's closing handshake, None if it is not being closed."""
        return self._closing.get(transport)

    def discard(self, transport: Transport) -> None:
        """Forget a connection whose socket is closed."""
        self._closing.pop(transport, None)

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._loop.remove_timeout(self._timer)
            self._timer = None

    def _check(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        for transport, handshake in tuple(self._closing.items()):
            if handshake.deadline > now:
                self._timer = self._loop.call_later(handshake.deadline - now, self._check)
                break
            self._on_late(transport)
