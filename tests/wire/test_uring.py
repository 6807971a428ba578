"""io_uring: results of sends, and systems without it."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import sys
from array import array
from collections.abc import Iterator

import pytest

from tests.support.wire_peers import open_ring_or_skip, read_all
from wsserver.wire import uring
from wsserver.wire.uring import Ring, open_ring

LARGE = bytes(range(256)) * 4096

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def ring() -> Iterator[Ring]:
    """So small that it is used up again and again."""
    with contextlib.closing(open_ring_or_skip(4)) as ring:
        yield ring


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    pairs = [socket.socketpair() for _ in range(7)]
    for near, far in pairs:
        near.setblocking(False)
        far.setblocking(False)
    yield pairs
    for near, far in pairs:
        near.close()
        far.close()


def near_ends(pairs: list[Pair]) -> list[int]:
    return [near.fileno() for near, _ in pairs]


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_every_socket_gets_the_same_bytes(ring: Ring, pairs: list[Pair]) -> None:
    for number in range(10):
        assert ring.send_all(near_ends(pairs[: number % 8]), b"%d" % number) == []
    assert [read_all(far) for _, far in pairs] == [
        b"".join(b"%d" % number for number in range(10) if number % 8 > index)
        for index in range(len(pairs))
    ]


def test_every_socket_gets_its_own_bytes(ring: Ring, pairs: list[Pair]) -> None:
    for size in range(8):
        frames = [b"%d" % (size + index) * index for index in range(size)]
        assert ring.send_each(near_ends(pairs[:size]), frames) == []
        assert [read_all(far) for _, far in pairs[:size]] == frames


def test_unsent_bytes_are_reported_for_each_socket(ring: Ring, pairs: list[Pair]) -> None:
    full, gone = pairs[1], pairs[5]
    assert 0 < full[0].send(LARGE) < len(LARGE)
    gone[1].close()
    results = dict(ring.send_all(near_ends(pairs), LARGE))
    assert results.pop(1) == -errno.EAGAIN
    assert results.pop(5) == -errno.EPIPE
    assert sorted(results) == [0, 2, 3, 4, 6]
    for index, taken in results.items():
        assert 0 < taken < len(LARGE)
        assert read_all(pairs[index][1]) == LARGE[:taken]
    read_all(full[1])
    rest = [pair for pair in pairs if pair is not gone]
    assert ring.send_all(near_ends(rest), b"on") == []
    assert [read_all(far) for _, far in rest] == [b"on"] * 6


def test_what_the_kernel_has_no_memory_for_can_be_sent_later(
    ring: Ring, pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    ring.send_all(near_ends(pairs[:3]), b"-")
    with monkeypatch.context() as patch:
        patch.setattr(ring, "_enter", lambda *_: -1)
        refused = ring.send_all(near_ends(pairs[:3]), b"a")
    assert sorted(refused) == [(index, -errno.EAGAIN) for index in range(3)]
    assert ring.send_all(near_ends(pairs), b"b") == []
    assert [read_all(far) for _, far in pairs] == [b"-b"] * 3 + [b"b"] * 4


def test_closing_gives_everything_back() -> None:
    before = open_descriptors()
    ring = open_ring_or_skip()
    assert open_descriptors() > before
    ring.close()
    ring.close()
    assert open_descriptors() == before


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOSYS, errno.ENOMEM, errno.EMFILE])
def test_a_system_that_refuses(error: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        ctypes.set_errno(error)
        return -1

    monkeypatch.setattr(uring, "_system_calls", lambda: (refuse, refuse))
    with pytest.raises(OSError) as caught:  # noqa: PT011 - its number is looked at
        open_ring()
    assert caught.value.errno == error


def test_a_system_that_is_not_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(OSError, match="not Linux"):
        open_ring()


def test_a_kernel_that_lacks_something(monkeypatch: pytest.MonkeyPatch) -> None:
    open_ring_or_skip().close()
    before = open_descriptors()
    monkeypatch.setattr(uring, "_FEATURES", 1 << 31)
    with pytest.raises(OSError, match="too old"):
        open_ring()
    assert open_descriptors() == before


def test_a_kernel_that_does_not_tell_of_short_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    open_ring_or_skip().close()
    before = open_descriptors()
    monkeypatch.setattr(uring, "_SEND_FLAGS", 0x40 | 0x4000)
    with pytest.raises(OSError, match="differently"):
        open_ring()
    assert open_descriptors() == before


def test_descriptors_in_an_array_are_filled_in_once(ring: Ring, pairs: list[Pair]) -> None:
    fds = array("i", [near.fileno() for near, _ in pairs[:3]])
    others = [near.fileno() for near, _ in pairs[1:4]]
    for part in (fds, fds, others, fds, array("i", others), fds):
        assert ring.send_all(part, b"x") == []
    assert [read_all(far) for _, far in pairs[:4]] == [b"x" * 4, b"x" * 6, b"x" * 6, b"x" * 2]
