"""Reading a database file beside a server, by whatever name."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from wsctl.snapshots.database import read_database


def test_a_symbolic_link_leads_to_the_write_ahead_log_too(tmp_path: Path) -> None:
    path, link = tmp_path / "data" / "x.sqlite3", tmp_path / "y.sqlite3"
    path.parent.mkdir()
    link.symlink_to(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as server:
        server.execute("PRAGMA journal_mode = WAL")
        server.execute("CREATE TABLE kept (n INTEGER)")
        server.execute("INSERT INTO kept VALUES (1)")
        with read_database(link, "rows") as database:
            assert database.execute("SELECT n FROM kept").fetchall() == [(1,)]
