"""wsserver: a real-time messaging server for WebSocket clients, beside your backend."""

__version__ = "0.1.0"
