"""Headers of tus 1.0.0 (https://tus.io/protocols/resumable-upload): reading and writing them."""

from __future__ import annotations

import base64
import binascii
import re
from email.utils import formatdate
from typing import Final, NamedTuple

from wsserver.errors import BadRequest, UnsupportedMediaType, ValidationFailed
from wsserver.extensions.files.errors import TusVersionUnsupported
from wsserver.extensions.files.model import BINARY, media_type_of, name_fault
from wsserver.identity.ids import ID_FORM, is_id
from wsserver.web.http.headers import Headers

VERSION: Final = "1.0.0"
ANSWER_HEADERS: Final = {"Tus-Resumable": VERSION, "Tus-Version": VERSION}
EXTENSIONS: Final = "creation,creation-with-upload,termination,checksum,expiration"
PART_TYPE: Final = "application/offset+octet-stream"
METADATA_LIMIT = 4096
"""Characters of ``Upload-Metadata``."""

_NUMBER = re.compile(r"0|[1-9][0-9]{0,15}")
_KEY = re.compile(r"[!-+\--~]{1,64}")


class Metadata(NamedTuple):
    """What a client says about a file; other keys are kept for it and not read."""

    filename: str = "file"
    content_type: str = BINARY
    session_id: str | None = None


def require_version(headers: Headers) -> None:
    """Raise ``TusVersionUnsupported`` for another version of the protocol, or none."""
    given = headers.get("Tus-Resumable", "")
    if given != VERSION:
        raise TusVersionUnsupported(
            f"Tus-Resumable is {given or 'missing'}; this server has {VERSION}"
        )


def has_part(headers: Headers) -> bool:
    """Whether a request for a new upload brings a part of it."""
    return headers.get("Content-Type", "").strip().lower() == PART_TYPE


def require_part_type(headers: Headers) -> None:
    """Raise ``UnsupportedMediaType`` for another type than that of parts."""
    if not has_part(headers):
        raise UnsupportedMediaType(f"send Content-Type: {PART_TYPE}")


def number_in(headers: Headers, name: str) -> int:
    """A header with a number; raises ``BadRequest`` without it, and for anything else."""
    text = headers.get(name, "")
    if _NUMBER.fullmatch(text) is None:
        fault = "is missing" if not text else "is no number, or too large a one"
        raise BadRequest(f"{name} {fault}", field=name)
    return int(text)


def length_in(headers: Headers) -> int:
    """The length of a new upload."""
    if "Upload-Defer-Length" in headers:
        raise BadRequest("the length has to be known: send Upload-Length", field="Upload-Length")
    return number_in(headers, "Upload-Length")


def content_length(headers: Headers) -> int | None:
    """The length of a request's body, if it is declared."""
    text = headers.get("Content-Length", "")
    return int(text) if _NUMBER.fullmatch(text) is not None else None


def checksum_in(headers: Headers) -> bytes | None:
    """The SHA-256 that a part is announced to have; None: nothing is said.

    Raises ``BadRequest`` for another algorithm.
    """
    text = headers.get("Upload-Checksum", "")
    if not text:
        return None
    algorithm, _, encoded = text.partition(" ")
    if algorithm != "sha256":
        raise BadRequest("Upload-Checksum takes sha256", field="Upload-Checksum")
    digest = _decoded(encoded)
    if digest is None or len(digest) != 32:
        raise BadRequest("no SHA-256 in base64", field="Upload-Checksum")
    return digest


def metadata_in(text: str) -> Metadata:
    """What ``Upload-Metadata`` says; raises ``ValidationFailed`` with every fault."""
    if len(text) > METADATA_LIMIT:
        message = f"{len(text)} characters; at most {METADATA_LIMIT}"
        raise ValidationFailed([{"field": "Upload-Metadata", "message": message}])
    faults: list[dict[str, str]] = []
    found: dict[str, str] = {}
    for pair in text.split(",") if text.strip() else ():
        key, _, encoded = pair.strip().partition(" ")
        value = _text(encoded)
        if _KEY.fullmatch(key) is None or value is None:
            message = "pairs of a key and a value in base64 of UTF-8, with commas in between"
            faults.append({"field": "Upload-Metadata", "message": message})
        elif key in found:
            faults.append({"field": key, "message": "given twice"})
        else:
            found[key] = value
    given = found.get("content_type", found.get("filetype", ""))
    content_type = media_type_of(given) if given else BINARY
    if fault := name_fault(found.get("filename", "file")):
        faults.append({"field": "filename", "message": fault})
    if content_type is None:
        faults.append({"field": "content_type", "message": "no media type, as image/png"})
    session_id = found.get("session_id")
    if session_id is not None and not is_id(session_id):
        faults.append({"field": "session_id", "message": ID_FORM})
    if faults:
        raise ValidationFailed(faults)
    return Metadata(found.get("filename", "file"), content_type or BINARY, session_id)


def expires(at: float) -> str:
    """``Upload-Expires`` for seconds since the epoch."""
    return formatdate(at, usegmt=True)


def _decoded(encoded: str) -> bytes | None:
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None


def _text(encoded: str) -> str | None:
    raw = _decoded(encoded)
    try:
        return None if raw is None else raw.decode()
    except UnicodeDecodeError:
        return None
