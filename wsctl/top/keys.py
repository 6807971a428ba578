"""Decoder of a terminal's input into named keys."""

from __future__ import annotations

import codecs
import re

_NAMED = {
    "\x1b[A": "up", "\x1bOA": "up",
    "\x1b[B": "down", "\x1bOB": "down",
    "\x1b[C": "right", "\x1bOC": "right",
    "\x1b[D": "left", "\x1bOD": "left",
    "\x1b[H": "home", "\x1bOH": "home", "\x1b[1~": "home",
    "\x1b[5~": "page up", "\x1b[6~": "page down",
    "\x1b[Z": "backtab",
    "\t": "tab", "\r": "enter", "\n": "enter",
    "\x7f": "backspace", "\b": "backspace",
    "\x1b": "escape",
}  # fmt: skip
# A control sequence (ECMA-48 §5.4), one with a single shift (ESC O x), ESC, or any character.
_KEY = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1bO[@-~]|\x1b|.", re.DOTALL)


class Keys:
    """Incremental decoder of keys; a character may arrive in two pieces."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes) -> list[str]:
        """The keys in ``data``: characters, and names for the others; unknown ones are left out.

        A lone ESC is the key itself: terminals send a sequence in one write.
        """
        found = []
        for key in _KEY.findall(self._decoder.decode(data)):
            if key in _NAMED:
                found.append(_NAMED[key])
            elif len(key) == 1 and key.isprintable():
                found.append(key)
        return found
