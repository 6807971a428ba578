"""``wsserver serve`` as a child process, with any arguments, event loop and terminal."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from tests.support import preloaded, tokens
from tests.support.waiting import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]

LOOPS = {
    "asyncio": "import sys; sys.modules['uvloop'] = None",
    "uvloop": "import uvloop",
}
"""A line of Python that runs before the command and selects the event loop."""
LOOPS_ONE_LONG = [pytest.param("asyncio", marks=pytest.mark.long), "uvloop"]
"""For tests of what the loop hardly matters to: every run has the loop that servers choose."""


def environment(**more: str) -> dict[str, str]:
    """The environment without settings of wsserver and wsctl, with the source tree importable."""
    ours = ("WSSERVER_", "WSCTL_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return clean | {"PYTHONPATH": str(ROOT)} | more


def command(loop: str | None = None) -> list[str]:
    """The command ``wsserver``, on a loop of ``LOOPS`` or on the one it chooses."""
    if loop is None:
        return [sys.executable, "-m", "wsserver"]
    code = f"{LOOPS[loop]}; from wsserver.cli import main; main(prog_name='wsserver')"
    return [sys.executable, "-c", code]


def refused(*args: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run ``wsserver`` with arguments that make it end by itself: preloaded, where that can be."""
    if preloaded.IS_POSSIBLE:
        return preloaded.run(args, cwd=folder, env=environment(**env), timeout=PATIENCE_S)
    return executed(*args, folder=folder, **env)


def executed(*args: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """The same, of a process that imports what it needs."""
    return subprocess.run(
        [*command(), *args],
        cwd=folder,
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


class ServerProcess:
    """A running server. ``with ServerProcess(folder, "--dev") as server:``.

    ``prefix``: a command that executes the server's command, which follows it. ``is_preloaded``: it
    is a fork of a process that has imported the server, where the start is not what is tested.
    """

    def __init__(
        self,
        folder: Path,
        *args: str,
        loop: str | None = None,
        env: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        stderr: int = subprocess.PIPE,
        terminal: int | None = None,
        is_preloaded: bool = False,
    ) -> None:
        self.folder = folder
        self.url = ""
        self.lines: list[str] = []
        """What it has written to stderr so far; all of it after ``wait``."""
        self._changed = threading.Condition()
        self._is_at_end = False
        arguments = ["serve", "--port", "0", *args]
        its_environment = environment(**(env or {}))
        self.process: subprocess.Popen[bytes] | preloaded.ForkedProcess
        if is_preloaded and preloaded.IS_POSSIBLE:
            self.process = preloaded.start(arguments, cwd=folder, env=its_environment)
        else:
            self.process = subprocess.Popen(
                [*prefix, *command(loop), *arguments],
                cwd=folder,
                env=its_environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
        # A terminal's other end, or the end of the pipe.
        self._stream = self.process.stderr if terminal is None else os.fdopen(terminal, "rb")
        self._reader = threading.Thread(target=self._read, daemon=True)

    def start(self) -> None:
        """Wait until it listens."""
        self._reader.start()
        try:
            self.url = self.wait_for(r"^listening on (http://\S+)$")[1]
        except BaseException:
            self.kill()
            raise

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def ws_url(self) -> str:
        return f"ws{self.url.removeprefix('http')}"

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first match in a line of stderr; waits for it."""

        def find() -> re.Match[str] | None:
            return next((m for line in self.lines if (m := re.search(pattern, line))), None)

        with self._changed:
            self._changed.wait_for(lambda: find() or self._is_at_end, PATIENCE_S)
            found = find()
        assert found is not None, "\n".join([f"no line with {pattern!r}:", *self.lines[-20:]])
        return found

    def send_signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Its exit status; ``lines`` is complete then."""
        status = self.process.wait(timeout_s)
        self._reader.join(PATIENCE_S)
        return status

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal that ends it; its exit status."""
        self.send_signal(number)
        return self.wait()

    def kill(self) -> None:
        """Leave no process behind, also after a failed test."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.wait()

    def websocket(self, path: str, token: str) -> str:
        """The URL of a WebSocket with a token in its query."""
        return f"{self.ws_url}{path}?token={token}"

    def token(self, user: str = "ops", role: str = "admin", **claims: Any) -> str:
        """A token signed with its development secret."""
        secret = (self.folder / "var" / "dev-jwt-secret").read_bytes()
        return tokens.token(
            user, key=secret, **{"role": role, "exp": 2**33, "exp_in": None, **claims}
        )

    def _read(self) -> None:
        assert self._stream is not None
        # Reading a terminal fails once the process that wrote to it has ended.
        with self._stream as stream, contextlib.suppress(OSError):
            for line in stream:
                with self._changed:
                    self.lines.append(line.decode().rstrip("\r\n"))
                    self._changed.notify_all()
        with self._changed:
            self._is_at_end = True
            self._changed.notify_all()


def shell(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command line in a shell."""
    return subprocess.run(
        ["sh", "-c", script],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def files(folder: Path, names: Sequence[str]) -> dict[str, bytes]:
    """The content of files, to see that they are unchanged."""
    return {name: (folder / name).read_bytes() for name in names}
