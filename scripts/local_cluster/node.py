"""One node of the cluster: a server process that is started again when it ends."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from scripts.server_process import ROOT, environment, stop

START_S = 30.0
AGAIN_S = 3.0


class NodeFailed(Exception):
    """A node that did not start; the text is what it has printed."""


class Node:
    """``wsserver serve --dev`` in a folder of its own; its log is ``node.log`` there.

    Uploaded files are in a folder beside it, which all nodes share as several machines have to.
    """

    def __init__(
        self, name: str, folder: Path, settings: Mapping[str, str], say: Callable[[str], None]
    ) -> None:
        self.name = name
        self.folder = folder
        self.port = 0
        """0 while it does not run."""
        self._port = 0
        self._say = say
        folder.mkdir(parents=True, exist_ok=True)
        files = folder.parent / "files"
        files.mkdir(mode=0o700, exist_ok=True)
        (folder / "files").symlink_to(files)
        self._environment = {
            **environment(),
            **settings,
            "WSSERVER_NODE": name,
            "WSSERVER_DATA_DIR": str(folder),
        }
        self._process: asyncio.subprocess.Process | None = None

    @property
    def log(self) -> Path:
        """The file that it prints to."""
        return self.folder / "node.log"

    @property
    def pid(self) -> int:
        """Its process id; 0: it does not run."""
        return self._process.pid if self._process is not None else 0

    async def start(self) -> None:
        """Start, and wait until it listens; raises ``NodeFailed``."""
        with self.log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "wsserver", "serve", "--dev", "--port", str(self._port)),
                cwd=ROOT,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        loop = asyncio.get_running_loop()
        until = loop.time() + START_S
        while loop.time() < until and self._process.returncode is None:
            if found := re.search(r"^listening on http://\S+:(\d+)$", self.printed, re.MULTILINE):
                self.port = self._port = int(found[1])
                return
            await asyncio.sleep(0.05)
        raise NodeFailed(f"{self.name} did not start:\n{self.printed}")

    @property
    def printed(self) -> str:
        """What it has printed since its start."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    async def watch(self) -> None:
        """Start it again whenever it ends, until cancelled."""
        while True:
            assert self._process is not None  # noqa: S101 - it was started
            status = await self._process.wait()
            self.port = 0
            how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
            self._say(f"{self.name} has ended ({how}); it starts again in {AGAIN_S:.0f} s")
            await asyncio.sleep(AGAIN_S)
            await self.start()
            self._say(f"{self.name} runs again, pid {self.pid}")

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL where that is not enough."""
        await stop(self._process)
