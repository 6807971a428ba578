"""HTTP server: REST API, OpenAPI document, WebSocket handshakes."""

from __future__ import annotations
