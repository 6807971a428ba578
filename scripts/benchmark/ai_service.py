"""An AI service with OpenAI's API: ``/v1`` streams at a steady rate, ``/dead`` never answers.

Each word has the time at which it was sent. The latest message of a request says how many words
are wanted, and how many a second: ``stream 200 20``.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys

import uvloop

from scripts.benchmark.producers import word
from scripts.benchmark.tokens import SECRET

MODULE = "scripts.benchmark.ai_service"
URL = "http://127.0.0.1:{companion}"
RESPONDER, DEAD = "ai", "dead"
CONCURRENCY = 200
_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
    b"Connection: close\r\n\r\n"
)
_DONE = b"data: [DONE]\n\n"
_SPREAD = 0.618
"""Of the pause between words, from one answer to the next: their words come at different times."""


def environment() -> dict[str, str]:
    """What the server has to know: a responder that works, and one whose service is dead."""
    found = {"WSSERVER_ALLOW_LOOPBACK_URLS": "true", "WSSERVER_DEFAULT_HOLDER": RESPONDER}
    for name, path in ((RESPONDER, "/v1"), (DEAD, "/dead")):
        table = f"WSSERVER_RESPONDERS__{name.upper()}__"
        found |= {
            f"{table}KIND": "openai",
            f"{table}URL": f"{URL}{path}",
            f"{table}API_KEY": SECRET,
            f"{table}MODEL": "benchmark",
        }
    found[f"WSSERVER_RESPONDERS__{RESPONDER.upper()}__CONCURRENCY"] = str(CONCURRENCY)
    return found


def question(words: int, rate: float) -> str:
    """The message that is answered with so many words."""
    return f"stream {words} {rate:g}"


class Service:
    """Answers requests, one on each connection."""

    def __init__(self) -> None:
        self._numbers = itertools.count()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read a request and answer it."""
        try:
            await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the server has given the request up
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        lengths = [line for line in head if line.lower().startswith("content-length:")]
        body = await reader.readexactly(int(lengths[0].partition(":")[2]))
        if f" /{DEAD}/" in head[0]:
            await reader.read()  # until the server closes the connection
            return
        _, words, rate = json.loads(body)["messages"][-1]["content"].split()
        writer.write(_HEAD)
        loop = asyncio.get_running_loop()
        pause_s = 1 / float(rate)
        began = loop.time() + next(self._numbers) * _SPREAD % 1 * pause_s
        for number in range(int(words)):
            await asyncio.sleep(began + number * pause_s - loop.time())
            writer.write(_chunk(word()))
            await writer.drain()
        writer.write(_DONE)
        await writer.drain()


def _chunk(text: str) -> bytes:
    delta = {"id": "c", "choices": [{"index": 0, "delta": {"content": text}}]}
    return f"data: {json.dumps(delta)}\n\n".encode()


async def main() -> None:
    """Serve on a free port, and name it on stderr."""
    server = await asyncio.start_server(Service().serve, "127.0.0.1", 0, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    print(f"listening on http://127.0.0.1:{port}", file=sys.stderr, flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
