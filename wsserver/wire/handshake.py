"""Opening handshake (RFC 6455 §4.2) and negotiation of compression (RFC 7692 §7.1), without I/O."""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, Protocol, TypeAlias

from wsserver.wire.deflate import MAX_BITS, MIN_BITS

DEFLATE: Final = "permessage-deflate"

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_VERSION: Final = "13"
_NONCE: Final = re.compile(r"[A-Za-z0-9+/]{22}==")
"""16 bytes in base64."""
_ACCEPTED: Final = (
    "HTTP/1.1 101 Switching Protocols\r\n"
    "Upgrade: websocket\r\n"
    "Connection: Upgrade\r\n"
    "Sec-WebSocket-Accept: "
)

Parameters: TypeAlias = list[tuple[str, str | None]]
"""Names and values, None for a name without a value."""

_MARK: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_NAME: Final = re.compile(rf"{_MARK}+")
_VALUE: Final = re.compile(rf'{_MARK}+|"(?:\\?{_MARK})+"')

_SERVER_BITS: Final = "server_max_window_bits"
_GOOD_VALUES: Final[dict[str, frozenset[str | None]]] = {
    "server_no_context_takeover": frozenset({None}),
    "client_no_context_takeover": frozenset({None}),
    _SERVER_BITS: frozenset(map(str, range(MIN_BITS, MAX_BITS + 1))),
    "client_max_window_bits": frozenset({None, *map(str, range(8, MAX_BITS + 1))}),
}
"""Parameters that can be granted, with their values. A server window of 8 bits cannot (zlib)."""


class Headers(Protocol):
    """Request headers by case-insensitive name, repeated ones joined with commas."""

    def get(self, name: str, default: str, /) -> str:
        """Return a header's value, or ``default``."""


class HandshakeError(Exception):
    """An invalid upgrade request.

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
    """Items of a comma-separated header (``Connection``, ``Sec-WebSocket-Protocol``)."""
    return [item for part in value.split(",") if (item := part.strip(" \t"))]


def accept_key(key: str) -> str:
    """``Sec-WebSocket-Accept`` for a client's ``Sec-WebSocket-Key`` (RFC 6455 §4.2.2)."""
    digest = hashlib.sha1(key.encode("ascii") + _GUID, usedforsecurity=False).digest()
    return binascii.b2a_base64(digest, newline=False).decode()


def check_upgrade(method: str, headers: Headers) -> str | None:
    """Return the client's key of a valid upgrade, None for a request without one.

    Raises ``HandshakeError`` for an invalid upgrade to a WebSocket.
    """
    if not _lists(headers.get("Upgrade", ""), "websocket"):
        return None
    if method != "GET":
        raise HandshakeError(400, "a WebSocket is opened with GET")
    if not _lists(headers.get("Connection", ""), "upgrade"):
        # Typical of a proxy that is not configured to pass hop-by-hop headers on.
        raise HandshakeError(400, "Connection header does not say upgrade")
    if headers.get("Sec-WebSocket-Version", "").strip() != _VERSION:
        raise HandshakeError(
            426,
            "WebSocket version 13 is needed",
            {"Sec-WebSocket-Version": _VERSION, "Upgrade": "websocket", "Connection": "Upgrade"},
        )
    key = headers.get("Sec-WebSocket-Key", "").strip()
    if _NONCE.fullmatch(key) is None:
        raise HandshakeError(400, "Sec-WebSocket-Key is not 16 bytes of base64")
    return key


def response_bytes(
    accept: str, subprotocol: str | None = None, extra: Iterable[tuple[str, str]] = ()
) -> bytes:
    """Build the whole 101 response, ``extra`` headers included.

    Raises ``ValueError`` for a name or value that would start a new line, or has other control
    characters.
    """
    text = f"{_ACCEPTED}{accept}\r\n"
    if subprotocol is not None:
        text += _line("Sec-WebSocket-Protocol", subprotocol)
    for name, value in extra:
        text += _line(name, value)
    return f"{text}\r\n".encode("latin-1")


class Agreement(NamedTuple):
    """Compression as agreed on in the handshake."""

    window_bits: int
    """Window of the server's messages, as a power of two; that of the client's does not matter."""
    answer: str
    """Value of ``Sec-WebSocket-Extensions`` in the response."""


def negotiate(offers: str) -> Agreement | None:
    """Accept the first acceptable offer of compression; None if there is none.

    ``offers`` is ``Sec-WebSocket-Extensions``. An offer with an unknown parameter, a parameter
    repeated or a value out of range is declined (RFC 7692 §7.1), other extensions are ignored.
    Raises ``HandshakeError`` for a header that is not a list of extensions (RFC 6455 §9.1).
    """
    chosen = None
    for name, parameters in parse_extensions(offers):
        if name == DEFLATE and chosen is None:
            chosen = _grant(parameters)
    return chosen


def parse_extensions(header: str) -> Iterator[tuple[str, Parameters]]:
    """Split the header into extensions with their parameters, in order.

    Raises ``HandshakeError`` where it breaks the grammar.
    """
    for item in list_items(header):
        name, *parameters = item.split(";")
        yield _name(name), [_parameter(each) for each in parameters]


def _line(name: str, value: str) -> str:
    if not (name.isprintable() and value.isprintable()):
        raise ValueError(f"line break in header {name!r}")
    return f"{name}: {value}\r\n"


def _lists(value: str, item: str) -> bool:
    """Whether a comma-separated header has an item, in any case."""
    lower = value.lower()
    return lower == item or item in list_items(lower)


def _grant(parameters: Parameters) -> Agreement | None:
    given = dict(parameters)
    if len(given) < len(parameters):
        return None
    if any(value not in _GOOD_VALUES.get(name, ()) for name, value in parameters):
        return None
    answer = f"{DEFLATE}; server_no_context_takeover; client_no_context_takeover"
    bits = given.get(_SERVER_BITS)
    if bits is None:
        return Agreement(MAX_BITS, answer)
    return Agreement(int(bits), f"{answer}; {_SERVER_BITS}={bits}")


def _parameter(text: str) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    if not equals:
        return _name(name), None
    value = value.strip(" \t")
    if not _VALUE.fullmatch(value):
        raise _malformed()
    return _name(name), value.strip('"').replace("\\", "")


def _name(text: str) -> str:
    name = text.strip(" \t")
    if not _NAME.fullmatch(name):
        raise _malformed()
    return name


def _malformed() -> HandshakeError:
    return HandshakeError(400, "Sec-WebSocket-Extensions is malformed")
