"""Fixtures: pollers with each kind of readiness, ways of writing, and TCP connections."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from tests.support.wire_peers import MakePoller, Peer, Recorder, open_ring_or_skip
from wsserver.clock import Clock
from wsserver.wire import writers
from wsserver.wire.poller import Poller
from wsserver.wire.readiness import EpollReadiness, LoopReadiness
from wsserver.wire.transport import Transport
from wsserver.wire.writers import RingWriter, SingleWriter, Writer


@pytest.fixture(params=[EpollReadiness, LoopReadiness], ids=["epoll", "loop"])
def make_poller(request: pytest.FixtureRequest, io_loop: IOLoop) -> Iterator[MakePoller]:
    made: list[Poller] = []

    def make(**settings: object) -> Poller:
        poller = Poller(io_loop, Clock(), readiness=request.param, **settings)  # type: ignore
        made.append(poller)
        return poller

    yield make
    for poller in made:
        poller.close()
        assert poller.connections == 0


@pytest.fixture(params=["write", "io_uring"])
def writer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Writer]:
    """Each way of writing to many."""
    if request.param == "write":
        return SingleWriter
    monkeypatch.setattr(writers, "FEW", 0)
    return lambda: RingWriter(open_ring_or_skip(4))


@pytest.fixture
def connect() -> Iterator[Callable[..., tuple[Transport, Peer, Recorder]]]:
    """Open a TCP connection whose server side belongs to a poller."""
    peers: list[socket.socket] = []

    def connect(
        poller: Poller, owner: Recorder | None = None, *, buffer: int = 0, **adopt: Any
    ) -> tuple[Transport, Peer, Recorder]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            far = socket.socket()
            peers.append(far)
            if buffer:
                far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            far.connect(listener.getsockname())
            near, _ = listener.accept()
        near.setblocking(False)
        if buffer:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        owner = owner or Recorder()
        is_event_stream = "silence_s" in adopt
        take = poller.adopt_event_stream if is_event_stream else poller.adopt
        transport = take(near.detach(), owner, **adopt)
        return transport, Peer(far), owner

    yield connect
    for far in peers:
        far.close()
