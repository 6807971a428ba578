"""Connecting to PostgreSQL: parameters of the URL, defaults, and what the server must be."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from wsserver.config.faults import Faulty
from wsserver.config.files import read_password
from wsserver.errors import StorageUnavailable
from wsserver.storage.engine.errors import DatabaseInUse, DatabaseUnusable
from wsserver.storage.engine.postgres.connection import PostgresConnection, hang_up
from wsserver.storage.engine.postgres.errors import may_pass, one_line

CONNECT_TIMEOUT_S = 10
RECONNECT_TIMEOUT_S = 3
"""Jobs wait for it, before they are refused."""
SHORTEST_TIMEOUT_S = 2
"""libpq waits so long even if it is told less, and without limit for 0."""
OLDEST_VERSION = 14
_DEFAULTS: dict[str, Any] = {
    "application_name": "wsserver",
    "client_encoding": "UTF8",
    # A server that has vanished without a word is given up after some ten seconds.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""Parameters of libpq that the URL may override."""
_SESSION = """
    SET statement_timeout = '30s';
    SET lock_timeout = '10s';
    SET idle_in_transaction_session_timeout = '60s';
    SET tcp_keepalives_idle = 5;
    SET tcp_keepalives_interval = 2;
    SET tcp_keepalives_count = 3;
    SET jit = off
"""
_REMEDY = "correct the setting 'database_url' or the rights in PostgreSQL; nothing was changed"


def location_of(url: str) -> str:
    """A URL without its user, password and parameters."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def with_timeout(parameters: Mapping[str, Any], timeout_s: int) -> dict[str, Any]:
    """Parameters of libpq with a ``connect_timeout``, which libpq grants to each of the hosts."""
    hosts = str(parameters.get("host", "")).count(",") + 1
    return {"connect_timeout": max(SHORTEST_TIMEOUT_S, timeout_s // hosts), **parameters}


class Server:
    """Where the database is, and how to log in. Its errors name no password."""

    def __init__(self, url: str, password_file: Path | None = None) -> None:
        self.location = location_of(url)
        self._url = url
        self._password_file = password_file
        self.failed_at = float("-inf")
        """When the latest attempt to connect, of any thread, failed (monotonic)."""

    def connect(self, timeout_s: int = CONNECT_TIMEOUT_S) -> PostgresConnection:
        """Connect. Raises ``StorageUnavailable`` or, if it cannot pass, ``DatabaseUnusable``.

        ``timeout_s``: for all hosts of the URL together, unless it has a ``connect_timeout``; and
        as long again for the first statements.
        """
        try:
            parameters = with_timeout(self._parameters, timeout_s)
            if self._password_file is not None:
                parameters = {**parameters, "password": self._password()}
            raw = psycopg.connect(**parameters, autocommit=True)
            try:
                with _limited(raw, timeout_s):
                    raw.execute(_SESSION)
                    db = PostgresConnection(raw)
            except BaseException:
                raw.close()
                raise
        except psycopg.Error as error:
            self.failed_at = time.monotonic()
            # Without __cause__: it has the parameters, with the password, in its frames.
            raise self._failure(error) from None
        self.failed_at = float("-inf")
        return db

    def in_use(self, held: tuple[str, str] | None = None) -> DatabaseInUse:
        """The exception for a database that another server has locked.

        ``held``: problem and remedy, if they are known.
        """
        if held is not None:
            return DatabaseInUse(self.location, held[1], held[0])
        return DatabaseInUse(self.location, "stop that one first, or name another database")

    def unusable(self, problem: str, remedy: str = _REMEDY) -> DatabaseUnusable:
        """The exception for a server or database that cannot be used."""
        return DatabaseUnusable(self.location, problem, remedy)

    @functools.cached_property
    def _parameters(self) -> dict[str, Any]:
        return {**_DEFAULTS, **conninfo_to_dict(self._url)}

    def _password(self) -> str:
        assert self._password_file is not None  # noqa: S101 - see connect
        try:
            return read_password(self._password_file)
        except Faulty as faulty:
            raise self.unusable(
                f"'database_password_file' {faulty}", "correct that setting or the file"
            ) from None

    def _failure(self, error: psycopg.Error) -> Exception:
        text = self._without_password(one_line(error))
        if isinstance(error, psycopg.OperationalError) and may_pass(error):
            return StorageUnavailable(f"cannot connect to {self.location}: {text}")
        return self.unusable(f"cannot connect ({text})")

    def _without_password(self, text: str) -> str:
        password = urlsplit(self._url).password
        return text.replace(password, "********") if password else text


@contextlib.contextmanager
def _limited(raw: psycopg.Connection[Any], timeout_s: float) -> Iterator[None]:
    """End a connection whose server does not answer within a time: libpq has no limit for that."""
    is_late = threading.Event()

    def give_up() -> None:
        is_late.set()
        hang_up(raw)

    timer = threading.Timer(timeout_s, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    except psycopg.OperationalError:
        if not is_late.is_set():
            raise
        raise psycopg.errors.ConnectionTimeout(
            f"no answer to the first statements within {timeout_s:g} s"
        ) from None
    finally:
        timer.cancel()


def check_server(server: Server, db: PostgresConnection, *, for_reading: bool = False) -> None:
    """Raise ``DatabaseUnusable`` for a server or a database that this program cannot use."""
    version = db.raw.info.server_version
    if version < OLDEST_VERSION * 10_000:
        raise server.unusable(
            f"is PostgreSQL {version // 10_000}",
            f"version {OLDEST_VERSION} is the oldest supported: name another in 'database_url'",
        )
    encoding, is_replica, read_only, schema = db.execute(
        "SELECT current_setting('server_encoding'), pg_is_in_recovery(),"
        " current_setting('default_transaction_read_only'), current_schema()"
    ).fetchone()
    if encoding != "UTF8":
        raise server.unusable(
            f"its encoding is {encoding}",
            "create the database with ENCODING 'UTF8', or name another in 'database_url'",
        )
    if is_replica:
        raise server.unusable(
            "is a read-only replica",
            "name the primary in 'database_url', or several hosts and"
            " target_session_attrs=read-write",
        )
    if read_only == "on" and not for_reading:
        raise server.unusable(
            "is read-only (default_transaction_read_only is on)",
            "name the primary in 'database_url', or reset that parameter for the user or database",
        )
    if schema is None:
        raise server.unusable(
            "no schema of its search_path exists",
            "create the schema, or set search_path for the user or in 'database_url'",
        )
