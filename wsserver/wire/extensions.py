"""Negotiates extensions in the opening handshake: permessage-deflate (RFC 7692 §7.1) or none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

from wsserver.wire.deflate import MAX_BITS, MIN_BITS
from wsserver.wire.handshake import HandshakeError, list_items

DEFLATE: Final = "permessage-deflate"

Parameters: TypeAlias = list[tuple[str, str | None]]
"""Names and values, None for a name that stands alone."""

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
"""What an offer may say, and what of it can be granted. A server window of 8 bits cannot."""


class Agreement(NamedTuple):
    """What the server grants a client."""

    window_bits: int
    """Window of the server's messages, as a power of two. Of the client's any will do."""
    answer: str
    """Value of ``Sec-WebSocket-Extensions`` in the response."""


def negotiate(offers: str) -> Agreement | None:
    """Grant the first offer of compression that can be granted; None: there is none.

    ``offers`` is ``Sec-WebSocket-Extensions``. An offer with an unknown parameter, a parameter
    given twice or a value out of range is declined (RFC 7692 §7.1), other extensions are passed
    over. Raises ``HandshakeError`` for a header that is no list of extensions (RFC 6455 §9.1).
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
