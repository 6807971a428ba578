"""Bounds how long connections take to say goodbye, with one timer for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from wsserver.clock import Clock
from wsserver.wire.readiness import Loop
from wsserver.wire.transport import Transport

DISCARD_LIMIT_BYTES: Final = 16 * 1024 * 1024
"""What a peer may still send after its connection was ended, before the socket is closed on it."""


class ClosingHandshake:
    """Why a connection is being closed, and how much longer it may take."""

    __slots__ = ("code", "deadline", "discarded", "reason")

    def __init__(self, code: int, reason: str, deadline: float) -> None:
        self.code = code
        self.reason = reason
        self.deadline = deadline
        self.discarded = 0
        """Bytes read and thrown away; closing with unread input would reset the connection, and
        the peer might never see the close frame."""


class ClosingHandshakes:
    """The connections on their way out. All get the same time, so the oldest is always due first.

    ``on_late`` is called with each connection that has used up its ``timeout_s`` seconds.
    """

    def __init__(
        self, loop: Loop, clock: Clock, timeout_s: float, on_late: Callable[[Transport], None]
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._timeout_s = timeout_s
        self._on_late = on_late
        self._leaving: dict[Transport, ClosingHandshake] = {}
        self._timer: object | None = None

    def add(self, transport: Transport, code: int, reason: str) -> None:
        """Give a connection its time."""
        deadline = self._clock.monotonic() + self._timeout_s
        self._leaving[transport] = ClosingHandshake(code, reason, deadline)
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout_s, self._check)

    def get(self, transport: Transport) -> ClosingHandshake | None:
        """Return a connection's farewell, None when it is not on its way out."""
        return self._leaving.get(transport)

    def discard(self, transport: Transport) -> None:
        """Forget a connection whose socket is closed."""
        self._leaving.pop(transport, None)

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._loop.remove_timeout(self._timer)
            self._timer = None

    def _check(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        for transport, farewell in tuple(self._leaving.items()):
            if farewell.deadline > now:
                self._timer = self._loop.call_later(farewell.deadline - now, self._check)
                break
            self._on_late(transport)
