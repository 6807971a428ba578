"""Exports: from the API and from the file, whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.wsctl.wsctl_fakes import FakeServer, Run, problem
from wsctl.fields import TEN
from wsctl.files import replace_file

START = 1_700_000_000


def snapshot(number: int, **more: Any) -> dict[str, Any]:
    return {
        "timestamp": START + 60 * number,
        "node": "n1",
        "sequence": number,
        **dict.fromkeys(TEN, number),
        **more,
    }


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A file as the server keeps it: raw snapshots and the view of hourly means."""
    path = tmp_path / "wsserver.sqlite3"
    columns = ", ".join(f"{name} INTEGER NOT NULL" for name in TEN)
    with sqlite3.connect(path) as db:
        db.execute(
            f"CREATE TABLE snapshots (at REAL, node TEXT, sequence INTEGER, {columns}, extra TEXT,"
            " PRIMARY KEY (at, node, sequence)) STRICT, WITHOUT ROWID"
        )
        db.execute(f"CREATE TABLE snapshot_means (at, node, samples, {', '.join(TEN)}, extra)")
        marks = ", ".join("?" * 14)
        db.executemany(
            f"INSERT INTO snapshots VALUES ({marks})",
            [
                (START + 60 * n, "n1", n, *[n] * 10, json.dumps({"p99_ms": n / 2, "tag": "=x"}))
                for n in range(10)
            ],
        )
        db.execute(
            f"INSERT INTO snapshot_means VALUES ({marks})",
            (START - 3600, "n1", 60, *[0.5] * 10, "{}"),
        )
    db.close()
    return path


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


SINCE = ("--since", "2023-11-14T22:13:20Z")
ALL = ("--since", "2023-11-14T00:00:00Z", "--until", "2023-11-15T00:00:00Z")


def test_from_the_api_over_all_pages(ctl: Run, server: FakeServer) -> None:
    server.snapshots = [snapshot(n, latency_ms={"p99": 1.5}) for n in range(2100)]
    result = ctl("export", "stats", *SINCE, "--step", "5m")
    rows = rows_of(result.stdout)
    assert len(rows) == 2100
    assert list(rows[0]) == ["timestamp", "node", *TEN, "latency_ms.p99", "sequence"]
    assert rows[1]["timestamp"] == "2023-11-14T22:14:20.000Z"
    assert result.stderr == ""
    assert server.asked[0].query["since"] == "2023-11-14T22:13:20.000Z"
    assert server.asked[0].query["step"] == "300s"
    assert len({asked.query["until"] for asked in server.asked}) == 1


def test_a_server_without_cursors_is_followed_by_time(
    ctl: Run, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsctl.history.PAGE", 2)
    every = [snapshot(n // 2, node=f"n{n % 2}") for n in range(3)]

    def answer(asked: Any) -> tuple[int, Any]:
        later = [row for row in every if asked.query["since"] <= _text(row["timestamp"])]
        return 200, {"snapshots": later[:2], "total": len(later)}

    from wsctl.times import rfc3339 as _text

    monkeypatch.setattr(server, "answer", answer)
    every[1]["timestamp"] += 1
    found = ctl("export", "stats", *SINCE, "--format", "ndjson").stdout.splitlines()
    assert [json.loads(line)["node"] for line in found] == ["n0", "n1", "n0"]


def test_json_and_ndjson(ctl: Run, server: FakeServer) -> None:
    assert json.loads(ctl("export", "stats", "--format", "json").stdout) == []
    server.snapshots = [snapshot(0), snapshot(1)]
    assert len(json.loads(ctl("export", "stats", "-o", "json").stdout)) == 2
    lines = ctl("export", "stats", "--format", "ndjson").stdout.splitlines()
    assert [json.loads(line)["sequence"] for line in lines] == [0, 1]
    assert rows_of(ctl("export", "stats").stdout)[1]["errors"] == "1"


def test_from_the_file_while_the_server_is_down(run: Run, database: Path) -> None:
    before = sorted(database.parent.iterdir())
    rows = rows_of(run("export", "stats", *ALL, "--database", str(database)).stdout)
    assert len(rows) == 11
    assert (rows[0]["samples"], rows[0]["sequence"], rows[0]["errors"]) == ("60", "", "0.5")
    assert rows[1]["timestamp"] == "2023-11-14T22:13:20.000Z"
    assert (rows[2]["p99_ms"], rows[2]["tag"]) == ("0.5", "'=x")
    assert sorted(database.parent.iterdir()) == before


def test_since_is_inclusive_until_exclusive_and_steps_keep_the_last(
    run: Run, database: Path
) -> None:
    part = ("--until", "2023-11-14T22:15:20Z", "--database", str(database), "--format", "ndjson")
    lines = run("export", "stats", *SINCE, *part).stdout.splitlines()
    assert [json.loads(line)["sequence"] for line in lines] == [0, 1]
    stepped = run(
        "export", "stats", *SINCE, "--until", "2023-11-15T00:00:00Z", "--step", "5m",
        "--database", str(database), "--format", "ndjson",
    ).stdout.splitlines()  # fmt: skip
    # 22:13:20 + 60 n, cut at 22:15, 22:20, …
    assert [json.loads(line)["sequence"] for line in stepped] == [1, 6, 9]


def test_from_a_file_that_a_server_has_open(run: Run, database: Path) -> None:
    live = sqlite3.connect(database)
    try:
        live.execute("PRAGMA journal_mode = WAL")
        live.execute("DELETE FROM snapshots WHERE sequence > 4")
        live.commit()
        rows = rows_of(run("export", "stats", *ALL, "--database", str(database)).stdout)
    finally:
        live.close()
    assert len(rows) == 6


@pytest.mark.parametrize("kind", ["missing", "damaged", "other"])
def test_a_file_that_cannot_be_read_is_1(run: Run, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.sqlite3"
    if kind == "damaged":
        path.write_bytes(b"no database" * 1000)
    elif kind == "other":
        path.touch()
    result = run("export", "stats", "--database", str(path))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1


def test_out_is_replaced_whole_and_quietly(ctl: Run, server: FakeServer, tmp_path: Path) -> None:
    out = tmp_path / "stats.csv"
    out.write_text("old")
    out.chmod(0o640)
    server.snapshots = [snapshot(0)]
    result = ctl("export", "stats", "--out", str(out))
    assert (result.exit_code, result.output) == (0, "")
    assert len(rows_of(out.read_text())) == 1
    assert out.stat().st_mode & 0o777 == 0o640
    server.answers["GET", "/api/v1/websocket/stats/history"[len("/api/v1/websocket") :]] = (
        500, problem(500, "internal_error", "x")
    )  # fmt: skip
    kept = out.read_text()
    assert ctl("export", "stats", "--out", str(out)).exit_code == 1
    assert out.read_text() == kept
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []


@pytest.mark.parametrize("out", ["missing/stats.csv", "."])
def test_out_that_cannot_be_written_is_1(ctl: Run, out: str) -> None:
    result = ctl("export", "stats", "--out", out)
    assert (result.exit_code, "cannot write" in result.stderr) == (1, True)


def test_a_failure_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")

    def write_half() -> None:
        with replace_file(path) as file:
            file.write("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == ["x"]
