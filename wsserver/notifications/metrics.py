"""How the channels fare: counted since the start."""

from __future__ import annotations

from collections import deque
from typing import Any

from wsserver.protocol.notifications import CHANNELS
from wsserver.realtime.observability.statistics import percentiles

SAMPLES = 2048


class ChannelFigures:
    """The figures of one channel."""

    def __init__(self) -> None:
        self.sent = 0
        self.failed = 0
        """Dead letters."""
        self.retried = 0
        """Attempts that are followed by another one."""
        self.expired = 0
        self.acknowledged = 0
        self.acknowledged_s: deque[float] = deque(maxlen=SAMPLES)
        """Seconds from sending to acknowledgement, the latest ones."""


class Figures:
    """Deliveries by channel."""

    def __init__(self) -> None:
        self._channels = {name: ChannelFigures() for name in CHANNELS}

    def of(self, channel: str) -> ChannelFigures:
        """Those of one channel."""
        return self._channels[channel]  # type: ignore[index]

    def view(self) -> dict[str, dict[str, Any]]:
        """All of them, as the statistics show them; times in milliseconds."""
        return {
            name: {
                "sent": each.sent,
                "failed": each.failed,
                "retried": each.retried,
                "expired": each.expired,
                "acknowledged": each.acknowledged,
                "acknowledged_ms": percentiles(s * 1000 for s in each.acknowledged_s),
            }
            for name, each in self._channels.items()
        }
