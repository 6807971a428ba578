"""One process of clients: does what the lines on its standard input ask, and answers in lines.

Each line is a JSON object with ``do`` and the arguments of that method of ``Load``; each answer is
one with its result, or with ``error``.
"""

from __future__ import annotations

import asyncio
import gc
import json
import re
import socket
import sys
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from scripts.benchmark.askers import Asking
from scripts.benchmark.callers import report
from scripts.benchmark.procfs import raise_descriptor_limit
from scripts.benchmark.producers import Answering
from scripts.benchmark.streams import Stream, open_stream
from scripts.benchmark.talkers import PING, Flooder, Senders, flood
from scripts.benchmark.tokens import make_token
from scripts.benchmark.uploaders import upload

MARK = b'"sent_ns":"'
"""What stands before the time at which a message was published: 20 digits, CLOCK_MONOTONIC."""
MARKED = re.compile(MARK + rb"([0-9]{20})")
PONG = b'"pong"'
READ_BUFFER_BYTES = 2048
SMALL_WINDOW_BYTES = 64 * 1024
"""What the kernel may keep for one that is not going to read; it would take megabytes."""
DEFLATE_OFFER = {
    "Sec-WebSocket-Extensions": "permessage-deflate;"
    " server_no_context_takeover; client_no_context_takeover"
}
DEFLATE_TAIL = b"\x00\x00\xff\xff"
"""What a compressed message leaves out at its end (RFC 7692 §7.2.2)."""
LINE_LIMIT = 64 * 1024 * 1024
LEAVE_TIMEOUT_S = 10.0
JOIN_TIMEOUT_S = 10.0
AT_ONCE = 32
"""Handshakes that a process has under way at the same time."""


class Client(WSListener):
    """One connection: counts the messages it gets, and takes the time of some."""

    def __init__(self, load: Load, is_counted: bool, is_timed: bool) -> None:
        super().__init__()
        self._load = load
        self._is_counted = is_counted
        self._is_timed = is_timed
        self.transport: WSTransport | None = None
        self.pinged_ns = 0

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Note that it is there."""
        self.transport = transport
        if self._is_counted:
            self._load.clients.add(self)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Note that it has gone."""
        self._load.clients.discard(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Count a message; RFC 6455 pings are answered before they get here."""
        load = self._load
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close()
            transport.disconnect()
            return
        if not self._is_counted:
            return
        payload = frame.get_payload_as_bytes()
        size = len(payload)
        if frame.rsv1:
            payload = zlib.decompressobj(-zlib.MAX_WBITS).decompress(payload + DEFLATE_TAIL)
        start = payload.find(MARK)
        if start >= 0:
            load.received += 1
            load.payload_bytes += size
            if self._is_timed:
                sent_ns = int(payload[start + len(MARK) : start + len(MARK) + 20])
                load.micros.append((time.monotonic_ns() - sent_ns) // 1000)
            if load.received == load.expected:
                load.complete()
        elif PONG in payload and self.pinged_ns:
            load.ponged(self)

    def ping(self) -> None:
        """Send a ping, and take the time until its pong."""
        if self.transport is not None and not self.transport.is_disconnected:
            self.pinged_ns = time.monotonic_ns()
            self.transport.send(WSMsgType.TEXT, PING)


class Load:
    """The connections of this process, and what they are doing."""

    def __init__(self) -> None:
        self.clients: set[Client] = set()
        self.opened = 0
        """How many of them there should be."""
        self.received = 0
        self.expected = -1
        self.payload_bytes = 0
        """Of what was received, as it came over the wire."""
        self.micros: list[int] = []
        self._completed_ns = 0
        self._complete: asyncio.Event = asyncio.Event()
        self._echo_until_ns = 0
        self._echo_pause_s = 0.0
        self._echoes = 0
        self._uncounted: list[WSTransport] = []
        self._streams: set[Stream] = set()
        self._senders = Senders()
        self._answering = Answering(_connect)
        self._asking = Asking(_connect)

    async def connect(
        self,
        url: str,
        first: int,
        count: int,
        has_tokens: bool,
        timed_every: int,
        deflates: bool = False,
        is_stream: bool = False,
    ) -> dict[str, Any]:
        """Open connections number ``first`` and following, each of a user of its own."""
        offer = DEFLATE_OFFER if deflates else {}
        headers = [{**self._headers(f"u{first + n}", has_tokens), **offer} for n in range(count)]
        numbers = iter(range(count))
        faults: Counter[str] = Counter()

        async def open_some() -> None:
            for number in numbers:
                is_timed = number % timed_every == 0
                try:
                    if is_stream:
                        await self._open_stream(url, headers[number], is_timed)
                    else:
                        await self._open(url, headers[number], is_timed=is_timed)
                except Exception as error:  # noqa: BLE001 - counted, and told
                    faults[f"{type(error).__name__}: {error}"[:200]] += 1

        began = time.monotonic()
        await asyncio.gather(*(open_some() for _ in range(min(AT_ONCE, count))))
        elapsed_s = time.monotonic() - began
        failed = sum(faults.values())
        self.opened += count - failed
        gc.collect()
        gc.freeze()
        return {"seconds": elapsed_s, "failed": failed, "faults": dict(faults)}

    async def expect(self, messages: int) -> dict[str, Any]:
        """Count from now on, until each connection has got so many."""
        self.received = 0
        self.payload_bytes = 0
        self.micros = []
        self._complete.clear()
        self._completed_ns = 0
        self.expected = messages * self.opened
        if self.expected == 0:
            self.complete()
        return {"expected": self.expected}

    async def collect(self, timeout_s: float) -> dict[str, Any]:
        """Wait for what is expected; return what came, the last one's time, and latencies in µs."""
        try:
            await asyncio.wait_for(self._complete.wait(), timeout_s)
        except TimeoutError:
            self._completed_ns = time.monotonic_ns()
        return {
            "received": self.received,
            "payload_bytes": self.payload_bytes,
            "missing": self.expected - self.received,
            "completed_ns": self._completed_ns,
            "micros": self.micros,
            "lost": self.opened - len(self.clients) - len(self._streams),
        }

    def complete(self) -> None:
        """All that was expected is there."""
        self._completed_ns = time.monotonic_ns()
        self._complete.set()

    async def echo(self, seconds: float, pause_s: float = 0.0) -> dict[str, Any]:
        """Ping on all connections, each ping ``pause_s`` after the pong before it.

        The first pings are spread over one such pause.
        """
        self.micros = []
        self._echoes = 0
        self._echo_pause_s = pause_s
        began = time.monotonic_ns()
        self._echo_until_ns = began + int(seconds * 1e9)
        loop = asyncio.get_running_loop()
        for number, client in enumerate(tuple(self.clients)):
            if pause_s and number:
                loop.call_later(pause_s * number / len(self.clients), client.ping)
            else:
                client.ping()
        await asyncio.sleep(seconds)
        elapsed_s = (time.monotonic_ns() - began) / 1e9
        return {
            "pongs": self._echoes,
            "seconds": elapsed_s,
            "micros": self.micros,
            "clients": len(self.clients),
        }

    def ponged(self, client: Client) -> None:
        """Note a round trip, and begin the next one."""
        now = time.monotonic_ns()
        micros = (now - client.pinged_ns) // 1000
        client.pinged_ns = 0
        if now >= self._echo_until_ns:
            return
        self._echoes += 1
        self.micros.append(micros)
        if self._echo_pause_s:
            asyncio.get_running_loop().call_later(self._echo_pause_s, client.ping)
        else:
            client.ping()

    async def add_uncounted(
        self, url: str, first: int, count: int, has_tokens: bool
    ) -> dict[str, Any]:
        """Open connections that read, and whose messages are not counted."""
        for number in range(first, first + count):
            headers = self._headers(f"u{number}", has_tokens)
            self._uncounted.append(
                await self._open(url, headers, is_counted=False, socket_factory=_small_window)
            )
        return {}

    async def stop_reading(self) -> dict[str, Any]:
        """Never read from the uncounted ones again."""
        for transport in self._uncounted:
            transport.underlying_transport.pause_reading()
        return {}

    async def churn(
        self, url: str, first: int, cycles: int, has_tokens: bool, at_once: int
    ) -> dict[str, Any]:
        """Connect and leave again, ``cycles`` times, ``at_once`` beside each other."""
        numbers = iter(range(first, first + cycles))
        faults: Counter[str] = Counter()

        async def come_and_go() -> None:
            for number in numbers:
                try:
                    headers = self._headers(f"u{number}", has_tokens)
                    transport = await self._open(url, headers, is_counted=False)
                    transport.send_close()
                    await asyncio.wait_for(transport.wait_disconnected(), LEAVE_TIMEOUT_S)
                except Exception as error:  # noqa: BLE001 - counted, and told
                    faults[f"{type(error).__name__}: {error}"[:200]] += 1

        began = time.monotonic()
        await asyncio.gather(*(come_and_go() for _ in range(at_once)))
        elapsed_s = time.monotonic() - began
        failed = sum(faults.values())
        return {"seconds": elapsed_s, "failed": failed, "faults": dict(faults)}

    async def open_senders(
        self, url: str, first: int, count: int, has_tokens: bool
    ) -> dict[str, Any]:
        """Open connections of users ``first`` and following, each in a session of its own."""
        for number in range(first, first + count):
            headers = self._headers(f"u{number}", has_tokens)
            await _connect(self._senders.new(f"u{number}"), url, headers)
        await self._senders.joined(JOIN_TIMEOUT_S)
        return {}

    async def send_kept(self, messages: int, window: int, timeout_s: float) -> dict[str, Any]:
        """Have each sender send so many, at most ``window`` of them unacknowledged."""
        return await self._senders.send(messages, window, timeout_s)

    async def send_commands(
        self, command: str, count: int, window: int, timeout_s: float, senders: int | None = None
    ) -> dict[str, Any]:
        """Have each sender, or the first ones, send so many commands, ``window`` at a time."""
        return await self._senders.send(count, window, timeout_s, command, senders)

    async def pushed(self, each: int, timeout_s: float) -> dict[str, Any]:
        """Wait until each sender has got so many messages of its session."""
        return await self._senders.pushed(each, timeout_s)

    async def open_answers(
        self, url: str, first: int, answers: int, watchers: int, has_tokens: bool
    ) -> dict[str, Any]:
        """Begin answers number ``first`` and following, each with so many watchers."""
        await self._answering.open(url, first, answers, watchers)
        return {}

    async def append_all(self, each: int, window: int) -> dict[str, Any]:
        """Append to each answer so many times, without a pause."""
        return await self._answering.append_all(each, window)

    async def append_steadily(self, each: int, rate: float) -> dict[str, Any]:
        """Append to each answer so many times, ``rate`` times a second."""
        return await self._answering.append_steadily(each, rate)

    async def finish_answers(self) -> dict[str, Any]:
        """Finish the answers; return latencies of their watchers in µs."""
        return await self._answering.finish()

    async def flood(self, url: str, first: int, has_tokens: bool, seconds: float) -> dict[str, Any]:
        """Be one user who sends as fast as it goes, and comes back when closed."""
        headers = self._headers(f"u{first}", has_tokens)

        async def connect(flooder: Flooder) -> WSTransport:
            return await _connect(flooder, url, headers)

        return await flood(connect, seconds)

    async def report(self, url: str, rate: float, seconds: float) -> dict[str, Any]:
        """Be a bridge to a messenger that reports messages."""
        return await report(url, rate, seconds)

    async def open_askers(self, url: str, has_tokens: bool, sessions: list[str]) -> dict[str, Any]:
        """Open a connection into each of these sessions."""
        await self._asking.open(url, sessions)
        return {}

    async def ask_all(self, content: str, timeout_s: float) -> dict[str, Any]:
        """Send this message to each session, and wait for the answers."""
        return await self._asking.ask(content, timeout_s)

    async def upload(
        self, url: str, first: int, has_tokens: bool, length: int, times: int, seconds: float
    ) -> dict[str, Any]:
        """Be a user who uploads files."""
        return await upload(url, f"u{first}" if has_tokens else None, length, times, seconds)

    async def close_streams(self) -> dict[str, Any]:
        """Close all event streams."""
        self.opened -= len(self._streams)
        for stream in tuple(self._streams):
            stream.close()
        return {}

    async def _open_stream(self, url: str, headers: dict[str, str], is_timed: bool) -> None:
        def count(events: bytes) -> None:
            found = events.count(MARK)
            if not found:
                return
            self.received += found
            self.payload_bytes += len(events)
            if is_timed:
                now = time.monotonic_ns()
                self.micros += [(now - int(sent)) // 1000 for sent in MARKED.findall(events)]
            if self.received >= self.expected >= 0:
                self.complete()

        self._streams.add(await open_stream(url, headers, count, self._streams.discard))

    async def _open(
        self,
        url: str,
        headers: dict[str, str],
        *,
        is_counted: bool = True,
        is_timed: bool = False,
        **more: Any,
    ) -> WSTransport:
        return await _connect(Client(self, is_counted, is_timed), url, headers, **more)

    @staticmethod
    def _headers(user_id: str, has_tokens: bool) -> dict[str, str]:
        return {"Authorization": f"Bearer {make_token(user_id)}"} if has_tokens else {}


async def _connect(
    listener: WSListener, url: str, headers: dict[str, str], **more: Any
) -> WSTransport:
    transport, _ = await ws_connect(
        lambda: listener,
        url,
        extra_headers=headers,
        websocket_handshake_timeout=30,
        read_buffer_init_size=READ_BUFFER_BYTES,
        **more,
    )
    return transport


def _small_window(_: object) -> socket.socket:
    """Make a socket, to be connected, that takes little which is not read."""
    sock = socket.socket()
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_WINDOW_BYTES)
    return sock


async def main() -> None:
    """Obey until standard input ends."""
    load = Load()
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LINE_LIMIT)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        request = json.loads(line)
        method: Callable[..., Awaitable[dict[str, Any]]] = getattr(load, request.pop("do"))
        try:
            answer = await method(**request)
        except Exception as error:  # noqa: BLE001 - told to who asked
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    raise_descriptor_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
