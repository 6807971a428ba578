"""Request headers: the interface of all parsers, and one of common HTTP/1.1 heads (httptools).

Tornado parses all other heads.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol

import httptools

HEAD_LIMIT_BYTES = 8192

_END = b"\r\n\r\n"
_TARGET = re.compile(rb"(/[!-~]*?)(?:\?([!-~]*))?")
_NAME = re.compile(rb"[A-Za-z0-9-]+")
_ALLOWED = bytes((9, 10, 13, *range(32, 127), *range(128, 256)))
_JSON_LINE = b"\nContent-Type: application/json\r"
_UNCOMMON = frozenset({"", "transfer-encoding", "expect", "trailer"})


class Headers(Protocol):
    """A request's headers, by case-insensitive name."""

    def get(self, name: str, default: str, /) -> str:
        """Return the values joined with commas, or ``default``."""

    def get_list(self, name: str) -> Sequence[str]:
        """Return the values in their order."""

    def __contains__(self, name: str, /) -> bool: ...


@dataclass(slots=True)
class RequestHead:
    """Request line and headers (``Headers``), each once."""

    method: str
    path: str
    query: str
    fields: dict[str, str]
    """Values by lower-case name, without surrounding whitespace."""
    size: int
    """Bytes, the empty line included."""

    def get(self, name: str, default: str = "", /) -> str:
        """Return a header's value, or ``default``."""
        return self.fields.get(_lower(name), default)

    def get_list(self, name: str) -> Sequence[str]:
        """Return a header's value, if there is one, in a sequence."""
        value = self.fields.get(_lower(name))
        return () if value is None else (value,)

    def __contains__(self, name: str, /) -> bool:
        return _lower(name) in self.fields


def parse_head(received: bytes | bytearray) -> RequestHead | None:
    """Parse the head that ``received`` begins with (RFC 9112 §2-§5).

    None for an incomplete head, and for anything uncommon: another version than HTTP/1.1, repeated
    headers, folded lines, bare CR or LF, control characters, a body of unknown length. Tornado
    decides about these. llhttp, the parser in httptools, accepts some of them: so the request line
    is compared byte by byte, and there has to be exactly one line for each header. Only the line
    that says that the body is JSON may be there again, as clients add it to one that they have.
    """
    size = received.find(_END, 0, HEAD_LIMIT_BYTES) + len(_END)
    if size < len(_END):
        return None
    head = bytes(received[:size])
    targets: list[bytes] = []
    raw: dict[bytes, bytes] = {}
    parser = httptools.HttpRequestParser(_Callbacks(targets.append, raw.setdefault))
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass  # raised at the end of the head of every upgrade
    except httptools.HttpParserError:
        return None
    target = b"".join(targets)
    lines = head.count(b"\r\n")
    repeated = lines - len(raw) - 2  # besides the request line and the empty line
    match = _TARGET.fullmatch(target)
    if (
        match is None
        or not head.startswith(b"%b %b HTTP/1.1\r\n" % (parser.get_method(), target))
        or not lines == head.count(b"\r") == head.count(b"\n")
        or (repeated and head.count(_JSON_LINE) != repeated + 1)
        or head.translate(None, _ALLOWED)
    ):
        return None
    fields = {_name(name): value.strip(b" \t").decode("latin-1") for name, value in raw.items()}
    if len(fields) < len(raw) or "host" not in fields or not _UNCOMMON.isdisjoint(fields):
        return None
    path, query = match.groups(b"")
    return RequestHead(parser.get_method().decode(), path.decode(), query.decode(), fields, size)


class _Callbacks(NamedTuple):
    """Callbacks of httptools; built-in ones, because there is a call for each header."""

    on_url: Callable[[bytes], object]
    on_header: Callable[[bytes, bytes], object]


@lru_cache(maxsize=1000)
def _name(raw: bytes) -> str:
    """Lower-case name, "" for an uncommon one; cached, as requests repeat the same few."""
    return raw.decode().lower() if _NAME.fullmatch(raw) else ""


@lru_cache(maxsize=1000)
def _lower(name: str) -> str:
    return name.lower()
