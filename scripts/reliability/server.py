"""The server that is tormented: started again and again on the same file and the same port."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
import time
from pathlib import Path

from scripts.backends.free_ports import free_port
from scripts.benchmark.servers import ROOT
from scripts.benchmark.tokens import SECRET

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
API = "/api/v1/websocket"


def _wrong_clock(seconds: float) -> dict[str, str]:
    folder = Path(__file__).with_name("wrong_clock")
    return {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "TORTURE_CLOCK_S": str(seconds)}


class StartError(Exception):
    """A server that did not get ready; says what it printed."""


class Server:
    """``wsserver serve`` in a folder that stays; one process after the other."""

    def __init__(self, folder: Path, cores: set[int], **environment: str) -> None:
        self.folder = folder
        self.database = folder / "wsserver.sqlite3"
        self.port = free_port()
        self.ready_s: list[float] = []
        """Seconds from each start until it said that it listens."""
        self._cores = cores
        own = {name: value for name, value in os.environ.items() if name[:9] != "WSSERVER_"}
        self._environment = {
            **own,
            "PYTHONPATH": str(ROOT),
            "WSSERVER_JWT_SECRET": SECRET,
            "WSSERVER_DATA_DIR": str(folder),
            "WSSERVER_LOG_FORMAT": "text",
            # The load is to be limited by the server, not by its rules.
            "WSSERVER_MESSAGE_RATE": "1000000",
            "WSSERVER_MESSAGE_BURST": "1000000",
            **environment,
        }
        if "WSSERVER_DATABASE_URL" not in environment:
            self._environment["WSSERVER_DATABASE"] = str(self.database)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def socket_url(self) -> str:
        """Where clients connect."""
        return f"ws://127.0.0.1:{self.port}/ws/chat"

    @property
    def pid(self) -> int:
        """Of the process that runs now."""
        if self._process is None:
            raise RuntimeError("not started")
        return self._process.pid

    @property
    def log(self) -> str:
        """Everything that all its processes have said."""
        path = self.folder / "log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    async def start(self, *, wrong_s: float = 0.0) -> float:
        """Start a process; returns the seconds until it was ready. Raises ``StartError``.

        ``wrong_s``: its wall clock is ahead by so many seconds.
        """
        said = len(self.log)
        command = ("-m", "wsserver", "serve", "--host", "127.0.0.1", "--port", str(self.port))
        began = time.monotonic()
        with (self.folder / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *command,
                cwd=self.folder,
                env=self._environment | (_wrong_clock(wrong_s) if wrong_s else {}),
                stdin=asyncio.subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        with contextlib.suppress(OSError):
            os.sched_setaffinity(self._process.pid, self._cores)
        while time.monotonic() < began + START_TIMEOUT_S and self._process.returncode is None:
            if re.search(r"^listening on http://\S+:\d+$", self.log[said:], re.MULTILINE):
                self.ready_s.append(time.monotonic() - began)
                return self.ready_s[-1]
            await asyncio.sleep(0.01)
        raise StartError(f"the server did not get ready:\n{self.log[said:][-2000:]}")

    def send_signal(self, number: int) -> None:
        """Send a signal; harmless once it has ended."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def kill(self) -> None:
        """SIGKILL, and wait until nothing is left of it."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def stop(self) -> int:
        """SIGTERM; returns the exit status, a negative one where that was not enough."""
        if self._process is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            return await asyncio.wait_for(self._process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            await self.kill()
            return -9
