"""The servers that are measured: how each is started, spoken to and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scripts.benchmark.procfs import State, cpu_s, cpus_s, rss_bytes, state, tree
from scripts.benchmark.tokens import SECRET

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0


@dataclass(frozen=True)
class Kind:
    """A program to be measured, and where it takes connections and messages."""

    name: str
    about: str
    command: tuple[str, ...]
    socket_path: str
    publish_path: str
    environment: Mapping[str, str] = field(default_factory=dict)
    has_tokens: bool = False
    """Does each connection bring a token of its own, and each request one?"""
    deflates: bool = False
    """Do the clients offer to take compressed messages?"""
    nodes: int = 1
    workers: int = 1
    """Processes of each node that take connections."""
    has_postgres: bool = False
    """Is everything kept in a private PostgreSQL server?"""

    @property
    def has_valkey(self) -> bool:
        """Do the nodes reach each other by a private Valkey server? Workers start their own."""
        return self.nodes > 1

    @property
    def processes(self) -> int:
        """All that take connections."""
        return self.nodes * self.workers

    @property
    def is_plain(self) -> bool:
        """Is it one process without other servers?"""
        return self.processes == 1 and not self.has_postgres


def _wsserver(
    name: str,
    about: str,
    start: tuple[str, ...],
    *,
    deflates: bool = False,
    nodes: int = 1,
    workers: int = 1,
    has_postgres: bool = False,
    **environment: str,
) -> Kind:
    return Kind(
        name,
        about,
        (sys.executable, *start, "serve", "--host", "127.0.0.1", "--port", "0"),
        "/ws/chat",
        "/api/v1/websocket/broadcast",
        {
            "WSSERVER_JWT_SECRET": SECRET,
            # Messages are charged as always; the closed loop of W3 is not to be refused.
            "WSSERVER_MESSAGE_RATE": "1000000",
            "WSSERVER_MESSAGE_BURST": "1000000",
            "WSSERVER_LOG_FORMAT": "text",
            **({"WSSERVER_WORKERS": str(workers)} if workers > 1 else {}),
            **environment,
        },
        has_tokens=True,
        deflates=deflates,
        nodes=nodes,
        workers=workers,
        has_postgres=has_postgres,
    )


_MODULE = ("-m", "wsserver")
_COMPILED = str(ROOT / "build" / "compiled")
"""Where ``scripts/bench`` makes a compiled build."""
_WITHOUT_UVLOOP = (
    "-c",
    "import sys; sys.modules['uvloop'] = None; from wsserver.cli import main; sys.exit(main())",
)


def _peer(name: str, about: str, module: str) -> Kind:
    command = (sys.executable, "-m", f"scripts.benchmark.peers.{module}")
    return Kind(name, about, command, "/ws", "/broadcast")


def companion_kind(module: str) -> Kind:
    """A service that the server uses."""
    return Kind(module, "a service that the server uses", (sys.executable, "-m", module), "", "")


KINDS = {
    kind.name: kind
    for kind in (
        _wsserver("wsserver", "as it is started by default", _MODULE),
        _wsserver("at-once", "wsserver with coalesce_ms=0", _MODULE, WSSERVER_COALESCE_MS="0"),
        _wsserver("compiled", "wsserver with compiled modules", _MODULE, PYTHONPATH=_COMPILED),
        _wsserver(
            "compiled-at-once",
            "wsserver with compiled modules and coalesce_ms=0",
            _MODULE,
            WSSERVER_COALESCE_MS="0",
            PYTHONPATH=_COMPILED,
        ),
        _wsserver("asyncio", "wsserver without uvloop", _WITHOUT_UVLOOP),
        _wsserver(
            "deflated",
            "wsserver with compression, to clients that take it",
            _MODULE,
            deflates=True,
            WSSERVER_COMPRESSION="true",
        ),
        _wsserver(
            "wsserver-postgres", "one node on a private PostgreSQL", _MODULE, has_postgres=True
        ),
        _wsserver("wsserver-workers2", "wsserver with --workers 2", _MODULE, workers=2),
        _wsserver(
            "wsserver-cluster2",
            "two nodes on a private PostgreSQL and Valkey; clients connect to both, messages are"
            " published on the first",
            _MODULE,
            nodes=2,
            has_postgres=True,
        ),
        _wsserver(
            "workers2-at-once",
            "wsserver with --workers 2 and coalesce_ms=0",
            _MODULE,
            workers=2,
            WSSERVER_COALESCE_MS="0",
        ),
        _wsserver(
            "cluster2-at-once",
            "as wsserver-cluster2, with coalesce_ms=0",
            _MODULE,
            nodes=2,
            has_postgres=True,
            WSSERVER_COALESCE_MS="0",
        ),
        _peer("tornado", "Tornado, write_message in a loop", "tornado_plain"),
        _peer("fastapi", "FastAPI on uvicorn, send_text in a loop", "fastapi_plain"),
    )
}
DEFAULT = ("wsserver", "tornado", "fastapi")


class StartError(Exception):
    """A server that did not start; says what it printed."""


class Server:
    """A running server of one kind, in a folder of its own that goes with it."""

    def __init__(self, kind: Kind, process: asyncio.subprocess.Process, folder: Path) -> None:
        self.kind = kind
        self.port = 0
        self._process = process
        self.folder = folder
        """Its working folder."""

    @classmethod
    async def start(cls, kind: Kind, cores: set[int], **environment: str) -> Server:
        """Start on a free port of loopback, on these cores only; raises ``StartError``."""
        folder = Path(tempfile.mkdtemp(prefix="wsserver-bench-"))
        own = {name: value for name, value in os.environ.items() if name[:9] != "WSSERVER_"}
        own |= {"PYTHONPATH": str(ROOT), **kind.environment, **environment}
        # The folder is the working one too: what a server writes, it writes there.
        with (folder / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *kind.command,
                cwd=folder,
                env=own,
                stdin=asyncio.subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the benchmark, which stops it in order
            )
        server = cls(kind, process, folder)
        try:
            os.sched_setaffinity(process.pid, cores)
            server.port = await server._wait_for_port()
        except BaseException:
            await server.stop()
            raise
        return server

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def socket_url(self) -> str:
        """Where clients connect."""
        return f"ws://127.0.0.1:{self.port}{self.kind.socket_path}"

    @property
    def log(self) -> str:
        """What it has said so far."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def cpu_s(self) -> float:
        """Processor time used so far, by its workers too."""
        return cpu_s(self.pid) if self.kind.workers == 1 else cpus_s(tree(self.pid))

    def rss_bytes(self) -> int:
        """Memory in use."""
        return rss_bytes(self.pid)

    def state(self) -> State:
        """Its descriptors, threads and memory."""
        return state(self.pid)

    async def stop(self) -> None:
        """End it, in order if it is quick, and remove its folder."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), STOP_TIMEOUT_S)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    async def _wait_for_port(self) -> int:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_TIMEOUT_S):
                while self._process.returncode is None:
                    ready = re.search(r"^listening on http://\S+:(\d+)$", self.log, re.MULTILINE)
                    if ready is not None:
                        return int(ready[1])
                    await asyncio.sleep(0.02)
        raise StartError(f"{self.kind.name} did not start:\n{self.log[-2000:]}")
