"""Storage faults that begin and end under a running server: lock, I/O error, full disk."""

from __future__ import annotations

import resource
import shutil
import sqlite3
import subprocess
from abc import ABC, abstractmethod
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support.running_server import RunningServer, Start

_MIB = 1024 * 1024
_MOUNT = 'mount -t tmpfs -o size=6m none "$0" && exec "$@"'


class StorageFault(ABC):
    """Something that keeps a server from its database for a while."""

    refusal: tuple[int, str]
    """Status and code of what cannot be stored meanwhile."""

    def start(self, start: Start, folder: Path, **settings: Any) -> RunningServer:
        """A server that this can happen to."""
        return start(folder=folder, **settings)

    @abstractmethod
    def begin(self, server: RunningServer) -> None:
        """Let it happen."""

    @abstractmethod
    def end(self, server: RunningServer) -> None:
        """Put things right again."""


class Locked(StorageFault):
    """Another process is in the middle of a transaction."""

    refusal = (503, "storage_unavailable")

    def begin(self, server: RunningServer) -> None:
        self._other = sqlite3.connect(server.database, isolation_level=None)
        self._other.execute("BEGIN EXCLUSIVE")

    def end(self, server: RunningServer) -> None:
        self._other.execute("ROLLBACK")
        self._other.close()


class BrokenDisk(StorageFault):
    """Every write to a file fails with an error: the process may make none any longer."""

    refusal = (503, "storage_unavailable")

    def begin(self, server: RunningServer) -> None:
        self._limit(server, 0)

    def end(self, server: RunningServer) -> None:
        self._limit(server, resource.RLIM_INFINITY)

    @staticmethod
    def _limit(server: RunningServer, count: int) -> None:
        limit = (count, resource.RLIM_INFINITY)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, limit)


class NoPages(StorageFault):
    """SQLite may not let the file grow, and says so as on a full disk."""

    refusal = (507, "storage_full")

    def start(self, start: Start, folder: Path, **settings: Any) -> RunningServer:
        return start(folder=folder, plugins="tests.support.full_disk:install", **settings)

    def begin(self, server: RunningServer) -> None:
        (server.folder / "full").touch()

    def end(self, server: RunningServer) -> None:
        (server.folder / "full").unlink()


class FullDisk(StorageFault):
    """A disk of a few megabytes that only the server sees, and on it another file that grows."""

    refusal = (507, "storage_full")

    def start(self, start: Start, folder: Path, **settings: Any) -> RunningServer:
        if not can_mount():
            pytest.skip("no mounts of one's own are allowed here")
        prefix = ("unshare", "-rm", "sh", "-c", _MOUNT, str(folder))
        return start(folder=folder, prefix=prefix, **settings)

    def begin(self, server: RunningServer) -> None:
        ballast = self._ballast(server)
        with pytest.raises(OSError, match="No space left"):
            ballast.write_bytes(bytes(64 * _MIB))

    def end(self, server: RunningServer) -> None:
        self._ballast(server).unlink()

    @staticmethod
    def _ballast(server: RunningServer) -> Path:
        return Path(f"/proc/{server.process.pid}/root{server.folder.absolute()}/ballast")


@cache
def can_mount() -> bool:
    """May we give a process a file system of its own?"""
    if shutil.which("unshare") is None:
        return False
    command = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs none /proc"]
    return subprocess.run(command, capture_output=True).returncode == 0
