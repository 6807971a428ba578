"""Clients that talk: those that send kept messages and wait for the ack, and one that floods."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from picows import WSFrame, WSListener, WSMsgType, WSTransport

PING = b'{"type":"ping"}'
_ACK = b'{"type":"ack","ref":'
_REF = re.compile(rb'"ref":([0-9]+)')
REF_END = 64
"""Where the reference of an answer has ended."""
_LIST = b'{"type":"conversations","ref":'
_NEW = b'{"type":"new_message"'
_JOINED = b'{"type":"session_joined"'
_ERROR = b'{"type":"error"'
CONTENT = (
    "The parcel is still at the depot. I have asked them to bring it tomorrow before noon; you will"
    " get a message as soon as it is on its way."
)
LISTED = 50
"""Conversations that a client asks for."""
FLOOD_ROUND = 64
"""Messages, and as many RFC 6455 pings, written before the loop of the flooding client turns."""
FLOOD_BUFFER_BYTES = 256 * 1024
"""What may wait in the flooding client itself for its socket to take more."""
BUFFER_FULL_PAUSE_S = 0.0005
RATE_LIMIT_CODE = "4029"


class Sender(WSListener):
    """Sends kept messages in a session of its own, some of them on their way at the same time."""

    def __init__(self, user: str, changed: Callable[[], None]) -> None:
        super().__init__()
        self._user = user
        self._changed = changed
        self._transport: WSTransport | None = None
        self._sent_ns: list[int] = []
        self._to_send = 0
        self._round = 0
        self._command = "send_message"
        self.micros: list[int] = []
        self.is_joined = False
        self.is_gone = False
        self.pushed = 0
        """Messages of the session that came, its own among them."""
        self.refused = 0

    @property
    def is_done(self) -> bool:
        """Has every message got an answer, or can it get none any more?"""
        return self.is_gone or len(self.micros) + self.refused >= self._to_send

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Join the session."""
        self._transport = transport
        join = {"type": "join_session", "session_id": session_of(self._user)}
        transport.send(WSMsgType.TEXT, json.dumps(join).encode())

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Note that nothing more comes."""
        self.is_gone = True
        self._changed()

    def send(self, messages: int, window: int, command: str = "send_message") -> None:
        """Begin: so many commands, at most ``window`` of them not answered yet."""
        self._to_send = messages
        self._round += 1
        self._command = command
        self._sent_ns = []
        self.micros = []
        self.refused = 0
        for _ in range(min(window, messages)):
            self._send_one()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take the time of an ack, and send the next message; count pushes and refusals."""
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()
            return
        payload = frame.get_payload_as_bytes()
        if payload.startswith((_ACK, _LIST)):
            (ref,) = map(int, _REF.findall(payload, 0, REF_END))
            self.micros.append((time.monotonic_ns() - self._sent_ns[ref]) // 1000)
            self._go_on()
        elif payload.startswith(_NEW):
            self.pushed += 1
            self._changed()
        elif payload.startswith(_JOINED):
            self.is_joined = True
            self._changed()
        elif payload.startswith(_ERROR):
            self.refused += 1
            self._go_on()

    def _go_on(self) -> None:
        if len(self._sent_ns) < self._to_send:
            self._send_one()
        elif self.is_done:
            self._changed()

    def _send_one(self) -> None:
        if self._transport is None or self._transport.is_disconnected:
            return
        ref = len(self._sent_ns)
        command = f'{{"type":"{self._command}","ref":{ref},{self._fields(ref)}}}'
        self._sent_ns.append(time.monotonic_ns())
        self._transport.send(WSMsgType.TEXT, command.encode())

    def _fields(self, ref: int) -> str:
        if self._command == "conversations":
            return f'"limit":{LISTED}'
        session = f'"session_id":"{session_of(self._user)}"'
        if self._command == "mark_read":
            return f'{session},"offset":{ref + 1}'
        message_id = f"{self._user}-{self._round}-{ref}"
        return f'{session},"content":"{CONTENT}","client_message_id":"{message_id}"'


class Senders:
    """The senders of one process."""

    def __init__(self) -> None:
        self._all: list[Sender] = []
        self._change = asyncio.Event()

    def new(self, user: str) -> Sender:
        """Make one, to be connected."""
        sender = Sender(user, self._change.set)
        self._all.append(sender)
        return sender

    async def joined(self, timeout_s: float) -> None:
        """Wait until all are in their sessions; raises ``TimeoutError``."""
        await self._wait(lambda: all(each.is_joined for each in self._all), timeout_s)

    async def send(
        self,
        messages: int,
        window: int,
        timeout_s: float,
        command: str = "send_message",
        senders: int | None = None,
    ) -> dict[str, Any]:
        """Have each send so many; return times from send to answer in µs, and the last one's time.

        What they send is a message, or another command. ``senders``: only the first ones send.
        """
        sending = self._all[:senders]
        for sender in sending:
            sender.send(messages, window, command)
        try:
            await self._wait(lambda: all(each.is_done for each in sending), timeout_s)
        except TimeoutError:
            pass  # what did not come is missing in the figures
        micros = [value for each in sending for value in each.micros]
        return {"completed_ns": time.monotonic_ns(), "micros": micros}

    async def pushed(self, each: int, timeout_s: float) -> dict[str, Any]:
        """Wait until each has got so many messages since it came; return all that came."""
        try:
            await self._wait(lambda: all(one.pushed >= each for one in self._all), timeout_s)
        except TimeoutError:
            pass
        return {"pushed": sum(one.pushed for one in self._all)}

    async def _wait(self, is_so: Callable[[], bool], timeout_s: float) -> None:
        async with asyncio.timeout(timeout_s):
            while not is_so():
                self._change.clear()
                await self._change.wait()


class Flooder(WSListener):
    """Sends commands and RFC 6455 pings as fast as the socket takes them, until it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.code: str | None = None
        """With what the server closed; None: it did not say, or has not yet."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Leave as soon as the server says so; whatever else comes is not looked at."""
        if frame.msg_type == WSMsgType.CLOSE:
            self.code = str(frame.get_close_code())
            transport.disconnect()

    async def flood(self, transport: WSTransport, until: float) -> int:
        """Go on until closed, or until that time (monotonic, s); return the frames sent."""
        frames = 0
        while not transport.is_disconnected and time.monotonic() < until:
            if transport.underlying_transport.get_write_buffer_size() > FLOOD_BUFFER_BYTES:
                await asyncio.sleep(BUFFER_FULL_PAUSE_S)
                continue
            for _ in range(FLOOD_ROUND):
                transport.send(WSMsgType.TEXT, PING)
                transport.send_ping(b"flood")
            frames += 2 * FLOOD_ROUND
            await asyncio.sleep(0)
        return frames


async def flood(connect: Callable[[Flooder], Any], seconds: float) -> dict[str, Any]:
    """Flood, and come back at once whenever it is closed; return frames sent and how it ended."""
    frames, endings = 0, Counter[str]()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        flooder = Flooder()
        transport: WSTransport | None = None
        try:
            transport = await connect(flooder)
            frames += await flooder.flood(transport, until)
        except Exception as error:  # noqa: BLE001 - counted, and told
            endings[type(error).__name__] += 1
            continue
        finally:
            if transport is not None:
                transport.disconnect()
        if time.monotonic() < until:  # the last one was not closed, it stopped
            endings[str(flooder.code)] += 1
    cut_off = endings.pop(RATE_LIMIT_CODE, 0)
    return {"frames": frames, "cut_off": cut_off, "other_endings": dict(endings)}


def session_of(user: str) -> str:
    """The session that is a sender's own."""
    return f"session-{user}"
