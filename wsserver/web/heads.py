"""Reads the head of a WebSocket handshake, if it is one that needs no second thought."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_REQUEST = re.compile(rb"GET (/[!-~]*?)(?:\?([!-~]*))? HTTP/1\.1")
_FIELD = re.compile(rb"([A-Za-z0-9-]+):[ \t]*([ -~\t\x80-\xff]*?)[ \t]*")
_ODD = frozenset({"content-length", "transfer-encoding", "expect", "trailer"})
END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Head:
    """Request line and header fields of a GET without a body."""

    path: str
    query: str
    fields: dict[str, list[str]]
    """By lower-case name, each value as it stands."""

    def get(self, name: str, default: str = "", /) -> str:
        """A field's values, joined with commas (RFC 9110 §5.3)."""
        values = self.fields.get(name.lower())
        return default if values is None else ",".join(values)

    def get_list(self, name: str) -> Sequence[str]:
        """A field's values, in their order."""
        return self.fields.get(name.lower(), ())


def read_head(head: bytes) -> Head | None:
    """Parse all up to the empty line (RFC 9112 §2-§5).

    None for whatever is unusual: another method or version, a body, folded lines, odd characters.
    That is not a judgement: the full HTTP parser gives it.
    """
    request, *lines = head.split(b"\r\n")
    match = _REQUEST.fullmatch(request)
    if match is None:
        return None
    fields: dict[str, list[str]] = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            return None
        fields.setdefault(field[1].decode("ascii").lower(), []).append(field[2].decode("latin-1"))
    if len(fields.get("host", ())) != 1 or not _ODD.isdisjoint(fields):
        return None
    return Head(match[1].decode("ascii"), (match[2] or b"").decode("ascii"), fields)
