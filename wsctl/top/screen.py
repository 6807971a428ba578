"""Full-screen terminal: alternate screen, raw keys, restored at the end."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

from rich.console import Console
from rich.text import Text

# The alternate screen, no cursor, no wrapping: a character that is wider in the terminal than
# computed must not wrap its line.
_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
_LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
# Synchronized output, in terminals that support it.
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"
_ERASE_LINE = "\x1b[2K"
# Emoji made of several characters (joined, coloured, flags) and those that a selector (VS16) made
# wide: some terminals show the pieces.
_DISPUTED = re.compile(
    "(?:[\U0001f1e6-\U0001f1ff]{1,2}|.[\ufe0e\ufe0f\u20e3\U0001f3fb-\U0001f3ff]+)"
    "(?:\u200d.[\ufe0e\ufe0f\U0001f3fb-\U0001f3ff]*)*"
    "|.(?:\u200d.[\ufe0e\ufe0f\U0001f3fb-\U0001f3ff]*)+"
)


class Screen:
    """Controls the terminal within ``with Screen(...)``: unbuffered keys without echo, frames.

    ``on_change`` is called, from a signal handler, when the size has changed or the program has
    come back from being stopped (Ctrl-Z).
    """

    def __init__(self, *, has_colour: bool, on_change: Callable[[], None]) -> None:
        self._in = sys.stdin.fileno()
        self._out = sys.stdout.fileno()
        self._has_colour = has_colour
        self._on_change = on_change
        self._before: list[Any] = []
        self._lines: list[str] = []

    def __enter__(self) -> Screen:
        sys.stdout.flush()
        self._before = termios.tcgetattr(self._in)
        self._handlers = {
            number: signal.signal(number, handler)
            for number, handler in (
                (signal.SIGWINCH, self._resized),
                (signal.SIGTSTP, self._stopped),
            )
        }
        try:
            self._take()
        except BaseException:
            self._give_back()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._give_back()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines; 80 x 24 if the terminal reports none."""
        try:
            columns, lines = os.get_terminal_size(self._out)
        except OSError:
            columns = lines = 0
        return columns or 80, lines or 24

    def read(self) -> bytes:
        """Typed bytes; empty if the terminal is gone."""
        try:
            return os.read(self._in, 4096)
        except OSError:
            return b""

    def draw(self, lines: Sequence[Text], width: int) -> None:
        """Show a frame; only lines that have changed are written.

        Each line is positioned absolutely, so that no other can move it.
        """
        rendered = list(_rendered(lines, width, self._has_colour))
        changed = [
            f"\x1b[{number + 1};1H{_ERASE_LINE}{text}"
            for number, text in enumerate(rendered)
            if number >= len(self._lines) or self._lines[number] != text
        ]
        if changed:
            self._write(_BEGIN + "".join(changed) + _END)
        self._lines = rendered

    def clear(self) -> None:
        """Clear the screen: the next frame is drawn completely."""
        self._lines = []
        self._write("\x1b[2J")

    def _take(self) -> None:
        tty.setcbreak(self._in)
        self._write(_ENTER)
        self._lines = []

    def _give_back(self) -> None:
        with contextlib.suppress(OSError):
            self._write(_LEAVE)
        with contextlib.suppress(OSError, termios.error):
            termios.tcsetattr(self._in, termios.TCSADRAIN, self._before)

    def _write(self, text: str) -> None:
        data = text.encode(sys.stdout.encoding or "utf-8", "replace")
        while data:
            data = data[os.write(self._out, data) :]

    def _resized(self, _: int, __: FrameType | None) -> None:
        self._on_change()

    def _stopped(self, number: int, _: FrameType | None) -> None:
        """Ctrl-Z: restore the terminal for the shell, take it again on resume."""
        self._give_back()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.signal(number, self._stopped)
        self._take()
        self._on_change()


def _rendered(lines: Sequence[Text], width: int, has_colour: bool) -> Iterator[str]:
    """Lines as terminal output, without line ends."""
    target = io.StringIO()
    console = Console(
        file=target,
        width=width + 1,  # one cell more, so that rich does not wrap
        force_terminal=True,
        color_system="standard",
        no_color=not has_colour,
        legacy_windows=False,
        highlight=False,
    )
    for line in lines:
        for column, part in _pieces(line):
            if column:
                target.write(f"\x1b[{column + 1}G")
            console.print(part, end="", no_wrap=True, crop=False, overflow="ignore")
        yield target.getvalue()
        target.seek(0)
        target.truncate()


def _pieces(line: Text) -> Iterator[tuple[int, Text]]:
    """The line cut after each character whose width terminals disagree about.

    With the column at which each piece begins, to position it explicitly.
    """
    column = 0
    for part in line.divide([match.end() for match in _DISPUTED.finditer(line.plain)]):
        yield column, part
        column += part.cell_len
