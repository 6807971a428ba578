"""Redaction of text for logs and people: credentials, and control characters."""

from __future__ import annotations

import re
from collections.abc import Iterable

REMOVED = "[redacted]"

_CREDENTIALS: tuple[tuple[tuple[str, ...], re.Pattern[str], str], ...] = (
    # A whole query string, not only ``token=``: ``%74oken=`` is the same parameter to a server.
    (("?",), re.compile(r"\?(?=\S*=)\S*"), "?" + REMOVED),
    (
        ("authorization",),
        re.compile(r"""(?i)(authorization["']?\s*[:=,]\s*)(b?"[^"\n]*"|b?'[^'\n]*'|[^\n]+)"""),
        r"\1" + REMOVED,
    ),
    (("bearer",), re.compile(r"""(?i)\b(bearer(?:\s+|[.=:]|%20))[^\s"',;]+"""), r"\1" + REMOVED),
    (
        ("token", "ticket", "secret", "password"),
        re.compile(
            r"""(?i)((?:token|ticket|secret|password)["']?\s*[=:]\s*["']?)[^\s&"',;()\[\]]+"""
        ),
        r"\1" + REMOVED,
    ),
    (("signature=",), re.compile(r"(?i)(\bsignature=)[^\s&\"'#<>]+"), r"\1" + REMOVED),
    # A JWT starts with the base64 of ``{"``, ``{ `` or ``{`` and a line break.
    (
        ("ey", "ew"),
        re.compile(r"\be[yw][A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?"),
        REMOVED,
    ),
)
"""Patterns of credentials, each with the words in lower case of which a match has one at least:
most lines have none of them, and looking for a word is cheaper than for a pattern."""

_UNSAFE = [
    *range(0x20),  # C0, with CR, LF, ESC
    *range(0x7F, 0xA0),  # DEL, C1: 0x9B alone starts an escape sequence on some terminals
    0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A),  # bidi controls
    *range(0x206A, 0x2070), *range(0xFFF9, 0xFFFC),  # deprecated and annotating format characters
    0x2028, 0x2029,  # line breaks to many readers
    0x200B, 0xFEFF,
    *range(0xD800, 0xE000),  # lone surrogates cannot be encoded
]  # fmt: skip
_SHORT = {0x09: "\\t", 0x0A: "\\n", 0x0D: "\\r"}
_FOR_TEXT = {
    code: _SHORT.get(code, f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
    for code in _UNSAFE
}
_FOR_JSON = {code: f"\\u{code:04x}" for code in _UNSAFE}


class Redactor:
    """Removes credentials: what looks like one, and ``secrets``, strings known to be one."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = sorted(filter(None, secrets), key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, self._secrets)))

    def __call__(self, text: str) -> str:
        """Return the text with ``[redacted]`` in place of each credential."""
        for secret in self._secrets:
            if secret in text:
                text = self._known.sub(REMOVED, text)
                break
        # Letters that are not ASCII may count as others to a pattern that ignores case.
        lower = text.lower() if text.isascii() else None
        for words, pattern, replacement in _CREDENTIALS:
            if lower is None:
                text = pattern.sub(replacement, text)
                continue
            for word in words:
                if word in lower:
                    text = pattern.sub(replacement, text)
                    break
        return text


def one_line(text: str) -> str:
    """Escape what could break a line, move a cursor or turn the reading direction."""
    return text if text.isprintable() else text.translate(_FOR_TEXT)


def one_json_line(text: str) -> str:
    """Escape the same in JSON text (as ``json.dumps`` made it), leaving its meaning as it was."""
    return text if text.isprintable() else text.translate(_FOR_JSON)
