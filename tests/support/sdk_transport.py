"""A way of the SDK's client to a server that comes back at another port."""

from __future__ import annotations

import httpx


class MovingTransport(httpx.HTTPTransport):
    """Sends every request to ``port``, whatever its address says."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request (httpx' hook)."""
        request.url = request.url.copy_with(port=self.port)
        return super().handle_request(request)
