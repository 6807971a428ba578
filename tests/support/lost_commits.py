"""Commits whose connection to PostgreSQL is lost, so that their outcome is not known."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from wsserver.storage.engine.postgres.connection import PostgresConnection


def lose_at_commit(
    monkeypatch: pytest.MonkeyPatch, *, is_committed: bool, after: int = 0
) -> list[int]:
    """Break the writing connection at a COMMIT, before or after the server has done it."""
    execute = PostgresConnection.execute
    left = list(range(after + 1))

    def breaking(self: PostgresConnection, sql: str, parameters: Any = (), /) -> Any:
        if sql == "COMMIT" and left and left.pop() == 0:
            if is_committed:
                execute(self, sql)
            self.raw.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        return execute(self, sql, parameters)

    monkeypatch.setattr(PostgresConnection, "execute", breaking)
    return left
