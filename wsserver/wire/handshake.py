"""Decides on the opening handshake of a WebSocket, without any I/O (RFC 6455 §4.2)."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from typing import Final, Protocol

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_VERSION: Final = "13"


class Headers(Protocol):
    """Request headers: names in any case, repeated ones joined with commas."""

    def get(self, name: str, default: str, /) -> str:
        """Return a header's value, or ``default``."""
        ...


class HandshakeError(Exception):
    """An upgrade request that cannot be granted.

    ``status`` is 400, or 426 for another protocol version; ``headers`` go into the answer.
    """

    def __init__(self, status: int, reason: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
        self.headers = headers or {}

    def __str__(self) -> str:
        return f"{self.status} {self.reason}"


def list_items(value: str) -> list[str]:
    """Split a header that is a list (``Connection``, ``Sec-WebSocket-Protocol``) into its items."""
    return [item for part in value.split(",") if (item := part.strip(" \t"))]


def accept_key(key: str) -> str:
    """Answer ``Sec-WebSocket-Key`` (RFC 6455 §4.2.2): proof that the server speaks WebSocket."""
    digest = hashlib.sha1(key.encode("ascii") + _GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def check_upgrade(method: str, headers: Headers) -> str | None:
    """Return the client's key when the request is a valid upgrade, None when it asks for none.

    Raises ``HandshakeError`` for a request that asks for a WebSocket in a wrong way.
    """
    upgrade = list_items(headers.get("Upgrade", "").lower())
    if "websocket" not in upgrade:
        return None
    if method != "GET":
        raise HandshakeError(400, "a WebSocket is opened with GET")
    if "upgrade" not in list_items(headers.get("Connection", "").lower()):
        # Typical of a proxy that was not told to pass the hop-by-hop headers on.
        raise HandshakeError(400, "Connection header does not say upgrade")
    if headers.get("Sec-WebSocket-Version", "").strip() != _VERSION:
        raise HandshakeError(
            426,
            "WebSocket version 13 is needed",
            {"Sec-WebSocket-Version": _VERSION, "Upgrade": "websocket", "Connection": "Upgrade"},
        )
    key = headers.get("Sec-WebSocket-Key", "").strip()
    if not _is_nonce(key):
        raise HandshakeError(400, "Sec-WebSocket-Key is not 16 bytes of base64")
    return key


def response_bytes(
    accept: str, subprotocol: str | None = None, extra: Iterable[tuple[str, str]] = ()
) -> bytes:
    """Build the whole 101 response, ``extra`` headers included.

    Raises ``ValueError`` for a name or value that would start a new line.
    """
    headers = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", accept),
    ]
    if subprotocol is not None:
        headers.append(("Sec-WebSocket-Protocol", subprotocol))
    headers.extend(extra)
    lines = ["HTTP/1.1 101 Switching Protocols"]
    for name, value in headers:
        if any(mark in name + value for mark in "\r\n\0"):
            raise ValueError(f"line break in header {name!r}")
        lines.append(f"{name}: {value}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _is_nonce(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False
