"""The database in a PostgreSQL server."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wsserver.clock import Clock
from wsserver.errors import StorageUnavailable, WsServerError
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.errors import DatabaseUnusable, StorageHealth
from wsserver.storage.engine.postgres.answer_watch import AnswerWatch
from wsserver.storage.engine.postgres.connecting import RECONNECT_TIMEOUT_S, Server
from wsserver.storage.engine.postgres.connection import PostgresConnection
from wsserver.storage.engine.postgres.errors import translate
from wsserver.storage.engine.postgres.writer import PostgresWriter, check_connection
from wsserver.storage.engine.readers import Readers

_RETRY_S = 1.0
_SIZE_PERIOD_S = 60.0


class PostgresDatabase(Database):
    """A database of a PostgreSQL server: one connection that writes, a few that read.

    ``url``: ``postgresql://user:password@host:port/name?parameter=…`` with libpq's parameters.
    ``password_file``: a file with the password, read at each connection.
    ``is_shared``: other servers, with the same setting, may use it at the same time.
    ``queue_limit``: functions that may be queued for writing, and as many for reading.
    """

    KIND = "postgresql"

    def __init__(
        self,
        url: str,
        *,
        password_file: Path | None = None,
        clock: Clock,
        queue_limit: int = 10_000,
        is_shared: bool = False,
    ) -> None:
        self.is_shared = is_shared
        self._server = Server(url, password_file)
        health = StorageHealth(self._server.location)
        watch = self._watch = AnswerWatch(self._server)
        self._writer = PostgresWriter(
            self._server,
            watch,
            clock=clock,
            health=health,
            queue_limit=queue_limit,
            on_lost=self._count_lost,
            is_shared=is_shared,
        )
        readers = Readers(
            lambda: PostgresReader(self._server, watch), health=health, queue_limit=queue_limit
        )
        super().__init__(health, self._writer, readers)
        self._bytes = 0
        self._measured_at = -_SIZE_PERIOD_S

    @property
    def location(self) -> str:
        """The URL without user, password and parameters."""
        return self._server.location

    @property
    def identity(self) -> str:
        """The id of the database, and a digest of server, database and schema."""
        return self._writer.identity

    async def open(self) -> None:
        """Connect, lock the database for this server, apply migrations.

        Raises ``DatabaseUnusable`` for a database that cannot be used, without changing it, and
        ``StorageUnavailable`` for one that cannot be reached within 10 seconds.
        """
        self._watch.start()
        try:
            await self._writer.start()
            await self._readers.start()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Finish the queued jobs and disconnect. Idempotent."""
        await self._readers.stop()
        await self._writer.stop()
        self._watch.stop()

    async def probe(self) -> None:
        """Update the health of an idle database, and connect again; never raises."""
        with contextlib.suppress(WsServerError):
            has_failed = self._health.errors["write"] is not None
            await self.run(_write_nothing if has_failed else check_connection)
        with contextlib.suppress(WsServerError):
            is_due = time.monotonic() - self._measured_at >= _SIZE_PERIOD_S
            if is_due or self._health.errors["read"] is not None:
                self._bytes = await self.size()
                self._measured_at = time.monotonic()

    async def size(self) -> int:
        """Bytes of the database in the server."""
        return await self.read(_size)

    async def clock(self) -> float:
        """The time of the server. Raises ``StorageUnavailable``."""
        return await self.read(_clock)

    async def vacuum(self) -> None:
        """Rewrite all tables without the space of deleted rows."""
        await asyncio.to_thread(self._vacuum)

    def _vacuum(self) -> None:
        db = self._server.connect()
        try:
            db.run_script("SET statement_timeout = 0; SET lock_timeout = 0")
            db.run_script("VACUUM (FULL, ANALYZE)")
        except Exception as error:
            raise translate(error) from error
        finally:
            db.close()

    def health(self) -> dict[str, Any]:
        """The state; ``file_bytes``: size of the database in the server, once a minute."""
        return {**super().health(), "file_bytes": self._bytes}


class PostgresReader:
    """The connection of a reading thread; connects again when it was lost."""

    def __init__(self, server: Server, watch: AnswerWatch) -> None:
        self._server = server
        self._watch = watch
        self._db: PostgresConnection | None = server.connect()

    def read(self, fn: Callable[[Connection], Any]) -> Any:
        """Run a function on one snapshot; raises ``StorageUnavailable`` for the server's errors.

        Once more on a new connection, if the old one was lost.
        """
        had_connection = self._db is not None
        try:
            try:
                return self._attempt(fn)
            except Exception:
                if not had_connection or self._db is not None:
                    raise
                return self._attempt(fn)
        except Exception as error:
            translated = translate(error)
            if translated is error:
                raise
            raise translated from error

    def _attempt(self, fn: Callable[[Connection], Any]) -> Any:
        db = self._connected()
        with self._watch.waiting(db, writes=False):
            return self._read_on(db, fn)

    def _read_on(self, db: PostgresConnection, fn: Callable[[Connection], Any]) -> Any:
        try:
            with self._watch.beginning(db):
                db.run_script("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            return fn(db)
        finally:
            with contextlib.suppress(Exception):
                if not db.is_lost:
                    db.run_script("ROLLBACK")
            if db.is_lost:
                self._db = None

    def _connected(self) -> PostgresConnection:
        if self._db is None:
            if time.monotonic() < self._server.failed_at + _RETRY_S:
                raise StorageUnavailable("the database is unavailable: the connection was lost")
            try:
                self._db = self._server.connect(RECONNECT_TIMEOUT_S)
            except DatabaseUnusable as error:
                raise StorageUnavailable(str(error)) from None
        return self._db

    def close(self) -> None:
        """Disconnect."""
        if self._db is not None:
            self._db.close()


def _write_nothing(db: Connection) -> None:
    """A transaction that changes only this run's row: shows that commits succeed again."""


def _clock(db: Connection) -> float:
    text = "SELECT CAST(extract(epoch FROM clock_timestamp()) AS DOUBLE PRECISION)"
    at: float = db.execute(text).fetchone()[0]
    return at


def _size(db: Connection) -> int:
    size: int = db.execute("SELECT pg_database_size(current_database())").fetchone()[0]
    return size
