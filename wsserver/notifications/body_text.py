"""Decoding of HTTP bodies to text: Content-Encoding, and charsets that may be labelled wrong."""

from __future__ import annotations

import codecs
import re
import zlib
from collections.abc import Iterator, Mapping

TEXT_LIMIT_BYTES = 16 * 1024
"""Limit of a decompressed body."""

_CHARSET = re.compile(r"""(?i)charset\s*=\s*["']?([A-Za-z0-9._:-]{1,40})""")
_DECLARED = re.compile(rb"""(?i)(?:encoding|charset)\s*=\s*["']?([A-Za-z0-9._:-]{1,40})""")
"""Charset in the body itself: an XML declaration, or HTML's meta element."""
_DECLARED_WITHIN = 1024
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16: it begins with the same two bytes
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WIDE = re.compile(r"utf[-_]?(16|32)")
_SHIFTING = re.compile(r"utf[-_]?7|iso[-_]?2022|hz")
"""Charsets in which ASCII bytes, which are valid UTF-8, mean something else."""
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32
_ESCAPE = re.compile(r"\\u([0-9A-Fa-f]{4})")
_NOT_CHARSETS = frozenset({"unicode-escape", "raw-unicode-escape", "idna", "punycode"})
"""Text encodings of Python that are not charsets (IANA): notations for literals and host names."""


def text_of(headers: Mapping[str, str], body: bytes) -> str:
    """Decode a body, or the beginning of one; never raises. ``headers``: by lower-case name.

    In this order: a byte order mark; UTF-8 where the bytes are valid, whatever the label says, as
    hardly any other text is; the charset of Content-Type or of the body's own declaration;
    GB 18030, which gateways in China use without a label; Latin-1, which decodes any bytes.
    """
    body = _decompressed(headers.get("content-encoding", ""), body)
    for mark, charset in _MARKS:
        if body.startswith(mark):
            return body[len(mark) :].decode(charset, "replace")
    labels = [*_labels(headers.get("content-type", ""), body)]
    if not any(_is_ambiguous(label, body) for label in labels):
        labels.insert(0, "utf-8")
    for charset in (*labels, "utf-8", "gb18030"):
        text = _decoded(body, charset)
        if text is not None:
            return text
    return body.decode("latin-1")


def unescaped(text: str) -> str:
    """Replace JSON's ``\\uXXXX``, as PHP encodes everything beyond ASCII."""
    if "\\u" not in text:
        return text
    plain = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _labels(content_type: str, body: bytes) -> Iterator[str]:
    match = _CHARSET.search(content_type)
    if match is not None:
        yield match[1].lower()
    declared = _DECLARED.search(body, 0, _DECLARED_WITHIN)
    if declared is not None:
        yield declared[1].decode("ascii").lower()


def _is_ambiguous(label: str, body: bytes) -> bool:
    """Whether valid UTF-8 may be another text by this label. UTF-16 and 32 have zero bytes."""
    return bool(_SHIFTING.match(label)) or (bool(_WIDE.match(label)) and b"\0" in body)


def _decoded(body: bytes, charset: str) -> str | None:
    """Decode; None: unknown charset, or invalid bytes. A last character that is cut is left out.

    GB 2312 and GBK are decoded as GB 18030, their superset, which is sent under these labels.
    """
    if charset in ("gb2312", "gbk", "gb_2312-80", "x-gbk", "cp936"):
        charset = "gb18030"
    try:
        codec = codecs.lookup(charset)
        if not codec._is_text_encoding or codec.name in _NOT_CHARSETS:
            return None
        return codecs.getincrementaldecoder(charset)().decode(body)
    except (LookupError, ValueError):
        # LookupError also for codecs that cannot decode incrementally.
        return None


def _decompressed(content_encoding: str, body: bytes) -> bytes:
    """Undo gzip or deflate, which servers may use unasked; unchanged where that fails."""
    if content_encoding.strip().lower() not in ("gzip", "x-gzip", "deflate"):
        return body
    for window_bits in (_GZIP_OR_ZLIB, -zlib.MAX_WBITS):  # deflate is sent with and without zlib
        try:
            return zlib.decompressobj(window_bits).decompress(body, TEXT_LIMIT_BYTES)
        except zlib.error:
            continue
    return body
