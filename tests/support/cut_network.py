"""A TCP forwarder in front of a server, whose network can be cut off without a word."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from types import TracebackType


class CutNetwork:
    """``with CutNetwork(host, port) as network:``; clients connect to ``network.port``.

    While it is cut, nothing is passed on in either direction and nothing is closed, as when
    packets are dropped: also new connections are accepted (by the system) and get no answer.
    """

    def __init__(self, host: str, port: int) -> None:
        self._behind = host, port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._flows = threading.Event()
        self._flows.set()
        self._is_over = False
        self.silent_after: bytes | None = None
        """Pass nothing on of a connection once its server has sent these bytes."""
        self._lost = 0
        """How often the connections of then were lost."""
        self._open: list[socket.socket] = []

    def __enter__(self) -> CutNetwork:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over = True
        self._flows.set()
        for sock in (self._listening, *self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def cut(self) -> None:
        """Pass nothing on any more."""
        self._flows.clear()

    def mend(self) -> None:
        """Pass on what has been held up, and everything after it."""
        self._flows.set()

    def lose(self) -> None:
        """Pass nothing on for the connections that there are, which neither end hears of."""
        self._lost += 1

    def _accept(self) -> None:
        while not self._is_over:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            self._flows.wait()
            with contextlib.suppress(OSError):
                server = socket.create_connection(self._behind)
                self._open += client, server
                threading.Thread(target=self._forward, args=(client, server), daemon=True).start()

    def _forward(self, one: socket.socket, other: socket.socket) -> None:
        lost = self._lost
        with selectors.DefaultSelector() as selector, one, other:
            selector.register(one, selectors.EVENT_READ, other)
            selector.register(other, selectors.EVENT_READ, one)
            while True:
                for key, _ in selector.select():
                    self._flows.wait()
                    assert isinstance(key.fileobj, socket.socket)
                    try:
                        data = key.fileobj.recv(65536)
                        if not data:
                            return
                        if lost == self._lost:
                            key.data.sendall(data)
                        if self.silent_after and key.fileobj is other and self.silent_after in data:
                            lost = -1
                    except OSError:
                        return
