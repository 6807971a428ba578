"""Writers to many sockets: single writes and io_uring report the same."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator

import pytest

from tests.support.wire_peers import open_ring_or_skip, read_all
from wsserver.wire import writers
from wsserver.wire.writers import BROKEN, FEW, RingWriter, SingleWriter, Writer, best_writer

LARGE = bytes(range(256)) * 4096


@pytest.fixture(params=["write", "io_uring"])
def writer(request: pytest.FixtureRequest) -> Iterator[Writer]:
    made = SingleWriter() if request.param == "write" else RingWriter(open_ring_or_skip())
    with contextlib.closing(made) as writer:
        yield writer


@pytest.mark.parametrize("size", [FEW, 3 * FEW])
def test_short_full_and_broken(writer: Writer, size: int) -> None:
    pairs = [socket.socketpair() for _ in range(size)]
    with contextlib.ExitStack() as stack:
        for near, far in pairs:
            stack.enter_context(near).setblocking(False)
            stack.enter_context(far).setblocking(False)
        fds = [near.fileno() for near, _ in pairs]
        assert writer.write_all(fds, b"all") == []
        assert [read_all(far) for _, far in pairs] == [b"all"] * size
        pairs[1][0].send(LARGE)
        pairs[2][1].close()
        shortfalls = dict(writer.write_all(fds, LARGE))
        assert (shortfalls.pop(1), shortfalls.pop(2)) == (0, BROKEN)
        assert len(shortfalls) == size - 2
        for index, written in shortfalls.items():
            assert read_all(pairs[index][1]) == LARGE[:written]


@pytest.mark.parametrize("size", [FEW, 3 * FEW])
def test_other_bytes_for_each(writer: Writer, size: int) -> None:
    pairs = [socket.socketpair() for _ in range(size)]
    frames = [b"%d" % index * 1000 for index in range(size)]
    with contextlib.ExitStack() as stack:
        for near, far in pairs:
            stack.enter_context(near).setblocking(False)
            stack.enter_context(far).setblocking(False)
        fds = [near.fileno() for near, _ in pairs]
        assert writer.write_each(fds, frames) == []
        assert [read_all(far) for _, far in pairs] == frames
        pairs[1][0].send(LARGE)
        pairs[2][1].close()
        assert dict(writer.write_each(fds, frames)) == {1: 0, 2: BROKEN}


def test_an_empty_list_of_sockets(writer: Writer) -> None:
    assert writer.write_all([], b"x") == []
    assert writer.write_each([], []) == []


def test_where_the_system_refuses_io_uring(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(writers, "open_ring", refuse)
    with contextlib.closing(best_writer()) as writer:
        assert isinstance(writer, SingleWriter)
    assert writer.how == "one socket at a time (io_uring: Operation not permitted)"


def test_where_the_system_has_io_uring() -> None:
    open_ring_or_skip().close()
    with contextlib.closing(best_writer()) as writer:
        assert isinstance(writer, RingWriter)
    assert writer.how == "many sockets at a time (io_uring)"
