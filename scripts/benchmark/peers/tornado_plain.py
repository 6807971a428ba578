"""Plain Tornado: a set of handlers and a loop of ``write_message``, as in Tornado's chat demo."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import uuid
from datetime import UTC, datetime
from typing import ClassVar

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler, stream_request_body
from tornado.websocket import WebSocketClosedError, WebSocketHandler

LARGEST_UPLOAD = 2**30


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


@stream_request_body
class Upload(RequestHandler):
    """Writes a body to disk as it comes."""

    def prepare(self) -> None:
        """Open a file, which goes when it is closed."""
        self._file = tempfile.TemporaryFile(dir=".")  # noqa: SIM115 - closed by on_finish

    def data_received(self, chunk: bytes) -> None:
        """Write what came."""
        self._file.write(chunk)

    def put(self) -> None:
        """Answer with the length."""
        self._file.flush()
        self.write({"bytes": self._file.tell()})

    def on_finish(self) -> None:
        """Remove the file."""
        self._file.close()


async def main() -> None:
    """Serve on a free port, and name it on stderr."""
    routes = [("/ws", Chat), ("/broadcast", Broadcast), ("/upload", Upload)]
    application = Application(routes, log_function=lambda _: None)
    server = HTTPServer(application, max_body_size=LARGEST_UPLOAD)
    sockets = bind_sockets(0, "127.0.0.1", backlog=4096)
    server.add_sockets(sockets)
    print(
        f"listening on http://127.0.0.1:{sockets[0].getsockname()[1]}", file=sys.stderr, flush=True
    )
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
