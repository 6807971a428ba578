"""An AI service that answers by itself: words after words, or without an end."""

from __future__ import annotations

import asyncio
import json
import ssl
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from tests.support.http_provider import HttpProvider

HOLD = "hold"
"""In the latest message: the answer does not end."""
WORDS = ("You ", "have ", "said: ")
"""Of each answer; then comes the latest message."""
WORD_S = 0.02


class Asking:
    """A request for an answer."""

    def __init__(self, messages: list[dict[str, Any]]) -> None:
        self.texts: list[str] = [str(each["content"]) for each in messages]
        self.is_streaming = asyncio.Event()
        """Set once words were sent."""
        self.left = asyncio.Event()
        """Set when the connection has ended, whoever has closed it."""


class StreamingAi(HttpProvider):
    """OpenAI's API with ``path`` ``/v1``; answers end with the latest message."""

    def __init__(self) -> None:
        super().__init__()
        self.askings: list[Asking] = []

    def start(self, tls: ssl.SSLContext | None = None) -> None:
        """Listen on a free port."""
        sockets = bind_sockets(self.port, "127.0.0.1")
        self.port = sockets[0].getsockname()[1]
        application = Application([("/v1/chat/completions", _Completions, {"ai": self})])
        self._server = HTTPServer(application, ssl_options=tls)
        self._server.add_sockets(sockets)

    def about(self, text: str) -> list[Asking]:
        """The requests whose conversation has a text."""
        return [each for each in self.askings if any(text in one for one in each.texts)]


class _Completions(RequestHandler):
    def initialize(self, ai: StreamingAi) -> None:
        self.ai = ai

    async def post(self) -> None:
        self.asking = Asking(json.loads(self.request.body)["messages"])
        self.ai.askings.append(self.asking)
        self.set_header("Content-Type", "text/event-stream")
        try:
            for word in (*WORDS, self.asking.texts[-1]):
                await self._event({"choices": [{"index": 0, "delta": {"content": word}}]})
                await asyncio.sleep(WORD_S)
            self.asking.is_streaming.set()
            if HOLD in self.asking.texts[-1]:
                await self.asking.left.wait()
                return
            self.write("data: [DONE]\n\n")
            await self.flush()
        except StreamClosedError:
            pass

    def on_finish(self) -> None:
        self.asking.left.set()

    def on_connection_close(self) -> None:
        self.asking.left.set()

    async def _event(self, data: Any) -> None:
        self.write(f"data: {json.dumps(data)}\n\n")
        await self.flush()
