"""A provider's HTTP server: gives the answers of a test and records the requests."""

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


class ReceivedRequest(NamedTuple):
    """A request as it arrived."""

    method: str
    path: str
    headers: HTTPHeaders
    body: bytes


class Answer(NamedTuple):
    """An answer to give; with ``hang``, none is sent."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = MappingProxyType({})
    hang: bool = False


class HttpProvider:
    """An HTTP server on 127.0.0.1. ``answer`` makes each response; 200 by default."""

    def __init__(self) -> None:
        self.requests: list[ReceivedRequest] = []
        self.answer: Callable[[ReceivedRequest], Answer] = lambda request: Answer()
        self.arrived = asyncio.Event()
        self.left = asyncio.Event()
        self.gate = asyncio.Event()
        """Answers wait for it; open unless a test clears it."""
        self.gate.set()
        self.port = 0

    def answer_with(self, status: int, body: bytes = b"{}", **headers: str) -> None:
        """Answer everything with this from now on; ``_`` in a header's name is ``-``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answer = lambda request: Answer(status, body, named)

    def hang(self) -> None:
        """Answer nothing from now on."""
        self.answer = lambda request: Answer(hang=True)

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
    def initialize(self, provider: HttpProvider) -> None:
        self.provider = provider

    async def _any(self) -> None:
        got: HTTPServerRequest = self.request
        request = ReceivedRequest(got.method or "", got.uri or "", got.headers, got.body)
        self.provider.requests.append(request)
        self.provider.arrived.set()
        await self.provider.gate.wait()
        answer = self.provider.answer(request)
        if answer.hang:
            await self.provider.left.wait()
            return
        self.set_status(answer.status, "Said")
        for name, value in answer.headers.items():
            self.set_header(name, value)
        self.finish(answer.body)

    get = post = put = delete = _any

    def on_connection_close(self) -> None:
        self.provider.left.set()

    def log_exception(self, *args: Any) -> None:
        pass
