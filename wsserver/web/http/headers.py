"""Request headers: what every parser offers, and the parser of common HTTP/1.1 heads (httptools).

Tornado parses all other heads.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import httptools

HEAD_LIMIT_BYTES = 8192

_END = b"\r\n\r\n"
_TARGET = re.compile(rb"(/[!-~]*?)(?:\?([!-~]*))?")
_NAME = re.compile(rb"[A-Za-z0-9-]+")
_ALLOWED = bytes((9, 10, 13, *range(32, 127), *range(128, 256)))
_UNCOMMON = frozenset({"", "transfer-encoding", "expect", "trailer"})


class Headers(Protocol):
    """A request's headers, by case-insensitive name."""

    def get(self, name: str, default: str, /) -> str:
        """Return the values joined with commas, or ``default``."""
        ...

    def get_list(self, name: str) -> Sequence[str]:
        """Return the values in their order."""
        ...

    def __contains__(self, name: str, /) -> bool: ...


@dataclass(slots=True)
class RequestHead:
    """Request line and headers (``Headers``)."""

    method: str
    path: str
    query: str
    fields: dict[str, list[str]]
    """Values by lower-case name, without surrounding whitespace."""
    size: int
    """Bytes, the empty line included."""

    def get(self, name: str, default: str = "", /) -> str:
        """Return the values joined with commas (RFC 9110 §5.3), or ``default``."""
        values = self.fields.get(_lower(name))
        return default if values is None else ",".join(values)

    def get_list(self, name: str) -> Sequence[str]:
        """Return the values in their order."""
        return self.fields.get(_lower(name), ())

    def __contains__(self, name: str, /) -> bool:
        return _lower(name) in self.fields


def parse_head(received: bytes | bytearray) -> RequestHead | None:
    """Parse the head that ``received`` begins with (RFC 9112 §2-§5).

    None for an incomplete head, and for anything uncommon: another version than HTTP/1.1, folded
    lines, bare CR or LF, control characters, a body of unknown length, two Host headers. Tornado
    decides about these. llhttp, the parser in httptools, accepts some of them: so the request line
    is compared byte by byte, and there has to be one line for each header.
    """
    size = received.find(_END, 0, HEAD_LIMIT_BYTES) + len(_END)
    if size < len(_END):
        return None
    head = bytes(received[:size])
    collector = _Collector()
    parser = httptools.HttpRequestParser(collector)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass  # raised at the end of the head of every upgrade
    except httptools.HttpParserError:
        return None
    method, target, fields = parser.get_method(), collector.target, collector.fields
    match = _TARGET.fullmatch(target)
    lines = sum(map(len, fields.values())) + 2  # the request line, and the empty one
    if (
        match is None
        or not head.startswith(b"%b %b HTTP/1.1\r\n" % (method, target))
        or not head.count(b"\r\n") == head.count(b"\r") == head.count(b"\n") == lines
        or head.translate(None, _ALLOWED)
        or len(fields.get("host", ())) != 1
        or not _UNCOMMON.isdisjoint(fields)
    ):
        return None
    path, query = match.groups(b"")
    return RequestHead(method.decode(), path.decode(), query.decode(), fields, size)


class _Collector:
    """Receives the parts of a head from httptools."""

    __slots__ = ("fields", "target")

    def __init__(self) -> None:
        self.target = b""
        self.fields: dict[str, list[str]] = {}

    def on_url(self, target: bytes) -> None:
        """Request target (httptools' callback)."""
        self.target += target

    def on_header(self, raw_name: bytes, raw_value: bytes) -> None:
        """One header (httptools' callback)."""
        name = _name(raw_name)
        value = raw_value.strip(b" \t").decode("latin-1")
        if name in self.fields:
            self.fields[name].append(value)
        else:
            self.fields[name] = [value]


@lru_cache(maxsize=1000)
def _name(raw: bytes) -> str:
    """Lower-case name, "" for an uncommon one; cached, as requests repeat the same few."""
    return raw.decode().lower() if _NAME.fullmatch(raw) else ""


@lru_cache(maxsize=1000)
def _lower(name: str) -> str:
    return name.lower()
