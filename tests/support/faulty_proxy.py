"""A TCP proxy in front of a server, with the faults of misconfigured proxies."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable
from types import TracebackType
from urllib.parse import urlsplit

Rewrite = Callable[[bytes], bytes]
"""What becomes of a request's head on its way."""


def without_upgrade(head: bytes) -> bytes:
    """As nginx does by itself: hop-by-hop headers end here."""
    return re.sub(rb"(?im)^(upgrade|connection|sec-websocket-[a-z]+):.*\r\n", b"", head)


def without_subprotocol(head: bytes) -> bytes:
    return re.sub(rb"(?im)^sec-websocket-protocol:.*\r\n", b"", head)


def forwarded(head: bytes) -> bytes:
    """Adds the address of the client."""
    return head.replace(b"\r\n", b"\r\nX-Forwarded-For: 192.0.2.7\r\n", 1)


class FaultyProxy:
    """``with FaultyProxy(server.url, rewrite=without_upgrade) as proxy:`` and ask ``proxy.url``.

    ``idle_s``: cuts a connection on which nothing has come from the server for so long.
    """

    def __init__(
        self,
        url: str,
        *,
        rewrite: Rewrite = lambda head: head,
        idle_s: float | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(url)
        self._behind = (parts.hostname or "", parts.port or 80)
        self._rewrite = rewrite
        self._idle_s = idle_s
        self._tls = tls
        self._listening = socket.create_server(("127.0.0.1", 0))
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._listening.getsockname()[1]}"
        self._open: list[socket.socket] = []

    def __enter__(self) -> FaultyProxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self._listening.close()
        for one in self._open:
            _cut(one)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
            head = b""
            while b"\r\n\r\n" not in head:
                received = client.recv(65536)
                if not received:
                    client.close()
                    return
                head += received
            server = socket.create_connection(self._behind)
        except OSError:  # a client that does not trust us
            client.close()
            return
        self._open += [client, server]
        head, end, rest = head.partition(b"\r\n\r\n")
        server.sendall(self._rewrite(head + b"\r\n")[:-2] + end + rest)
        server.settimeout(self._idle_s)
        threading.Thread(target=_pump, args=(client, server), daemon=True).start()
        _pump(server, client)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Pass bytes on until either side ends, or is silent for too long."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    _cut(source)
    _cut(sink)


def _cut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
