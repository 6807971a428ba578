"""Commits whose connection to PostgreSQL is lost, so that their outcome is not known."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest

from wsserver.storage.engine.postgres.connection import PostgresConnection
from wsserver.storage.engine.postgres.writer import PostgresWriter


class LateCommit:
    """The next COMMIT gets no answer, and is done only when ``allow`` was called.

    Until then the writing connection is lost, and connecting again fails; reading works.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
        self._is_allowed = threading.Event()
        self._raw: Any = None
        execute = PostgresConnection.execute
        take_over = PostgresWriter._take_over

        def breaking(db: PostgresConnection, sql: str, parameters: Any = (), /) -> Any:
            if sql == "COMMIT" and self._raw is None:
                self._raw, db.raw = db.raw, psycopg.connect(url)
                db.raw.close()
                raise psycopg.OperationalError("server closed the connection unexpectedly")
            return execute(db, sql, parameters)

        def committing(writer: PostgresWriter, db: PostgresConnection) -> None:
            if not self._is_allowed.is_set():
                raise psycopg.OperationalError("not yet")
            if not self._raw.closed:
                self._raw.execute("COMMIT")
                self._raw.close()
            take_over(writer, db)

        monkeypatch.setattr(PostgresConnection, "execute", breaking)
        monkeypatch.setattr(PostgresWriter, "_take_over", committing)

    def allow(self) -> None:
        """Let the transaction be committed, and the writer connect again."""
        self._is_allowed.set()


def lose_at_commit(
    monkeypatch: pytest.MonkeyPatch, *, is_committed: bool, after: int = 0, of: str = ""
) -> list[int]:
    """Break the writing connection at a COMMIT, before or after the server has done it.

    ``of``: only of a transaction with a statement that has this text.
    """
    execute = PostgresConnection.execute
    left = list(range(after + 1))
    statements: list[str] = []

    def breaking(self: PostgresConnection, sql: str, parameters: Any = (), /) -> Any:
        statements.append(sql)
        is_meant = sql == "COMMIT" and any(of in each for each in statements)
        if sql == "COMMIT":
            statements.clear()
        if is_meant and left and left.pop() == 0:
            if is_committed:
                execute(self, sql)
            self.raw.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        return execute(self, sql, parameters)

    monkeypatch.setattr(PostgresConnection, "execute", breaking)
    return left
