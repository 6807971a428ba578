"""A WebSocket server for live chat: connections, routing, statistics, management."""

from __future__ import annotations

__version__ = "0.1.0"
