"""Clients of the wire layer over socket pairs, and an owner that records its callbacks."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from tests.support.fake_clock import FakeClock
from tests.support.frames import CLOSE, read_close, read_frame
from tests.support.waiting import PATIENCE_S
from wsserver.wire.poller import Poller
from wsserver.wire.transport import Owner, Transport
from wsserver.wire.uring import ENTRIES, Ring, open_ring


def cut(transport: Transport) -> None:
    """End a connection at once, as the wire does with one that it finds broken."""
    transport._backend.drop(transport)


def open_ring_or_skip(entries: int = ENTRIES) -> Ring:
    """A ring, where the system lets us have one."""
    try:
        return open_ring(entries)
    except OSError as error:
        if error.errno == errno.ENOTSUP:  # there is one, and it does not work
            raise
        pytest.skip(f"io_uring: {error}")


def read_all(sock: socket.socket) -> bytes:
    """All that has arrived at a non-blocking socket."""
    received = b""
    while True:
        try:
            data = sock.recv(1 << 20)
        except BlockingIOError:
            return received
        if not data:
            return received
        received += data


class Recorder(Owner):
    """Writes down everything, and lets a test wait for it."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.closed: asyncio.Future[tuple[int, str, bool]] = asyncio.Future()
        self._changed = asyncio.Event()

    def note(self, kind: str, payload: bytes) -> None:
        self.heard.append((kind, payload))
        self._changed.set()

    def on_text(self, transport: Transport, payload: bytes) -> None:
        self.note("text", payload)

    def on_binary(self, transport: Transport, payload: bytes) -> None:
        self.note("binary", payload)

    def on_ping(self, transport: Transport, payload: bytes) -> None:
        self.note("ping", payload)

    def on_pong(self, transport: Transport, payload: bytes) -> None:
        self.note("pong", payload)

    def on_close(self, transport: Transport, code: int, reason: str, clean: bool) -> None:
        self.closed.set_result((code, reason, clean))  # a second call would raise

    async def until(self, count: int) -> list[tuple[str, bytes]]:
        """Wait until so many things were heard."""
        while len(self.heard) < count:
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), PATIENCE_S)
        return self.heard

    async def end(self) -> tuple[int, str, bool]:
        """Wait until the connection has ended."""
        return await asyncio.wait_for(asyncio.shield(self.closed), PATIENCE_S)


class Peer:
    """The client's end of a socket pair, for raw bytes and frames."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._rest = b""

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def recv(self, size: int = 65536) -> bytes:
        """What comes in one read; empty at the end of the stream."""
        read = asyncio.get_running_loop().sock_recv(self.sock, size)
        return await asyncio.wait_for(read, PATIENCE_S)

    async def exactly(self, size: int) -> bytes:
        while len(self._rest) < size:
            data = await self.recv()
            if not data:
                raise EOFError(f"the stream ended after {self._rest!r}")
            self._rest += data
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    async def frame(self) -> tuple[int, bytes]:
        """The next frame: opcode and payload."""
        first, payload = await self.any_frame()
        assert first & 0xF0 == 0x80
        return first & 15, payload

    async def any_frame(self) -> tuple[int, bytes]:
        """The next frame, compressed or not: its first byte and its payload."""
        return await read_frame(self.exactly)

    async def close_frame(self) -> tuple[int, str]:
        """The next frame, which is a close frame: code and reason."""
        opcode, payload = await self.frame()
        assert opcode == CLOSE
        return read_close(payload)

    async def end(self) -> bytes:
        """All that comes until the server has closed its side."""
        rest, self._rest = self._rest, b""
        while data := await self.recv():
            rest += data
        return rest


Room = tuple[Poller, list[Transport], list[Peer]]


@contextmanager
def rooms(
    io_loop: IOLoop, clock: FakeClock, owner: Callable[[], Recorder] = Recorder, **usual: Any
) -> Iterator[Callable[..., Room]]:
    """Makes pollers with so many connections each, and closes all of them in the end."""
    pollers: list[Poller] = []
    peers: list[Peer] = []

    def make(size: int, **settings: Any) -> Room:
        poller = Poller(io_loop, clock, **{**usual, **settings})
        pollers.append(poller)
        transports = []
        for _ in range(size):
            near, far = socket.socketpair()
            near.setblocking(False)
            transports.append(poller.adopt(near.detach(), owner()))
            peers.append(Peer(far))
        return poller, transports, peers[-size:]

    yield make
    for poller in pollers:
        poller.close()
    for peer in peers:
        peer.sock.close()


Connect = Callable[..., tuple[Transport, Peer, Recorder]]
"""Opens a connection to a poller, with a client and an owner."""
MakePoller = Callable[..., Poller]
"""Makes pollers with settings."""
