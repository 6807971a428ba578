"""Corruption in the write-ahead log after a crash is reported at the next start."""

from __future__ import annotations

import logging
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from tests.support.fake_clock import FakeClock
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.sqlite import SqliteDatabase
from wsserver.storage.engine.wal import (
    HEADER_BYTES,
    Log,
    damage,
    is_cut_off,
    lost_commits,
    read_log,
)
from wsserver.storage.maintenance.database_report import inspect_database

FRAME = 24 + 4096


def keep(db: Connection, text: str) -> None:
    db.execute("INSERT INTO kept VALUES (?)", [text])


async def left_by_a_crash(folder: Path, clock: FakeClock) -> Path:
    """A database with a log of about 20 transactions, as it is on the disk at ``kill -9``."""
    database = SqliteDatabase(folder / "live", clock=clock)
    await database.open()
    await database.run(lambda db: db.execute("CREATE TABLE kept (text TEXT)") and None)
    for number in range(20):
        await database.run(partial(keep, text=str(number) * 3000))
    path = folder / "left"
    shutil.copy(folder / "live", path)
    shutil.copy(folder / "live-wal", f"{path}-wal")
    await database.close()
    return path


def flip(at: int) -> Callable[[bytearray], None]:
    def change(data: bytearray) -> None:
        data[at] ^= 0xFF

    return change


def cut(data: bytearray) -> None:
    del data[-100:]


def nothing(data: bytearray) -> None:
    pass


IN_THE_MIDDLE = HEADER_BYTES + 25 * FRAME


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (nothing, ""),
        (flip(IN_THE_MIDDLE + 1000), "transactions could not be taken over"),
        (flip(IN_THE_MIDDLE + 9), "transactions could not be taken over"),
        (flip(0), "its header is damaged"),
        (flip(18), "its header is damaged"),
        (flip(-10), "last transaction in the write-ahead log is not whole"),
        (cut, "last transaction in the write-ahead log is not whole"),
    ],
)
@pytest.mark.gen_test
async def test_damage_is_reported(
    tmp_path: Path,
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
    change: Callable[[bytearray], None],
    words: str,
) -> None:
    path = await left_by_a_crash(tmp_path, clock)
    log = Path(f"{path}-wal")
    data = bytearray(log.read_bytes())
    change(data)
    log.write_bytes(data)
    caplog.clear()
    is_serious = "not whole" not in words
    reported = inspect_database(path, clock)
    if words and is_serious:
        (problem,) = reported.problems
        assert problem.startswith("has a damaged -wal file: ")
        assert words in problem
        assert reported.remedy is not None
    else:
        assert (reported.ok, reported.problems) == (True, [])
    assert inspect_database(path, clock, quick=True).ok
    database = SqliteDatabase(path, clock=clock)
    with caplog.at_level(logging.INFO):
        await database.open()
    said = [r for r in caplog.records if "write-ahead log" in r.getMessage()]
    assert [words in r.getMessage() for r in said] == ([True] if words else [])
    assert all((r.levelno == logging.ERROR) is is_serious for r in said)
    await database.close()
    assert read_log(path) is None


def test_lost_commits() -> None:
    log = Log(9 * FRAME, True, 9, (2, 5, 9))
    assert lost_commits(log, 9) is None
    assert not is_cut_off(log, 9)
    assert lost_commits(log, 5) is None, "the last one may have been under way"
    assert is_cut_off(log, 5)
    assert "2 of 3 transactions" in str(lost_commits(log, 2))
    assert "frame 3 of 9" in str(lost_commits(log, 2))
    behind_it = Log(9 * FRAME, True, 9, (2, 5))
    assert lost_commits(behind_it, 2) is not None, "something was written after it"


def test_the_frames_of_an_earlier_round_are_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "live"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE kept (text TEXT)")
        for count in (20, 3):
            for number in range(count):
                connection.execute("INSERT INTO kept VALUES (?)", [str(number) * 3000])
                assert damage(path) is None
            connection.execute("PRAGMA wal_checkpoint(RESTART)")
            assert damage(path) is None
    assert damage(path) is None


def test_no_log(tmp_path: Path) -> None:
    assert read_log(tmp_path / "none") is None
    (tmp_path / "x-wal").touch()
    assert read_log(tmp_path / "x") is None
