"""``Progress``: drops signals that come twice or too late from independent nodes."""

from __future__ import annotations

from collections.abc import Hashable

from wsserver.cluster.broker import MonitorPush, Push, Signal

REMEMBERED = 20_000
"""Messages and recipients that are remembered, the latest ones: all that is under way."""


class Progress:
    """The highest progress of each message and recipient that a node has written.

    For the implementations of the broker with several nodes: two nodes that have written one
    message to the same user both push ``sent``, and the one's ``sent`` may arrive after the
    other's ``delivered``.
    """

    def __init__(self, limit: int = REMEMBERED) -> None:
        self._limit = limit
        self._highest: dict[Hashable, int] = {}
        """By targets, message id and recipient; the latest one last."""

    def __len__(self) -> int:
        return len(self._highest)

    def admits(self, signal: Signal) -> bool:
        """Whether to write a signal; notes its progress then."""
        if isinstance(signal, Push):
            targets: Hashable = signal.targets
        elif isinstance(signal, MonitorPush):
            targets = None
        else:
            return True
        if not signal.message_id:
            return True
        key = targets, signal.message_id, signal.recipient
        highest = self._highest.pop(key, -1)
        self._highest[key] = max(highest, signal.progress)
        if len(self._highest) > self._limit:
            del self._highest[next(iter(self._highest))]
        return signal.progress > highest
