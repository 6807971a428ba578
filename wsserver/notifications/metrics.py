"""Metrics of deliveries, counted since the start: by channel, and of the webhooks."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from wsserver.histogram import HUMAN_S, Histogram
from wsserver.protocol.notifications import CHANNELS
from wsserver.realtime.observability.statistics import percentiles

SAMPLES = 2048


class ChannelMetrics:
    """Metrics of one channel."""

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
        self.acknowledgements = Histogram(HUMAN_S)
        """The same, all of them."""

    def note_acknowledged(self, seconds: float) -> None:
        """Count an acknowledgement that came so long after sending."""
        self.acknowledged += 1
        self.acknowledged_s.append(seconds)
        self.acknowledgements.observe(seconds)


class NotificationMetrics:
    """Metrics of all channels."""

    def __init__(self) -> None:
        self._channels: dict[str, ChannelMetrics] = {name: ChannelMetrics() for name in CHANNELS}

    def of(self, channel: str) -> ChannelMetrics:
        """Metrics of a channel."""
        return self._channels[channel]

    def acknowledgements(self) -> dict[str, Histogram]:
        """Times from sending to acknowledgement, by channel."""
        return {name: each.acknowledgements for name, each in self._channels.items()}

    def view(self) -> dict[str, dict[str, Any]]:
        """The member ``notifications`` of the statistics; times in milliseconds."""
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


@dataclass
class WebhookMetrics:
    """Metrics of all webhooks, as ``/health`` shows them."""

    sent: int = 0
    retried: int = 0
    """Attempts that are followed by another one."""
    failed: int = 0
    """Dead letters."""
    dropped: int = 0
