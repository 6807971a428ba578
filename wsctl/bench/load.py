"""Load generator: opens connections, publishes, receives, closes everything."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from wsctl.bench.credentials import Credentials
from wsctl.bench.plan import CONNECTS_AT_ONCE, KEPT_S, Plan
from wsctl.bench.results import Results
from wsctl.http.client import PATIENCE_S
from wsctl.http.connection import reason_of
from wsctl.websocket.connection import TOO_LARGE, options, was_too_large, websocket_url

TYPE = "bench.message"
PING_INTERVAL_S = 1.0
GRACE_S = 3.0
"""How long to wait for outstanding messages."""
_GONE = (OSError, InvalidHandshake, EOFError, TimeoutError)
Step = Callable[[str, int, int], None]
"""Progress callback: phase, done, total."""


class Load:
    """One load on one server. ``results`` is valid at any moment, also after an interruption."""

    def __init__(
        self, url: str, session_id: str, plan: Plan, credentials: Credentials, step: Step
    ) -> None:
        self._url = url
        self._session_id = session_id
        self._plan = plan
        self._bearers = credentials
        self._step = step
        self._gate = asyncio.Semaphore(CONNECTS_AT_ONCE)
        self._is_over = asyncio.Event()
        self.results = Results(plan)
        self.is_stopped = False
        """Whether it was stopped because of too many errors."""

    async def run(self) -> None:
        """Run the whole load. Every connection is closed at the end, also after errors."""
        listeners: list[asyncio.Task[None]] = []
        try:
            async with contextlib.AsyncExitStack() as stack:
                try:
                    publisher = await stack.enter_async_context(
                        self._connect("/ws/admin/monitor", self._bearers.publisher())
                    )
                    await asyncio.wait_for(_came(publisher, "connection_established"), PATIENCE_S)
                except (*_GONE, ConnectionClosed) as error:
                    self.results.failed(f"publisher: {_named(error)}")
                    return
                await self._open(listeners)
                if self.results.opened and not self._must_stop():
                    await self._publish(publisher)
        finally:
            self._is_over.set()
            for task in listeners:
                task.cancel()
            await asyncio.gather(*listeners, return_exceptions=True)

    def _connect(self, path: str, token: str) -> connect:
        return connect(
            websocket_url(self._url, path),
            open_timeout=PATIENCE_S,
            ping_interval=None,
            **options(token),
        )

    def _must_stop(self) -> bool:
        self.is_stopped = self.is_stopped or self.results.is_too_bad
        return self.is_stopped

    # The connections

    async def _open(self, listeners: list[asyncio.Task[None]]) -> None:
        """Open them at the planned rate, a few at a time."""
        plan, began = self._plan, time.monotonic()
        opening: list[asyncio.Future[None]] = []
        for number in range(plan.connections):
            await _sleep_until(began + number / plan.connects_per_s)
            if self._must_stop():
                break
            is_in: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            opening.append(is_in)
            listeners.append(asyncio.ensure_future(self._listen(number, is_in)))
            self._step("connecting", self.results.opened, plan.connections)
        await asyncio.gather(*opening)
        self.results.connecting_s = time.monotonic() - began
        self._step("connecting", self.results.opened, plan.connections)

    async def _listen(self, number: int, is_in: asyncio.Future[None]) -> None:
        """One listening connection, until the end of the load."""
        path = f"/ws/chat/session/{self._session_id}"
        try:
            async with contextlib.AsyncExitStack() as stack:
                async with self._gate:
                    began = time.monotonic()
                    connection = await stack.enter_async_context(
                        self._connect(path, self._bearers.listener(number))
                    )
                    await asyncio.wait_for(_came(connection, "session_joined"), PATIENCE_S)
                self.results.connected(number, time.monotonic() - began)
                is_in.set_result(None)
                pinging = asyncio.ensure_future(_ping(connection, number))
                stack.callback(pinging.cancel)
                await self._hear(connection, number)
                raise EOFError  # closed in order, but too early
        except (*_GONE, ConnectionClosed) as error:
            if not self._is_over.is_set():
                what = "connection" if is_in.done() else "connect"
                self.results.failed(f"{what}: {_named(error)}", is_try=not is_in.done())
        finally:
            if not is_in.done():
                is_in.set_result(None)

    async def _hear(self, connection: ClientConnection, number: int) -> None:
        async for text in connection:
            now = time.monotonic()
            message = _parsed(text)
            kind = message.get("type")
            data = message.get("data")
            if kind == TYPE and isinstance(data, dict) and isinstance(data.get("n"), int):
                self.results.received(number, data["n"], now)
            elif kind == "pong" and isinstance(data, float):
                self.results.ponged(now - data)
            elif kind == "error":
                self.results.failed(f"ping: {_code(message)}")

    # The messages

    async def _publish(self, publisher: ClientConnection) -> None:
        plan, results = self._plan, self.results
        answers = asyncio.ensure_future(self._take_answers(publisher))
        began = time.monotonic()
        try:
            for number in range(plan.messages):
                await _sleep_until(began + number / plan.per_s)
                if self._must_stop() or answers.done():
                    break
                text = self._message(number)
                results.publishing(number, time.monotonic())
                await publisher.send(text)
                results.publishing_s = time.monotonic() - began
                self._step("publishing", number + 1, plan.messages)
            # Ten messages at ten per second take one second, not nine tenths.
            results.publishing_s = max(results.publishing_s, results.sent / plan.per_s)
            await self._settle()
        except ConnectionClosed:
            await answers  # which records why
        finally:
            answers.cancel()
            await asyncio.gather(answers, return_exceptions=True)

    async def _settle(self) -> None:
        """Wait for outstanding messages, as long as some still arrive."""
        deadline, before = time.monotonic() + GRACE_S, -1
        while not self.results.is_complete and time.monotonic() < deadline:
            if self.results.delivered != before:
                deadline, before = time.monotonic() + GRACE_S, self.results.delivered
            self._step("waiting for the rest", self.results.delivered, self.results.expected)
            await asyncio.sleep(0.02)

    def _message(self, number: int) -> str:
        args: dict[str, Any] = {
            "target": {"type": "session", "id": self._session_id},
            "type": TYPE,
            "data": {"n": number, "pad": ""},
        }
        room = self._plan.size - len(json.dumps(args["data"], separators=(",", ":")))
        args["data"]["pad"] = "x" * max(0, room)
        if self._plan.is_kept:
            args |= {"keep": True, "ttl_s": KEPT_S}
        return json.dumps({"type": "publish", "ref": number, "args": args})

    async def _take_answers(self, publisher: ClientConnection) -> None:
        try:
            await self._read_answers(publisher)
            self.results.failed("publisher: ended by the server", is_try=False)
        except ConnectionClosed as closed:
            self.results.failed(f"publisher: {_named(closed)}", is_try=False)

    async def _read_answers(self, publisher: ClientConnection) -> None:
        async for text in publisher:
            message = _parsed(text)
            number = message.get("ref")
            if not isinstance(number, int):
                continue  # statistics and events for monitors
            if message.get("type") == "error":
                self.results.not_published(f"publish: {_code(message)}")
            else:
                self.results.published(number, time.monotonic())


async def _came(connection: ClientConnection, kind: str) -> None:
    while _parsed(await connection.recv()).get("type") != kind:
        pass


async def _ping(connection: ClientConnection, number: int) -> None:
    """Send ``ping`` commands, at another moment than the other connections."""
    with contextlib.suppress(ConnectionClosed):
        await asyncio.sleep(PING_INTERVAL_S * (number % 10) / 10)
        while True:
            await connection.send(json.dumps({"type": "ping", "data": time.monotonic()}))
            await asyncio.sleep(PING_INTERVAL_S)


async def _sleep_until(moment: float) -> None:
    """Sleep until a moment; yields to other tasks even if it has passed."""
    await asyncio.sleep(max(0.0, moment - time.monotonic()))


def _parsed(text: str | bytes) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


def _code(message: dict[str, Any]) -> str:
    error = message.get("error")
    return str(error.get("code", "unknown")) if isinstance(error, dict) else "unknown"


def _named(error: BaseException) -> str:
    """The error as a short text, equal for similar errors."""
    if isinstance(error, ConnectionClosed):
        if was_too_large(error):
            return TOO_LARGE
        if error.rcvd is None:
            return "connection lost"
        return f"closed with {error.rcvd.code}" + (
            f" ({error.rcvd.reason})" if error.rcvd.reason else ""
        )
    if isinstance(error, InvalidStatus):
        return f"answered {error.response.status_code}"
    if isinstance(error, EOFError):
        return "ended by the server"
    return reason_of(error) if isinstance(error, OSError) else "no WebSocket handshake"
