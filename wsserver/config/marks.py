"""Byte order marks, which editors on Windows put at the beginning of text files."""

from __future__ import annotations

import codecs

from wsserver.config.faults import Faulty


def without_mark(content: bytes) -> bytes:
    """A text file's bytes without a UTF-8 mark. Raises ``Faulty`` for UTF-16, which is not read."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise Faulty("is UTF-16 text (by its byte order mark); save it as UTF-8")
    return content.removeprefix(codecs.BOM_UTF8)
