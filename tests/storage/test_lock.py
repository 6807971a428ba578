"""A database is used by at most one server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fake_clock import FakeClock
from wsserver.storage import Database, DatabaseUnusable
from wsserver.storage.engine.errors import DatabaseInUse


@pytest.mark.gen_test
async def test_a_second_server_is_kept_off_until_the_first_has_closed(
    tmp_path: Path, clock: FakeClock
) -> None:
    path = tmp_path / "new" / "wsserver.sqlite3"
    first, second = Database(path, clock=clock), Database(path, clock=clock)
    await first.open()
    with pytest.raises(DatabaseUnusable, match="another server is using it"):
        await second.open()
    await first.close()
    await second.open()
    await second.close()


async def refused(path: Path, clock: FakeClock) -> None:
    other = Database(path, clock=clock)
    with pytest.raises(DatabaseInUse, match="another server is using it"):
        await other.open()
    await other.close()


@pytest.mark.parametrize("link", ["symlink of the file", "symlink of the folder", "hard link"])
@pytest.mark.gen_test
async def test_another_name_of_the_file_is_the_same_database(
    tmp_path: Path, clock: FakeClock, link: str
) -> None:
    path = tmp_path / "data" / "x.sqlite3"
    first = Database(path, clock=clock)
    await first.open()
    (tmp_path / "other").mkdir()
    name = tmp_path / "other" / "y.sqlite3"
    if link == "symlink of the file":
        name.symlink_to(path)
    elif link == "symlink of the folder":
        (tmp_path / "same").symlink_to(path.parent)
        name = tmp_path / "same" / "x.sqlite3"
    else:
        name.hardlink_to(path)
    await refused(name, clock)
    await first.close()
    assert not (tmp_path / "data" / "x.sqlite3.lock").exists()


@pytest.mark.gen_test
async def test_a_link_to_a_database_that_is_yet_to_be_made(
    tmp_path: Path, clock: FakeClock
) -> None:
    (tmp_path / "y.sqlite3").symlink_to(tmp_path / "data" / "x.sqlite3")
    first = Database(tmp_path / "y.sqlite3", clock=clock)
    (tmp_path / "data").mkdir()
    await first.open()
    await refused(tmp_path / "data" / "x.sqlite3", clock)
    await first.close()


@pytest.mark.gen_test
async def test_the_lock_survives_the_deletion_of_its_file(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "x.sqlite3"
    first = Database(path, clock=clock)
    await first.open()
    (tmp_path / "x.sqlite3.lock").unlink()
    await refused(path, clock)
    await first.run(lambda db: None)
    await first.close()
    second = Database(path, clock=clock)
    await second.open()
    await second.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
@pytest.mark.gen_test
async def test_a_bind_mount_of_the_file_is_the_same_database(
    tmp_path: Path, clock: FakeClock
) -> None:
    path, name = tmp_path / "x.sqlite3", tmp_path / "y.sqlite3"
    first = Database(path, clock=clock)
    await first.open()
    name.touch()
    if subprocess.run(["mount", "--bind", path, name], stderr=subprocess.DEVNULL).returncode:
        await first.close()
        pytest.skip("mounting is not permitted here")
    try:
        await refused(name, clock)
    finally:
        subprocess.run(["umount", name], check=True)
    await first.close()


@pytest.mark.gen_test
async def test_what_sqlite_has_locked_stays_locked(tmp_path: Path, clock: FakeClock) -> None:
    """Closing a descriptor of the file would give up SQLite's own locks on it."""
    path = tmp_path / "x.sqlite3"
    first = Database(path, clock=clock)
    await first.open()
    await refused(path, clock)
    script = f"import sqlite3; sqlite3.connect({str(path)!r}).execute('PRAGMA journal_mode=DELETE')"
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "database is locked" in other.stderr
    await first.close()
