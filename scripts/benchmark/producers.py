"""Clients of answers that grow: backends that stream them, and members who watch."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

from picows import WSFrame, WSListener, WSMsgType, WSTransport

from scripts.benchmark.tokens import make_token

CHAT_PATH, MONITOR_PATH = "/ws/chat", "/ws/admin/monitor"
_WORDS = "tomorrow before noon "
_RESULT = b'{"type":"result","ref":'
_ERROR = b'{"type":"error"'
_APPENDED = b'{"type":"answer_appended"'
_JOINED = b'{"type":"session_joined"'
_TIMES = re.compile(rb"@([0-9]{20}) ")
ANSWER_TIMEOUT_S = 30.0

Connect = Callable[[WSListener, str, dict[str, str]], Awaitable[WSTransport]]
"""Opens a connection to an address, with headers."""


def word() -> str:
    """The text of an append, with the time at which it is sent (CLOCK_MONOTONIC)."""
    return f"@{time.monotonic_ns():020d} {_WORDS}"


class Producer(WSListener):
    """A backend on the monitor's socket."""

    def __init__(self) -> None:
        super().__init__()
        self._transport: WSTransport | None = None
        self._results: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._ref = 0
        self.appended = 0
        """Appends that were answered."""
        self.refused = 0
        self._on_answer: Callable[[], None] = lambda: None

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Note that it is there."""
        self._transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Count the answers of appends; hand over those of other commands."""
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()
            return
        payload = frame.get_payload_as_bytes()
        is_error = payload.startswith(_ERROR)
        if not is_error and not payload.startswith(_RESULT):
            return
        if self._results:
            answer = json.loads(payload)
            waiting = self._results.pop(answer.get("ref"), None)
            if waiting is not None:
                waiting.set_result(answer)
                return
        if is_error:
            self.refused += 1
        else:
            self.appended += 1
        self._on_answer()

    async def call(self, type_: str, **args: Any) -> dict[str, Any]:
        """Send a command and wait for its result."""
        waiting = asyncio.get_running_loop().create_future()
        self._results[self._ref + 1] = waiting
        self._send(type_, args)
        answer = await asyncio.wait_for(waiting, ANSWER_TIMEOUT_S)
        if "result" not in answer:
            raise RuntimeError(f"{type_}: {answer}")
        result: dict[str, Any] = answer["result"]
        return result

    async def begin(self, session_id: str) -> str:
        """Begin an answer; returns its message id."""
        return str((await self.call("answer_start", session_id=session_id))["message_id"])

    def append(self, message_id: str, seq: int) -> None:
        """Append a word, without waiting for the answer."""
        self._send("answer_append", {"message_id": message_id, "seq": seq, "text": word()})

    async def append_all(self, message_ids: list[str], each: int, window: int) -> None:
        """Append to answers in turn, at most ``window`` appends being unanswered."""
        total, sent = each * len(message_ids), 0
        done = asyncio.get_running_loop().create_future()

        def send_one() -> None:
            nonlocal sent
            if sent < total:
                self.append(message_ids[sent % len(message_ids)], sent // len(message_ids) + 1)
                sent += 1
            elif self.appended + self.refused >= total and not done.done():
                done.set_result(None)

        self._on_answer = send_one
        for _ in range(window):
            send_one()
        await asyncio.wait_for(done, ANSWER_TIMEOUT_S)

    def _send(self, type_: str, args: dict[str, Any]) -> None:
        if self._transport is not None:
            self._ref += 1
            command = {"type": type_, "ref": self._ref, "args": args}
            self._transport.send(WSMsgType.TEXT, json.dumps(command).encode())


class Watcher(WSListener):
    """A member of a session: takes the time of each append that is shown."""

    def __init__(self, session_id: str) -> None:
        super().__init__()
        self._session_id = session_id
        self.joined = asyncio.get_running_loop().create_future()
        self.micros: list[int] = []

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Join the session."""
        join = {"type": "join_session", "session_id": self._session_id}
        transport.send(WSMsgType.TEXT, json.dumps(join).encode())

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Note when each word came."""
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()
            return
        payload = frame.get_payload_as_bytes()
        if payload.startswith(_APPENDED):
            self._note(payload)
        elif payload.startswith(_JOINED) and not self.joined.done():
            self.joined.set_result(None)

    def _note(self, payload: bytes) -> None:
        """Take the times of the words in a push."""
        now = time.monotonic_ns()
        self.micros += [(now - int(sent)) // 1000 for sent in _TIMES.findall(payload)]


class Answering:
    """The producer of a client process, with its answers and their watchers."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._producer = Producer()
        self._watchers: list[Watcher] = []
        self._answers: list[str] = []

    async def open(self, url: str, first: int, answers: int, watchers: int) -> None:
        """Connect, and begin answers in sessions of their own, with so many watchers each."""
        for number in range(first, first + answers):
            for place in range(watchers):
                watcher = Watcher(f"answered-{number}")
                await self._connect(watcher, url, _bearer(f"u{number}-{place}", "user"))
                await asyncio.wait_for(watcher.joined, ANSWER_TIMEOUT_S)
                self._watchers.append(watcher)
        monitor = url.replace(CHAT_PATH, MONITOR_PATH)
        await self._connect(self._producer, monitor, _bearer(f"backend{first}", "admin"))
        for number in range(first, first + answers):
            self._answers.append(await self._producer.begin(f"answered-{number}"))

    async def append_all(self, each: int, window: int) -> dict[str, Any]:
        """Append without a pause; returns the number of answers, refusals, and the last time."""
        began = time.monotonic()
        await self._producer.append_all(self._answers, each, window)
        return {
            "appended": self._producer.appended,
            "refused": self._producer.refused,
            "seconds": time.monotonic() - began,
        }

    async def append_steadily(self, each: int, rate: float) -> dict[str, Any]:
        """Append ``rate`` times a second to each answer, at times of its own."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        count = len(self._answers)
        for number in range(each * count):
            due = began + number / (rate * count)
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            self._producer.append(self._answers[number % count], number // count + 1)
        return {"seconds": loop.time() - began}

    async def finish(self) -> dict[str, Any]:
        """Finish the answers; returns what their watchers saw."""
        for message_id in self._answers:
            await self._producer.call("answer_finish", message_id=message_id)
        return {
            "appended": self._producer.appended,
            "refused": self._producer.refused,
            "micros": [micros for watcher in self._watchers for micros in watcher.micros],
        }


def _bearer(user_id: str, role: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {make_token(user_id, role)}"}
