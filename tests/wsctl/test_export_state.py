"""``--since-last``: no row twice, none missed, whatever happens to a run."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.export_database import (
    add_deliveries,
    add_entries,
    add_snapshots,
    change,
    make_database,
    rows_in,
)
from tests.support.fake_server import FakeServer, Run

AUDIT = ("export", "audit", "--since-last", "audit.state", "--database", "db")


@pytest.fixture
def database(home: Path) -> Path:
    """In the folder that the tests run in, as ``db``."""
    return make_database(home / "db")


def targets(*files: Path) -> list[int]:
    return [int(row["target"]) for row in rows_in(*files)]


def state(name: str = "audit.state") -> Any:
    return json.loads(Path(name).read_text())


def test_each_run_has_what_has_come_since_and_says_nothing(run: Run, database: Path) -> None:
    seen = []
    for numbers in ([1, 2], [], [3], [-9]):  # the last one of an earlier time
        add_entries(database, *numbers)
        result = run(*AUDIT, "--out", "audit.csv")
        assert (result.exit_code, result.output) == (0, "")
        assert targets(Path("audit.csv")) == numbers
        seen += numbers
    assert state()["mark"]["position"] == len(seen)
    assert state()["unfinished"] is None
    assert sorted(os.listdir()) == ["audit.csv", "audit.state", "audit.state.lock", "db"]


def test_since_counts_the_first_time_only(run: Run, database: Path) -> None:
    add_entries(database, 1, 2, 3)
    since = ("--since", "2023-11-14T22:13:22Z")  # START + 2
    for expected in ([2, 3], []):
        run(*AUDIT, *since, "--out", "audit.csv")
        assert targets(Path("audit.csv")) == expected
    add_entries(database, 0)
    run(*AUDIT, *since, "--out", "audit.csv")
    assert targets(Path("audit.csv")) == [0]


def test_a_first_run_that_finds_nothing_has_seen_all_the_same(run: Run, database: Path) -> None:
    add_entries(database, 1)
    run(*AUDIT, "--since", "2024-01-01", "--out", "audit.csv")
    assert targets(Path("audit.csv")) == []
    run(*AUDIT, "--out", "audit.csv")
    assert targets(Path("audit.csv")) == []


def test_the_time_in_a_name_makes_a_file_for_each_run(run: Run, database: Path) -> None:
    for number in (1, 2):
        add_entries(database, number)
        run(*AUDIT, "--out", "audit-{time}.csv.gz")
    files = sorted(Path().glob("audit-20*Z.csv.gz"))
    assert [targets(file) for file in files] == [[1], [2]]


def test_deliveries_come_once_they_have_come_to_their_end(run: Run, database: Path) -> None:
    export = ("export", "notifications", "--since-last", "s", "--database", "db", "--out", "out")
    add_deliveries(database, "open", "waits", state="pending")
    add_deliveries(database, "bad")
    run(*export)
    assert [row["delivery_id"] for row in rows_in(Path("out"))] == ["bad"]
    change(database, "UPDATE deliveries SET state = 'sent' WHERE delivery_id = 'waits'")
    change(database, "UPDATE deliveries SET state = 'sent' WHERE delivery_id = 'open'")
    run(*export)
    assert [row["delivery_id"] for row in rows_in(Path("out"))] == ["waits", "open"]
    assert rows_in(Path("out"))[0]["title"] == "'@T"


def test_a_step_that_is_not_over_is_kept_for_the_next_run(run: Run, database: Path) -> None:
    export = ("export", "stats", "--since-last", "s", "--step", "5m", "--database", "db")
    exported = []
    for numbers in (range(4), range(4, 9), range(9, 14), ()):  # minutes from 22:13:20
        add_snapshots(database, *numbers)
        run(*export, "--out", "out")
        exported.append([int(row["sequence"]) for row in rows_in(Path("out"))])
    # Steps end at 22:15, 22:20, 22:25: after the numbers 1, 6 and 11.
    assert exported == [[1], [6], [11], []]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is not valid"),
        ("{", "is not valid"),
        ("[]", "is not valid"),
        ('{"version": 2, "kind": "audit"}', "is not valid"),
        (
            '{"version": 1, "kind": "audit", "mark": {"epoch": "e", "position": -1},'
            ' "unfinished": null, "updated_at": ""}',
            "is not valid",
        ),
        ("\x00\xff", "read"),
        (
            '{"version": 1, "kind": "stats", "mark": null, "unfinished": null, "updated_at": ""}',
            "is of `export stats`",
        ),
        (
            '{"version": 1, "kind": "audit", "mark": {"epoch": "e", "position": 1},'
            ' "unfinished": null, "updated_at": ""}',
            "another database",
        ),
    ],
)
def test_a_state_that_cannot_be_meant_is_1_and_nothing_is_written(
    run: Run, database: Path, content: str, said: str
) -> None:
    add_entries(database, 1)
    Path("audit.state").write_bytes(content.encode("latin-1"))
    result = run(*AUDIT, "--out", "audit.csv")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert said in result.stderr
    assert Path("audit.state").read_bytes() == content.encode("latin-1")
    assert not Path("audit.csv").exists()


def test_an_older_copy_of_the_database_is_noticed(run: Run, database: Path) -> None:
    add_entries(database, 1)
    shutil.copy(database, "copy")
    add_entries(database, 2)
    run(*AUDIT, "--out", "audit.csv")
    shutil.copy("copy", database)
    result = run(*AUDIT, "--out", "audit.csv")
    assert (result.exit_code, "backup" in result.stderr) == (1, True)
    assert targets(Path("audit.csv")) == [1, 2]


def test_a_second_run_ends_immediately_with_75(run: Run, database: Path) -> None:
    add_entries(database, 1)
    with Path("audit.state.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        result = run(*AUDIT, "--out", "audit.csv")
    assert (result.exit_code, result.stderr.count("\n")) == (75, 1)
    assert "still running" in result.stderr
    assert not Path("audit.csv").exists()
    assert run(*AUDIT, "--out", "audit.csv").exit_code == 0


def test_until_would_skip_rows_for_ever(run: Run, database: Path) -> None:
    assert run(*AUDIT, "--until", "1h").exit_code == 2
    assert not Path("audit.state").exists()


def test_to_standard_output_the_state_follows_the_last_byte(run: Run, database: Path) -> None:
    add_entries(database, 1)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "wsctl", *AUDIT], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert not Path("audit.state").exists()
    assert ",1,ok," in run(*AUDIT).stdout
    assert ",1,ok," not in run(*AUDIT).stdout


def test_what_cannot_be_written_stays_to_be_exported(run: Run, database: Path) -> None:
    add_entries(database, 1)
    assert run(*AUDIT, "--out", "missing/audit.csv").exit_code == 1
    assert run(*AUDIT, "--out", "audit.csv").exit_code == 0
    assert targets(Path("audit.csv")) == [1]


def test_a_full_disk_leaves_the_old_files(database: Path) -> None:
    add_entries(database, *range(500))
    Path("audit.csv").write_text("old")
    limited = "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))"
    code = f"{limited}; sys.argv[0] = 'wsctl'; runpy.run_module('wsctl', run_name='__main__')"
    for args in (("--out", "audit.csv"), ()):
        done = subprocess.run(
            [sys.executable, "-c", code, *AUDIT, *args], capture_output=True, text=True
        )
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
        assert "File too large" in done.stderr
    assert Path("audit.csv").read_text() == "old"
    assert not Path("audit.state").exists()
    assert not [name for name in os.listdir() if name.endswith(".part")]


def test_a_server_that_fails_half_way_leaves_all_as_it_was(
    ctl: Run, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: list[Any] = [
        (200, {"entries": [{"position": 1, "id": 1, "target": "1"}], "position": 1, "end": 2,
               "epoch": "e"}),
        (503, {"code": "draining", "detail": "bye", "status": 503}),
    ]  # fmt: skip
    monkeypatch.setattr(server, "answer", lambda asked: pages.pop(0))
    result = ctl("export", "audit", "--since-last", "s", "--out", "out")
    assert (result.exit_code, "bye" in result.stderr) == (1, True)
    assert os.listdir() == ["s.lock"]


# The process dies at any moment

DIED = 99


def run_dying(run: Run, changes: int, *args: str) -> int:
    """Run in a process that ends, as with kill -9, before or after one of its changes to the disk.

    Two ends for each change: odd numbers before it, even ones after it.
    """
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    left = changes

    def dying(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            for does in (lambda: None, lambda: function(*args, **kwargs)):
                done = does()
                left -= 1
                if left == 0:
                    os._exit(DIED)
            return done

        return call

    try:
        for name in ("replace", "fsync", "unlink"):
            setattr(os, name, dying(getattr(os, name)))
        os._exit(run(*args).exit_code)
    finally:
        os._exit(98)


@pytest.mark.parametrize("out", ["audit-{time}.csv", "audit.csv"], ids=["each", "one"])
def test_a_run_that_dies_anywhere_loses_nothing_and_repeats_nothing(
    run: Run, database: Path, tmp_path: Path, out: str
) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()

    def take() -> None:
        """As a reader does that moves away whatever has appeared."""
        for number, file in enumerate(sorted(Path().glob("audit*.csv")), len(os.listdir(taken))):
            file.rename(taken / f"{number:03}.csv")

    deaths = 0
    while True:
        add_entries(database, deaths)
        code = run_dying(run, deaths + 1, *AUDIT, "--out", out)
        take()
        if code != DIED:
            break
        deaths += 1
    assert code == 0
    assert deaths > 12
    assert run(*AUDIT, "--out", out).exit_code == 0
    take()
    assert targets(*sorted(taken.iterdir())) == [*range(deaths + 1)]
    assert not [name for name in os.listdir() if name.endswith(".part")]


def test_a_folder_that_is_not_there_leaves_open_what_has_happened(run: Run, database: Path) -> None:
    about = {"mark": {"epoch": "e", "position": 1}, "temporary": "/nowhere/.x.part", "out": "/x"}
    Path("audit.state").write_text(
        json.dumps(
            {"version": 1, "kind": "audit", "mark": None, "unfinished": about, "updated_at": ""}
        )
    )
    result = run(*AUDIT, "--out", "audit.csv")
    assert (result.exit_code, "/nowhere" in result.stderr) == (1, True)
