"""Queues of shared frames."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from wsserver.wire.outbox import Link, Outbox


@pytest.fixture
def pair() -> Iterator[tuple[int, socket.socket]]:
    near, far = socket.socketpair()
    near.setblocking(False)
    with near, far:
        yield near.fileno(), far


def test_many_frames_leave_in_order(pair: tuple[int, socket.socket]) -> None:
    fd, far = pair
    outbox = Outbox(0.0)
    frames = [b"%d," % number for number in range(200)]
    for frame in frames:
        outbox.append(frame)
    assert outbox.size == sum(map(len, frames))
    while outbox.size:
        assert outbox.write_to(fd) > 0
    assert outbox.write_to(fd) == 0
    assert far.recv(65536) == b"".join(frames)


def test_a_frame_begun_elsewhere_is_finished(pair: tuple[int, socket.socket]) -> None:
    fd, far = pair
    outbox = Outbox(0.0)
    outbox.append(b"hello", 2)
    outbox.append(b"world")
    assert outbox.size == 8
    outbox.write_to(fd)
    assert far.recv(100) == b"lloworld"


def test_a_full_socket_is_no_error(pair: tuple[int, socket.socket]) -> None:
    fd, far = pair
    outbox = Outbox(0.0)
    data = os.urandom(5_000_000)
    outbox.append(data)
    outbox.append(b"end")
    received = b""
    while outbox.size:
        if not outbox.write_to(fd):
            received += far.recv(1 << 20)
    assert received + far.recv(1 << 20) == data + b"end"


def test_a_broken_connection_is_an_error(pair: tuple[int, socket.socket]) -> None:
    fd, far = pair
    far.close()
    outbox = Outbox(0.0)
    outbox.append(b"x")
    with pytest.raises(BrokenPipeError):
        outbox.write_to(fd)


@pytest.mark.parametrize(("written", "rest"), [(0, b""), (2, b"llo")])
def test_only_what_was_begun_is_kept(
    pair: tuple[int, socket.socket], written: int, rest: bytes
) -> None:
    fd, far = pair
    outbox = Outbox(0.0)
    outbox.append(b"hello", written)
    outbox.append(b"world")
    outbox.drop_unstarted()
    outbox.append(b"!")
    assert outbox.size == len(rest) + 1
    outbox.write_to(fd)
    assert far.recv(100) == rest + b"!"


def test_links_join_what_came_before_once() -> None:
    first = Link(None, b"a")
    left = Link(first, b"b")
    right = Link(first, b"c")
    last = Link(left, b"d")
    assert first.join() is first.join()
    assert left.join() == b"ab"
    assert (right.join(), last.join(), last.size) == (b"ac", b"abd", 3)
    assert last.join() is last.join()


@pytest.mark.slow
def test_a_very_long_chain() -> None:
    link = Link(None, b"0")
    for _ in range(200_000):
        link = Link(link, b"x")
    assert link.join() == b"0" + b"x" * 200_000
