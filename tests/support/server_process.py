"""``wsserver serve`` as a child process, with any arguments, event loop and terminal."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support import tokens

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 15.0
"""For what takes a moment; a test that waits as long has failed."""

LOOPS = {
    "asyncio": "import sys; sys.modules['uvloop'] = None",
    "uvloop": "import uvloop",
}
"""Whichever loop is installed, both are tested: a line that runs before the command."""


def environment(**more: str) -> dict[str, str]:
    """The environment without settings of anybody's, with the source tree importable."""
    ours = ("WSSERVER_", "WSCTL_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return clean | {"PYTHONPATH": str(ROOT)} | more


def command(loop: str | None = None) -> list[str]:
    """How to call ``wsserver``, on a loop of ``LOOPS`` or on the one it chooses."""
    if loop is None:
        return [sys.executable, "-m", "wsserver"]
    code = f"{LOOPS[loop]}; from wsserver.cli import main; main(prog_name='wsserver')"
    return [sys.executable, "-c", code]


def refused(*args: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run ``wsserver`` with what makes it end by itself."""
    return subprocess.run(
        [*command(), *args],
        cwd=folder,
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


class ServerProcess:
    """A running server. ``with ServerProcess(folder, "--dev") as server:``."""

    def __init__(
        self,
        folder: Path,
        *args: str,
        loop: str | None = None,
        env: Mapping[str, str] | None = None,
        stderr: int = subprocess.PIPE,
        terminal: int | None = None,
    ) -> None:
        self.folder = folder
        self.url = ""
        self.lines: list[str] = []
        """What it has said on stderr, as far as it was waited for."""
        self._said: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._process = subprocess.Popen(
            [*command(loop), "serve", "--port", "0", *args],
            cwd=folder,
            env=environment(**(env or {})),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )
        # A terminal's other end, or the end of the pipe.
        self._stream = self._process.stderr if terminal is None else os.fdopen(terminal, "rb")
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> ServerProcess:
        self._reader.start()
        try:
            self.url = self.wait_for(r"^listening on (http://\S+)$")[1]
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._end()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait for a line on stderr that matches; it may have come already."""
        seen = 0
        while True:
            for line in self.lines[seen:]:
                if found := re.search(pattern, line):
                    return found
            seen = len(self.lines)
            line_or_end = self._said.get(timeout=PATIENCE_S)
            assert line_or_end is not None, "\n".join(self.lines)
            self.lines.append(line_or_end)

    def kill(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Its exit status; ``lines`` is complete then."""
        status = self._process.wait(timeout_s)
        while (line := self._said.get(timeout=PATIENCE_S)) is not None:
            self.lines.append(line)
        return status

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end; its exit status."""
        self.kill(number)
        return self.wait()

    def websocket(self, path: str, token: str) -> str:
        """The address of a socket that brings its token along."""
        return f"ws{self.url.removeprefix('http')}{path}?token={token}"

    def token(self, user: str = "ops", role: str = "admin", **claims: Any) -> str:
        """A token of its development secret."""
        secret = (self.folder / "var" / "dev-jwt-secret").read_bytes()
        return tokens.token(
            user, key=secret, **{"role": role, "exp": 2**33, "exp_in": None, **claims}
        )

    def _read(self) -> None:
        assert self._stream is not None
        # A terminal ends with an error once nobody writes to it any more.
        with self._stream as stream, contextlib.suppress(OSError):
            for line in stream:
                self._said.put(line.decode().rstrip("\r\n"))
        self._said.put(None)

    def _end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join()


@contextlib.contextmanager
def silent_client(server: ServerProcess) -> Iterator[socket.socket]:
    """A client that never answers: one such keeps a server draining for a while."""
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as client:
        client.sendall(
            f"GET /ws/chat?token={server.token('silent', 'user')} HTTP/1.1\r\n"
            f"Host: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        assert client.recv(4096).startswith(b"HTTP/1.1 101")
        yield client


def shell(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a line as somebody would who pastes it."""
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
    """The content of files, to see that nobody has changed them."""
    return {name: (folder / name).read_bytes() for name in names}
