"""A cheap WebSocket client: commands with their replies, pushes to a callback."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect
from picows.common import WSHandshakeError, WSInvalidStatusError

from scripts.benchmark.tokens import make_token

REPLY_TIMEOUT_S = 60.0
MAX_FRAME_BYTES = 64 * 1024 * 1024
_REF = b'"ref":'
_GREETING = b'"connection_established"'

OnPush = Callable[[bytes], None]


class Gone(ConnectionError):
    """The connection ended before the answer came."""


class Refused(Gone):
    """The server has answered the handshake with an error."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the handshake was answered with {status}")
        self.status = status


class Connection(WSListener):
    """One connection of one user; raises ``Gone`` to whoever waits when it ends."""

    def __init__(self, on_push: OnPush | None = None) -> None:
        super().__init__()
        self._on_push = on_push
        self._held: list[bytes] | None = None
        self._transport: WSTransport | None = None
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._ref = 0
        self.ended: asyncio.Event = asyncio.Event()
        self.connection_id = ""
        """As the server names it in its greeting."""

    @classmethod
    async def open(
        cls, url: str, user_id: str, on_push: OnPush | None = None, *, role: str = "user"
    ) -> Connection:
        """Connect as a user who may enter every session.

        Raises ``OSError``, ``TimeoutError`` and ``Gone``, which may be ``Refused``.
        """
        connection = cls(on_push)
        try:
            await ws_connect(
                lambda: connection,
                url,
                extra_headers={"Authorization": f"Bearer {make_token(user_id, role)}"},
                websocket_handshake_timeout=REPLY_TIMEOUT_S,
                max_frame_size=MAX_FRAME_BYTES,
            )
        except WSInvalidStatusError as error:
            raise Refused(int(error.response.status) if error.response else 0) from None
        except WSHandshakeError as error:
            raise Gone(str(error)) from None
        return connection

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Note that it is there."""
        self._transport = transport

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Tell everybody who waits for an answer."""
        self.ended.set()
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(Gone("cut off"))
                future.exception()  # seen, should nobody be waiting any more

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Hand a reply to who waits for it, and anything else to the callback."""
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()
        elif frame.msg_type == WSMsgType.TEXT:
            payload = frame.get_payload_as_bytes()
            # Pushes are the many: they carry no ref, and replies have it near their beginning.
            start = payload.find(_REF, 0, 64)
            if start < 0:
                if not self.connection_id and _GREETING in payload:
                    self.connection_id = msgspec.json.decode(payload)["connection_id"]
                self._pushed(payload)
                return
            ref = int(
                payload[start + len(_REF) : start + len(_REF) + 20].split(b",")[0].rstrip(b"}")
            )
            future = self._waiting.pop(ref, None)
            if future is not None and not future.done():
                future.set_result(payload)

    def _pushed(self, payload: bytes) -> None:
        if self._held is not None:
            self._held.append(payload)
        elif self._on_push is not None:
            self._on_push(payload)

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Hand over no push until this ends.

        What comes right behind an answer is read before whoever waits for the answer goes on.
        """
        self._held = []
        try:
            yield
        finally:
            held, self._held = self._held, None
            for payload in held:
                self._pushed(payload)

    def ask(self, type_: str, **members: Any) -> asyncio.Future[bytes]:
        """Send a command; the future's result is the text of its reply."""
        if self._transport is None or self.ended.is_set():
            raise Gone("not connected")
        self._ref += 1
        future = self._waiting[self._ref] = asyncio.get_running_loop().create_future()
        command = {"type": type_, "ref": self._ref, **members}
        self._transport.send(WSMsgType.TEXT, msgspec.json.encode(command))
        return future

    async def call(self, type_: str, **members: Any) -> dict[str, Any]:
        """Send a command; returns its reply. Raises ``Gone``, ``TimeoutError``."""
        answer = await asyncio.wait_for(self.ask(type_, **members), REPLY_TIMEOUT_S)
        reply: dict[str, Any] = msgspec.json.decode(answer)
        return reply

    def cut(self) -> None:
        """End it without a word, as a network does."""
        if self._transport is not None and not self.ended.is_set():
            self._transport.underlying_transport.abort()

    async def close(self) -> None:
        """End it in order, as far as the other side is there."""
        if self._transport is not None and not self.ended.is_set():
            self._transport.send_close()
            self._transport.disconnect()
            await self.ended.wait()
