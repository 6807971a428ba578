"""Plain Tornado: a set of handlers and a loop of ``write_message``, as in Tornado's chat demo."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from datetime import UTC, datetime
from typing import ClassVar

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketClosedError, WebSocketHandler


class Chat(WebSocketHandler):
    """Keeps who is there; answers pings."""

    everybody: ClassVar[set[Chat]] = set()

    def open(self) -> None:
        """Let a client in."""
        self.everybody.add(self)

    def on_close(self) -> None:
        """Forget a client."""
        self.everybody.discard(self)

    async def on_message(self, message: str | bytes) -> None:
        """Answer a ping."""
        if json.loads(message).get("type") == "ping":
            self.write_message({"type": "pong"})


class Broadcast(RequestHandler):
    """Sends what was posted to everybody, with an id and a time."""

    async def post(self) -> None:
        """Send to everybody."""
        body = json.loads(self.request.body)
        stamp = {"id": uuid.uuid4().hex, "timestamp": datetime.now(UTC).isoformat()}
        text = json.dumps({**body, **stamp}, separators=(",", ":"))
        sent = 0
        for client in list(Chat.everybody):
            try:
                client.write_message(text)
            except WebSocketClosedError:
                continue
            sent += 1
        self.write({"sent": sent})


async def main() -> None:
    """Serve on a free port, and name it on stderr."""
    routes = [("/ws", Chat), ("/broadcast", Broadcast)]
    server = HTTPServer(Application(routes, log_function=lambda _: None))
    sockets = bind_sockets(0, "127.0.0.1", backlog=4096)
    server.add_sockets(sockets)
    print(
        f"listening on http://127.0.0.1:{sockets[0].getsockname()[1]}", file=sys.stderr, flush=True
    )
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
