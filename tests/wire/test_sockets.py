"""Detaching the socket of a Tornado stream (``take_socket``)."""

from __future__ import annotations

import gc
import os
import socket
import weakref

import pytest
import tornado.web
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream
from tornado.netutil import bind_sockets

from tests.support.frames import client_frame
from tests.support.wire_peers import Peer, Recorder
from wsserver.clock import Clock
from wsserver.wire.frames import build_frame
from wsserver.wire.poller import Poller
from wsserver.wire.sockets import take_socket


@pytest.mark.gen_test
async def test_bytes_already_read_are_not_lost(io_loop: IOLoop) -> None:
    near, far = socket.socketpair()
    stream = IOStream(near)
    far.sendall(b"head\n" + b"rest")
    assert await stream.read_until(b"\n") == b"head\n"
    far.sendall(b"later")
    fd, first = take_socket(stream)
    with socket.socket(fileno=fd) as taken, far:
        assert first == b"rest"
        assert stream.closed()
        assert not os.get_blocking(fd)
        assert taken.recv(100) == b"later"
        far.settimeout(0)
        with pytest.raises(BlockingIOError):  # the connection was not shut down
            far.recv(1)


@pytest.mark.gen_test
async def test_nothing_was_read(io_loop: IOLoop) -> None:
    near, far = socket.socketpair()
    fd, first = take_socket(IOStream(near))
    os.close(fd)
    assert first == b""
    assert far.recv(1) == b""
    far.close()


@pytest.mark.gen_test
async def test_a_closed_stream(io_loop: IOLoop) -> None:
    near, far = socket.socketpair()
    stream = IOStream(near)
    stream.close()
    far.close()
    with pytest.raises(ConnectionError):
        take_socket(stream)


@pytest.mark.gen_test
async def test_a_request_handler_hands_its_connection_over(io_loop: IOLoop) -> None:
    """Frames sent in one packet with the request count, and every HTTP object is let go."""
    poller = Poller(io_loop, Clock())
    owner = Recorder()
    gone: list[weakref.ref[object]] = []

    class Handler(tornado.web.RequestHandler):
        def get(self) -> None:
            gone.extend([weakref.ref(self), weakref.ref(self.request)])
            fd, first = take_socket(self.detach())
            poller.adopt(fd, owner, first=first, greeting=b"101\r\n" + build_frame(b"hello"))

    server = HTTPServer(tornado.web.Application([("/", Handler)]))
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    try:
        with socket.create_connection(sockets[0].getsockname()) as sock:
            peer = Peer(sock)
            await peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + client_frame(b"early"))
            assert await owner.until(1) == [("text", b"early")]
            assert await peer.exactly(5) == b"101\r\n"
            assert await peer.frame() == (1, b"hello")
            gc.collect()
            assert [ref() for ref in gone] == [None, None]
        assert await owner.end() == (1006, "connection lost", False)
    finally:
        server.stop()
        poller.close()
