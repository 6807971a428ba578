"""Kept messages that cross from one node to another: live, and by resuming there."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from scripts.benchmark.crew import percentile_ms
from scripts.benchmark.stage import Stage
from scripts.benchmark.talkers import CONTENT
from scripts.benchmark.talking import BATCH_PATH
from scripts.benchmark.tokens import make_token
from scripts.benchmark.workloads import COLLECT_TIMEOUT_S, Figures, Size, shares

RESUMED = 100
"""Messages that a client has missed."""
SESSION = "session-resumed"
STREAM = f"session:{SESSION}"
_TIME_DIGITS = 20


async def resume(stage: Stage, size: Size) -> Figures:
    """Messages sent on the first node, to a reader there and to one on the last node.

    Then clients come to the last node, each after ``RESUMED`` more messages, and resume.
    """
    first_url, last_url = stage.server.socket_urls[0], stage.server.socket_urls[-1]
    first, last = stage.server.nodes[0], stage.server.nodes[-1]
    own = await Reader.join("reader1", first_url)
    other = await Reader.join("reader2", last_url)
    before = first.cpu_s(), last.cpu_s()
    with stage.measure() as used:
        began = time.monotonic()
        for number in range(size.messages):
            await asyncio.sleep(began + number / (size.rate or 1) - time.monotonic())
            own.say()
        await asyncio.gather(own.has(size.messages), other.has(size.messages))
    cpu_s = first.cpu_s() - before[0], last.cpu_s() - before[1]
    received = len(own.micros) + len(other.micros)
    micros, resumed = [], 0
    body = _batch()
    async with stage.client() as client:
        for number in range(size.connections):
            position = other.position
            await client.post(BATCH_PATH, body)
            await other.has(size.messages + (number + 1) * RESUMED)
            began_ns = time.monotonic_ns()
            resumed += await _resumed(f"resumer{number}", last_url, position)
            micros.append((time.monotonic_ns() - began_ns) // 1000)
    own.leave()
    other.leave()
    has_two = len(stage.server.nodes) > 1
    return {
        "own_p50_ms": percentile_ms(own.micros, 50),
        "own_p99_ms": percentile_ms(own.micros, 99),
        "other_p50_ms": percentile_ms(other.micros, 50),
        "other_p99_ms": percentile_ms(other.micros, 99),
        "cpu_us": cpu_s[0] / size.messages * 1e6,
        "other_cpu_us": cpu_s[1] / size.messages * 1e6 if has_two else None,
        "resume_p50_ms": percentile_ms(micros, 50),
        "resume_p99_ms": percentile_ms(micros, 99),
        "missing": 2 * size.messages - received + RESUMED * size.connections - resumed,
        **shares(stage, used),
    }


class Reader(WSListener):
    """In the session; takes the time of each message that has one."""

    def __init__(self) -> None:
        super().__init__()
        self.micros: list[int] = []
        self.position: dict[str, Any] = {}
        """Epoch and offset of the last message."""
        self.answer: dict[str, Any] | None = None
        """The last answer to a command that joins."""
        self._transport: WSTransport | None = None
        self._received = 0
        self._changed = asyncio.Event()

    @classmethod
    async def connect(cls, user_id: str, url: str) -> Reader:
        """Open a connection."""
        headers = {"Authorization": f"Bearer {make_token(user_id)}"}
        transport, reader = await ws_connect(cls, url, extra_headers=headers)
        assert isinstance(reader, cls)  # noqa: S101 - what the factory has made
        reader._transport = transport
        return reader

    @classmethod
    async def join(cls, user_id: str, url: str) -> Reader:
        """Open a connection, and join the session."""
        reader = await cls.connect(user_id, url)
        await reader.ask({"type": "join_session", "session_id": SESSION})
        return reader

    async def ask(self, command: dict[str, Any]) -> dict[str, Any]:
        """Send a command that joins; return its answer."""
        self._send(json.dumps(command).encode())
        async with asyncio.timeout(COLLECT_TIMEOUT_S):
            while self.answer is None:
                await self._next()
        return self.answer

    def say(self) -> None:
        """Send a message with the time in it."""
        content = f"{time.monotonic_ns():0{_TIME_DIGITS}d}{CONTENT}"
        command = {"type": "send_message", "session_id": SESSION, "content": content}
        self._send(json.dumps(command).encode())

    async def has(self, messages: int) -> None:
        """Wait for so many messages in all; those that do not come are missing in the figures."""
        try:
            async with asyncio.timeout(COLLECT_TIMEOUT_S):
                while self._received < messages:
                    await self._next()
        except TimeoutError:
            pass

    def leave(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.disconnect()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Note answers, messages and times."""
        if frame.msg_type != WSMsgType.TEXT:
            return
        push = json.loads(frame.get_payload_as_bytes())
        if push["type"] == "new_message":
            self._received += 1
            self.position = {"epoch": push["epoch"], "offset": push["offset"]}
            digits = push["message"]["content"][:_TIME_DIGITS]
            if digits.isdigit():
                self.micros.append((time.monotonic_ns() - int(digits)) // 1000)
            self._changed.set()
        elif push["type"] in ("session_joined", "resumed", "error"):
            self.answer = push
            self._changed.set()

    def _send(self, command: bytes) -> None:
        if self._transport is not None:
            self._transport.send(WSMsgType.TEXT, command)

    async def _next(self) -> None:
        self._changed.clear()
        await self._changed.wait()


async def _resumed(user_id: str, url: str, position: dict[str, Any]) -> int:
    """Connect and resume; return how many messages came with the answer."""
    reader = await Reader.connect(user_id, url)
    answer = await reader.ask({"type": "resume", "streams": {STREAM: position}})
    reader.leave()
    return len(answer["streams"][STREAM]["messages"]) if answer["type"] == "resumed" else 0


def _batch() -> bytes:
    entry = {
        "target": {"type": "session", "id": SESSION},
        "type": "new_message",
        "content": CONTENT,
    }
    return json.dumps({"messages": [entry] * RESUMED}).encode()
