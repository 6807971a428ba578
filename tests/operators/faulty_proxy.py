"""A real proxy in front of a server, with the faults that proxies have; and certificates."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import re
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Rewrite = Callable[[bytes], bytes]
"""What becomes of a request's head on its way."""


def without_upgrade(head: bytes) -> bytes:
    """As nginx does by itself: hop-by-hop headers end here."""
    return re.sub(rb"(?im)^(upgrade|connection|sec-websocket-[a-z]+):.*\r\n", b"", head)


def without_subprotocol(head: bytes) -> bytes:
    return re.sub(rb"(?im)^sec-websocket-protocol:.*\r\n", b"", head)


def forwarded(head: bytes) -> bytes:
    """Tells where the request is from."""
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


class Authority:
    """Makes certificates for ``127.0.0.1``; ``file`` is what trusts them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test Authority")])
        own = self._sign(self._name, self._key, -1, 365, is_authority=True)
        self.file = folder / "authority.pem"
        self.file.write_bytes(own.public_bytes(serialization.Encoding.PEM))

    def server(
        self, *, name: str = "127.0.0.1", begins: float = -1, ends: float = 90
    ) -> ssl.SSLContext:
        """What a server presents; ``begins`` and ``ends`` in days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        return self._context(key, self._sign(subject, key, begins, ends, name=name))

    def self_signed(self) -> ssl.SSLContext:
        """One that nobody vouches for."""
        stranger = self._folder / "stranger"
        stranger.mkdir(exist_ok=True)
        other = Authority(stranger)
        return other._context(
            other._key, other._sign(other._name, other._key, -1, 90, name="127.0.0.1")
        )

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        begins: float,
        ends: float,
        *,
        name: str | None = None,
        is_authority: bool = False,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=begins))
            .not_valid_after(now + datetime.timedelta(days=ends))
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        if is_authority:
            usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
            builder = builder.add_extension(usage, critical=True)
        if name is not None:
            try:
                general: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
            except ValueError:
                general = x509.DNSName(name)
            builder = builder.add_extension(x509.SubjectAlternativeName([general]), critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def _context(
        self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate
    ) -> ssl.SSLContext:
        file = self._folder / "server.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context
