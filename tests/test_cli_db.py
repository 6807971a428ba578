"""``wsserver db``: output, exit codes, and the choice of the file."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.support.database_files import add_newer_migration
from tests.support.fake_clock import FakeClock
from tests.support.server_process import environment
from tests.support.wsserver_cli import SECRET, invoke, run
from wsserver.cli import ExitStatus
from wsserver.cli.reports import _age, _time, size
from wsserver.clock import Clock
from wsserver.storage.engine.lock import ServerLock
from wsserver.storage.engine.sqlite import SqliteDatabase
from wsserver.storage.maintenance.backup import Backup
from wsserver.storage.tables.access_lists import MemberStore

FILE = Path("var/wsserver.sqlite3")


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("WSSERVER_"):
            monkeypatch.delenv(name)

    async def make() -> None:
        database = SqliteDatabase(FILE, clock=FakeClock())
        await database.open()
        await MemberStore(database).replace("s1", ["a", "b"], "admin", 1_700_000_000.0)
        await database.close()

    asyncio.run(make())


@contextmanager
def changed(statement: str) -> Iterator[None]:
    with closing(sqlite3.connect(FILE, isolation_level=None)) as connection:
        connection.execute(statement)
        yield


def damage() -> None:
    with FILE.open("r+b") as file:
        file.seek(2 * 4096)
        file.write(b"\xff" * 4096)


# check


def test_check_describes_a_database_that_is_well() -> None:
    result = invoke("db", "check")
    assert (result.exit_code, result.stderr) == (0, "")
    for part in (str(FILE), "well (every page and index", "(current)", "write-ahead log", " free"):
        assert part in result.stdout
    (row,) = [line.split() for line in result.stdout.splitlines() if "session_members" in line]
    assert (row[1], row[-1]) == ("2", "2023-11-14T22:13:20.000Z")
    assert "every page looked at" in invoke("db", "check", "--quick").stdout


def test_check_as_json() -> None:
    document = json.loads(invoke("db", "check", "-o", "json").stdout)
    assert document["ok"] is True
    assert document["newest"] == "2023-11-14T22:13:20.000Z"
    tables = {table["name"]: table for table in document["tables"]}
    assert tables["session_members"]["rows"] == 2
    assert tables["audit"]["newest"] is None


def test_check_names_a_damaged_file_and_how_to_restore_and_exits_with_78() -> None:
    damage()
    before = FILE.read_bytes()
    result = invoke("db", "check")
    assert result.exit_code == ExitStatus.CONFIG
    assert "NOT WELL" in result.stdout
    assert result.stderr.startswith(f"wsserver: database {FILE}: is damaged")
    assert "restore the file from a backup" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    document = json.loads(invoke("db", "check", "-o", "json").stdout)
    assert (document["ok"], document["remedy"] is not None) == (False, True)
    assert FILE.read_bytes() == before


def test_check_refuses_a_newer_schema_and_no_database() -> None:
    with closing(sqlite3.connect(FILE, isolation_level=None)) as connection:
        add_newer_migration(connection)
    result = invoke("db", "check")
    assert (result.exit_code, "newer version" in result.stderr) == (78, True)
    result = invoke("db", "check", "--database", "none.sqlite3")
    assert (result.exit_code, "there is no database" in result.stderr) == (78, True)
    assert not Path("none.sqlite3").exists()
    Path("text").write_text("hello")
    assert invoke("db", "check", "--database", "text").exit_code == 78
    assert invoke("db", "check", "--database", ".").exit_code == 78


def test_check_of_a_locked_file_is_1() -> None:
    with closing(sqlite3.connect(FILE, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("CREATE TABLE x (y)")
        result = invoke("db", "check")
    assert (result.exit_code, "locked" in result.stderr) == (1, True)


# Which file


def test_the_file_comes_from_flag_environment_or_settings_and_no_key_is_needed() -> None:
    FILE.rename("elsewhere.sqlite3")
    assert invoke("db", "check").exit_code == 78
    assert invoke("db", "check", "--database", "elsewhere.sqlite3").exit_code == 0
    assert invoke("db", "check", WSSERVER_DATABASE="elsewhere.sqlite3").exit_code == 0
    Path("c.toml").write_text('database = "elsewhere.sqlite3"\njwt_secret_file = "/not/for/us"')
    assert invoke("db", "check", "--config", "c.toml").exit_code == 0
    Path("d").mkdir()
    Path("elsewhere.sqlite3").rename("d/wsserver.sqlite3")
    assert invoke("db", "check", WSSERVER_DATA_DIR="d").exit_code == 0


def test_faults_of_the_settings_are_78_and_of_the_flags_2() -> None:
    Path("c.toml").write_text("prot = 1")
    result = invoke("db", "check", "--config", "c.toml")
    assert (result.exit_code, "prot (file c.toml)" in result.stderr) == (78, True)
    assert invoke("db", "check", "--config", "none.toml").exit_code == 2
    assert invoke("db", "check", "-o", "xml").exit_code == 2
    assert invoke("db", "backup").exit_code == 2
    assert invoke("db").exit_code == 2


# backup


def test_backup_prints_size_and_time_and_replaces_only_with_force() -> None:
    result = invoke("db", "backup", "copy.sqlite3")
    assert result.exit_code == 0
    assert result.stdout.startswith("copy.sqlite3: ")
    assert "KiB in 0." in result.stdout
    again = invoke("db", "backup", "copy.sqlite3")
    assert (again.exit_code, again.stdout) == (1, "")
    assert again.stderr == ("wsserver: backup copy.sqlite3: exists already (--force replaces it)\n")
    forced = invoke("db", "backup", "copy.sqlite3", "--force", "-o", "json")
    document = json.loads(forced.stdout)
    assert document["path"] == "copy.sqlite3"
    assert document["bytes"] == Path("copy.sqlite3").stat().st_size
    assert invoke("db", "check", "--database", "copy.sqlite3").exit_code == 0


def test_backup_of_a_damaged_database_is_78() -> None:
    damage()
    result = invoke("db", "backup", "copy.sqlite3")
    assert (result.exit_code, str(FILE) in result.stderr) == (78, True)
    assert not Path("copy.sqlite3").exists()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGQUIT"])
def test_a_backup_cut_short_by_a_signal_leaves_nothing_behind(tmp_path: Path, name: str) -> None:
    # The command sends it to itself, in the middle of its work.
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal\n"
        "from wsserver.storage.maintenance import backup\n"
        f"backup._handle_signals = lambda *_: os.kill(os.getpid(), signal.{name})\n"
    )
    root = str(Path(__file__).parents[1])
    done = run("db", "backup", "copy.sqlite3", PYTHONPATH=os.pathsep.join([str(tmp_path), root]))
    assert (done.returncode, done.stdout, done.stderr) == (128 + getattr(signal, name), "", "")
    left = {path.name for path in tmp_path.iterdir()}
    assert left - {"__pycache__"} == {"sitecustomize.py", "var"}


# prune


def test_prune_says_what_it_deleted() -> None:
    result = invoke("db", "prune")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "snapshot_hours" in result.stdout
    assert "given back" in result.stdout
    invoke(
        "db", "prune", "--vacuum"
    )  # the schema itself leaves a page that is packed the first time
    document = json.loads(invoke("db", "prune", "--vacuum", "-o", "json").stdout)
    assert document["deleted"]["audit"] == 0
    assert document["bytes_given_back"] == 0


def test_prune_takes_the_retention_of_the_settings() -> None:
    now = Clock().wall()
    columns = "total_connections, active_connections, messages_sent, messages_received"
    columns += ", disconnections, errors, active_users, active_sessions"
    columns += ", total_user_connections, total_session_connections"
    with changed(
        f"INSERT INTO snapshots (at, node, sequence, {columns})"
        f" VALUES ({now - 3 * 86_400}, 'n', 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)"
    ):
        pass

    def deleted(**env: str) -> int:
        count: int = json.loads(invoke("db", "prune", "-o", "json", **env).stdout)["deleted"][
            "snapshots"
        ]
        return count

    assert deleted() == 0
    assert deleted(WSSERVER_SNAPSHOT_RETENTION_DAYS="1") == 1


def test_prune_beside_a_server_is_1_and_says_that_it_is_not_needed() -> None:
    lock = ServerLock(FILE)
    lock.acquire()
    try:
        result = invoke("db", "prune")
    finally:
        lock.release()
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"wsserver: database {FILE}: a server is running on it and prunes it every 10"
        " minutes; nothing was done\n"
    )


def test_prune_of_no_database_is_78_and_makes_none() -> None:
    assert invoke("db", "prune", "--database", "none.sqlite3").exit_code == 78
    assert not Path("none.sqlite3").exists()
    assert not Path("none.sqlite3.lock").exists()


# As a process


def test_it_runs_beside_nothing_at_all() -> None:
    done = run("db", "check", "--quick", WSSERVER_JWT_SECRET=SECRET)
    assert (done.returncode, done.stderr) == (0, "")


# Figures


def test_sizes_and_ages_read_well() -> None:
    assert [size(n) for n in (0, 1023, 1024, 1536, 5 * 2**40, 5000 * 2**40)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "1.5 KiB",
        "5.0 TiB",
        "5000.0 TiB",
    ]
    assert [_age(s) for s in (-1, 59, 119, 120, 7200, 200_000)] == [
        "0 s",
        "59 s",
        "119 s",
        "2 min",
        "2 h",
        "2 d",
    ]
    assert _time(1e300).startswith("9999-12-31T23:59:59")
    assert _time(float("inf")) == "inf"


def test_a_backup_is_what_its_report_says() -> None:
    from wsserver.cli.reports import backup_text, of_backup

    made = Backup(Path("x"), 2048, 1.23456)
    assert of_backup(made) == {"path": "x", "bytes": 2048, "took_s": 1.235}
    assert backup_text(made) == "x: 2.0 KiB in 1.2 s, checked"


@pytest.mark.parametrize("moment", ["_copy", "_finish", "_move_into_place", "_flush"])
def test_what_a_killed_backup_left_is_removed_by_the_next_one(tmp_path: Path, moment: str) -> None:
    script = (
        "import os, signal\n"
        "from wsserver.storage.maintenance import backup\n"
        "from wsserver.cli import main\n"
        f"work = backup.{moment}\n"
        "def die(*args):\n"
        "    work(*args)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        f"backup.{moment} = die\n"
        "main(['db', 'backup', 'monday.sqlite3'])"
    )
    before = {path.name for path in tmp_path.iterdir()}
    done = subprocess.run([sys.executable, "-c", script], env=environment(), check=False)
    assert done.returncode == -signal.SIGKILL
    was_published = moment == "_move_into_place"
    left = {path.name for path in tmp_path.iterdir()} - before
    assert len(left) == (2 if was_published else 1)
    assert run("db", "backup", "tuesday.sqlite3").returncode == 0
    left = {path.name for path in tmp_path.iterdir()} - before
    assert left == {"tuesday.sqlite3"} | ({"monday.sqlite3"} if was_published else set())


def test_check_names_stored_files_without_a_row() -> None:
    with changed("CREATE TABLE files (file_id TEXT PRIMARY KEY)"):
        folder = Path("var/files/01")
        folder.mkdir(parents=True)
        for name in ("file_0123456701", "file_1123456701", "file_2123456701", "else"):
            (folder / name).touch()
            os.utime(folder / name, (1e9, 1e9))
        (folder / "file_3123456701").touch()  # younger than a day
        with changed("INSERT INTO files VALUES ('file_0123456701')"):
            found = json.loads(invoke("db", "check", "-o", "json").stdout)
    assert found["ok"]
    (warning,) = found["warnings"]
    assert warning.endswith("removes them: file_1123456701, file_2123456701")
    assert warning.startswith("2 stored files have no row")
