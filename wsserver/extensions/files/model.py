"""Files as values: names, types, ranges and the view of a file, without I/O."""

from __future__ import annotations

import re
import unicodedata
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from msgspec import Struct

from wsserver.clock import rfc3339, rfc3339_or_none
from wsserver.extensions.files.errors import RangeNotSatisfiable

NAME_LIMIT = 255
"""Characters of a file name."""
LEAST_CHARGE = 4096
"""What each file counts for at least, so that empty ones are bounded, too."""
BINARY: Final = "application/octet-stream"

_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,62}/[a-z0-9][a-z0-9!#$&^_.+-]{0,62}")
_SAFE_TYPES = re.compile(
    r"image/(?:png|jpeg|gif|webp|avif|bmp|heic|heif)"
    r"|audio/[a-z0-9.+-]+|video/[a-z0-9.+-]+|text/plain|text/csv"
    r"|application/(?:pdf|zip|gzip|json|rtf|msword|vnd\.[a-z0-9.-]+(?:\+(?:json|zip))?)"
)
"""Types that browsers do not execute; all others are sent as ``application/octet-stream``."""
_RANGE = re.compile(r"bytes=\s*([0-9]{0,18})-([0-9]{0,18})\s*", re.IGNORECASE)
_JOINERS = "\u200c\u200d"
"""Format characters that names of emoji and some scripts need."""


class File(Struct, frozen=True, kw_only=True):
    """A file, or an upload that is not complete. Times are seconds since the epoch."""

    file_id: str
    user_id: str
    """The user who uploads it."""
    organization_id: str | None
    session_id: str | None
    filename: str
    content_type: str
    length: int
    metadata: str = ""
    """``Upload-Metadata`` as it was sent."""
    created_at: float
    expires_at: float
    completed_at: float | None = None
    sha256: str | None = None
    unverified_from: int | None = None
    """Where a part began whose checksum has not been compared: bytes behind it do not count."""

    @property
    def is_complete(self) -> bool:
        """Whether all of it is stored and it can be read."""
        return self.completed_at is not None

    @property
    def charge(self) -> int:
        """What it counts for in the quota."""
        return max(self.length, LEAST_CHARGE)

    def view(self) -> dict[str, Any]:
        """The file as lists and events have it."""
        return {
            "file_id": self.file_id,
            "filename": self.filename,
            "content_type": self.content_type,
            "bytes": self.length,
            "sha256": self.sha256,
            "user_id": self.user_id,
            "session_id": self.session_id,
            "organization_id": self.organization_id,
            "created_at": rfc3339(self.created_at),
            "completed_at": rfc3339_or_none(self.completed_at),
            "expires_at": rfc3339(self.expires_at),
        }


def name_fault(name: str) -> str:
    """What is wrong with a file name; empty if nothing is."""
    if not name.strip():
        return "it is empty"
    if len(name) > NAME_LIMIT:
        return f"{len(name)} characters; at most {NAME_LIMIT}"
    if name in (".", ".."):
        return "it names a folder"
    if "/" in name or "\\" in name:
        return "it has a slash or a backslash"
    if any(map(_is_hidden, name)):
        return "it has control characters, or characters that change the direction of text"
    return ""


def _is_hidden(character: str) -> bool:
    category = unicodedata.category(character)
    return category in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in _JOINERS


def media_type_of(text: str) -> str | None:
    """A media type in lower case and without parameters; None: it is none."""
    kind = text.partition(";")[0].strip().lower()
    return kind if _MEDIA_TYPE.fullmatch(kind) else None


def served_type(content_type: str) -> str:
    """The type that a file is sent as: never one that a browser would execute."""
    return content_type if _SAFE_TYPES.fullmatch(content_type) else BINARY


def disposition(name: str) -> str:
    """``Content-Disposition`` of a download (RFC 6266), with the name in ASCII and in UTF-8."""
    plain = re.sub(r"[^ !#-\[\]-~]|%", "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


class Span(NamedTuple):
    """A part of a file: its first byte, and the one behind its last."""

    start: int
    end: int


def range_of(header: str, size: int) -> Span | None:
    """The part that ``Range`` asks for (RFC 9110 §14.2); None: the header is to be ignored.

    Several ranges are refused: small overlapping ones are a way to make a server send much more
    than the file. Raises ``RangeNotSatisfiable``.
    """
    if not header.lower().startswith("bytes="):
        return None
    if "," in header:
        raise RangeNotSatisfiable("one range at a time", size)
    match = _RANGE.fullmatch(header)
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1 if last else size)
        if last and int(last) < start:
            return None
    if start >= size or start >= end:
        raise RangeNotSatisfiable(f"the file has {size} bytes", size)
    return Span(start, end)
