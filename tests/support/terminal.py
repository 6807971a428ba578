"""A program on a pseudo-terminal, and its screen as text."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

import pyte
from rich.cells import cell_len

from tests.support.fake_server import ADMIN, FakeServer
from tests.support.waiting import PATIENCE_S

WSCTL = [sys.executable, "-m", "wsctl"]
ROOT = Path(__file__).resolve().parents[2]
USUAL = {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "NO_COLOR": ""}


class Terminal:
    """``with Terminal("top", columns=80, lines=24) as terminal:`` runs wsctl on a terminal."""

    def __init__(
        self,
        *args: str,
        columns: int = 80,
        lines: int = 24,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        command: list[str] | None = None,
    ) -> None:
        self._main, self._side = os.openpty()
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        """All that the program has sent."""
        self.resize(columns, lines)
        self.before = termios.tcgetattr(self._side)
        self.process = subprocess.Popen(
            [*(command or WSCTL), *args],
            stdin=self._side, stdout=self._side, stderr=self._side, start_new_session=True,
            cwd=cwd, env={**os.environ, **USUAL, **(env or {})},
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._main)
        os.close(self._side)

    def resize(self, columns: int, lines: int) -> None:
        """Resize the terminal; the program gets SIGWINCH."""
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self._main, termios.TIOCSWINSZ, size)
        if self.screen.columns != columns or self.screen.lines != lines:
            self.screen.resize(lines, columns)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._main, text.encode())

    def kill(self, number: int) -> None:
        self.process.send_signal(number)

    @property
    def text(self) -> str:
        """The lines of the screen."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    def line(self, words: str) -> str:
        """The first line of the screen that has the words."""
        return next(line for line in self.screen.display if words in line)

    def until(self, *words: str, without: tuple[str, ...] = ()) -> str:
        """Wait until all the words are on the screen, and none of the others; returns the text."""
        return self.wait(
            lambda: all(w in self.text for w in words) and not any(w in self.text for w in without)
        )

    def wait(self, is_there: Callable[[], bool]) -> str:
        """Wait until something is true of the screen."""
        deadline = time.monotonic() + PATIENCE_S
        while not is_there():
            left = deadline - time.monotonic()
            assert left > 0, self.text
            has_ended = self.process.poll() is not None
            assert self._take(0.2) or not has_ended or is_there(), self.text
        return self.text

    def end(self, number: int | None = None) -> int:
        """Wait for the program's end (after a signal); its exit status."""
        if number is not None:
            self.kill(number)
        deadline = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.text
            self._take(0.05)
        while self._take(0.0):
            pass
        return self.process.returncode

    def _take(self, timeout_s: float) -> bool:
        """Take in what the program sends; False if it sent nothing in time."""
        if not select.select([self._main], [], [], timeout_s)[0]:
            return False
        data = os.read(self._main, 65536)
        self.raw += data
        self._stream.feed(data)
        return bool(data)

    @property
    def is_as_it_was(self) -> bool:
        """Cursor shown, usual screen, wrapping on, line discipline as before?"""

        def last(on: bytes, off: bytes) -> bool:
            return self.raw.rfind(on) > self.raw.rfind(off) or off not in self.raw

        return (
            termios.tcgetattr(self._side) == self.before
            and last(b"\x1b[?25h", b"\x1b[?25l")
            and last(b"\x1b[?1049l", b"\x1b[?1049h")
            and last(b"\x1b[?7h", b"\x1b[?7l")
        )


def column_of(line: str, words: str) -> int:
    """The cell at which words begin in a line of a screen."""
    return cell_len(line[: line.index(words)])


def on_terminal(
    *args: str,
    typed: bytes = b"",
    until: bytes | None = None,
    signal_number: int = signal.SIGINT,
    env: dict[str, str] | None = None,
) -> tuple[int, bytes]:
    """Run on a pseudo-terminal; with ``until``, send the signal once that has been shown."""
    main, side = pty.openpty()
    process = subprocess.Popen(
        [*WSCTL, *args], stdin=side, stdout=side, stderr=side, start_new_session=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24", **(env or {})},
    )  # fmt: skip
    os.close(side)
    if typed:
        os.write(main, typed)
    shown = b""
    while True:
        try:
            chunk = os.read(main, 65536)
        except OSError:
            break
        if not chunk:
            break
        shown += chunk
        if until is not None and until in shown:
            process.send_signal(signal_number)
            until = None
    os.close(main)
    return process.wait(PATIENCE_S), shown


def on_terminal_of(server: FakeServer, *args: str, typed: bytes = b"") -> tuple[int, str]:
    """Run on an 80-column terminal without colours."""
    target = ("--url", server.url, "--token", ADMIN)
    code, shown = on_terminal(*target, *args, typed=typed, env={"NO_COLOR": "1"})
    return code, shown.decode()
