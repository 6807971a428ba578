"""wsserver: a real-time messaging server for WebSocket clients, beside your backend."""

from __future__ import annotations

__version__ = "0.1.0"
