<<<<<<< HEAD
"""wsserver: a real-time messaging server for WebSocket clients, beside your backend."""
=======
"""A WebSocket server for live chat: connections, routing, statistics, management."""

from __future__ import annotations
>>>>>>> config

__version__ = "0.1.0"
