"""Reads the head of an HTTP request, if it is one that needs no second thought."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

_REQUEST = re.compile(rb"([A-Z]{1,16}) (/[!-~]*?)(?:\?([!-~]*))? HTTP/1\.1")
_FIELD = re.compile(rb"([A-Za-z0-9-]+):([ -~\t\x80-\xff]*)")
_ODD = frozenset({"transfer-encoding", "expect", "trailer"})
END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Head:
    """Request line and header fields."""

    method: str
    path: str
    query: str
    fields: dict[str, list[str]]
    """By lower-case name, each value as it stands."""

    def get(self, name: str, default: str = "", /) -> str:
        """A field's values, joined with commas (RFC 9110 §5.3)."""
        values = self.fields.get(_lower(name))
        return default if values is None else ",".join(values)

    def get_list(self, name: str) -> Sequence[str]:
        """A field's values, in their order."""
        return self.fields.get(_lower(name), ())

    def __contains__(self, name: str, /) -> bool:
        return _lower(name) in self.fields


def read_head(head: bytes) -> Head | None:
    """Parse all up to the empty line (RFC 9112 §2-§5).

    None for whatever is unusual: another version, a body of unknown length, folded lines, odd
    characters. That is not a judgement: the full HTTP parser gives it.
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
        raw_name, raw_value = field.groups()
        name, value = _name(raw_name), raw_value.strip(b" \t").decode("latin-1")
        if name in fields:
            fields[name].append(value)
        else:
            fields[name] = [value]
    if len(fields.get("host", ())) != 1 or not _ODD.isdisjoint(fields):
        return None
    method, path, query = match.groups(b"")
    return Head(method.decode("ascii"), path.decode("ascii"), query.decode("ascii"), fields)


@lru_cache(maxsize=1000)
def _name(raw: bytes) -> str:
    """The lower-case name; thousands of requests in a row have the same few."""
    return raw.decode("ascii").lower()


@lru_cache(maxsize=1000)
def _lower(name: str) -> str:
    return name.lower()
