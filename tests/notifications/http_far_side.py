"""HTTP server of a provider: scripted answers, recorded requests."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler


class Asked(NamedTuple):
    """A request as it arrived."""

    method: str
    path: str
    headers: HTTPHeaders
    body: bytes


class Said(NamedTuple):
    """An answer to give; ``hang`` instead of one: none at all."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = MappingProxyType({})
    hang: bool = False


class Provider:
    """Listens on 127.0.0.1. ``answer`` decides; by default everything is well."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answer: Callable[[Asked], Said] = lambda asked: Said()
        self.arrived = asyncio.Event()
        self.left = asyncio.Event()
        self.port = 0

    def say(self, status: int, body: bytes = b"{}", **headers: str) -> None:
        """Answer everything with this from now on; ``_`` in a header's name is ``-``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answer = lambda asked: Said(status, body, named)

    def hang(self) -> None:
        """Answer nothing from now on."""
        self.answer = lambda asked: Said(hang=True)

    def start(self, tls: ssl.SSLContext | None = None) -> None:
        """Listen, on the same port as before if there was one."""
        sockets = bind_sockets(self.port, "127.0.0.1")
        self.port = sockets[0].getsockname()[1]
        application = Application([(".*", _Handler, {"provider": self})])
        self._server = HTTPServer(application, ssl_options=tls)
        self._server.add_sockets(sockets)

    async def stop(self) -> None:
        """Stop listening, cut what is open."""
        self._server.stop()
        await self._server.close_all_connections()

    def url(self, path: str = "/") -> str:
        """An address of it."""
        return f"http://127.0.0.1:{self.port}{path}"


class _Handler(RequestHandler):
    def initialize(self, provider: Provider) -> None:
        self.provider = provider

    async def _any(self) -> None:
        request: HTTPServerRequest = self.request
        asked = Asked(request.method or "", request.uri or "", request.headers, request.body)
        self.provider.asked.append(asked)
        self.provider.arrived.set()
        said = self.provider.answer(asked)
        if said.hang:
            await self.provider.left.wait()
            return
        self.set_status(said.status, "Said")
        for name, value in said.headers.items():
            self.set_header(name, value)
        self.finish(said.body)

    get = post = put = delete = _any

    def on_connection_close(self) -> None:
        self.provider.left.set()

    def log_exception(self, *args: Any) -> None:
        pass
