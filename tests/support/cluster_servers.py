"""Nodes of one cluster: server processes on one PostgreSQL database and one Valkey server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.backends.valkey import ValkeyProcess
from tests.support.running_server import RunningServer


class ClusterServers:
    """Starts nodes by name, which share the folder of uploaded files.

    ``settings`` apply to each of them.
    """

    def __init__(self, folder: Path, database_url: str, redis_url: str, **settings: Any) -> None:
        self._folder = folder
        self._settings = {"database_url": database_url, "redis_url": redis_url, **settings}
        self.nodes: dict[str, RunningServer] = {}
        """Those that were started, also if they have ended since."""

    def start(self, node: str, **settings: Any) -> RunningServer:
        """Start a node, again after it has ended; waits until it listens."""
        folder = self._folder / node
        folder.mkdir(exist_ok=True)
        shared, files = self._folder / "files", folder / "files"
        shared.mkdir(exist_ok=True)
        if not files.is_symlink():
            files.symlink_to(shared)
        server = RunningServer(folder, **{**self._settings, "node": node, **settings})
        self.nodes[node] = server
        return server

    def stop(self) -> None:
        """Stop all that run; their logs are checked."""
        for server in self.nodes.values():
            server.stop()

    def kill(self) -> None:
        """Leave no process behind."""
        for server in self.nodes.values():
            server.kill()


@contextlib.contextmanager
def without_messages(valkey: ValkeyProcess) -> Iterator[None]:
    """Nothing is published: what nodes send to each other gets lost, and all else works."""
    answer = valkey.run("ACL", "SETUSER", "default", "-publish")
    assert answer.startswith(b"+OK"), answer
    try:
        yield
    finally:
        valkey.run("ACL", "SETUSER", "default", "+publish")
