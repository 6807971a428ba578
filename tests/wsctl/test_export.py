"""Exports: from the API and from the file, whole or not at all."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.support.export_database import add_deliveries, add_entries, make_database
from tests.support.fake_server import FakeServer, Run, problem
from wsctl.atomic_file import replace_file
from wsctl.cli.root import wsctl
from wsctl.exporting.writers import SHAPES
from wsctl.output.stats_fields import TEN
from wsctl.times import epoch

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
    monkeypatch.setattr("wsctl.snapshots.history.PAGE", 2)
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


@pytest.mark.parametrize(("name", "why"), [("", "not a file"), ("gone", "no such file")])
def test_a_target_that_is_not_a_file_is_an_error(
    run: Run, tmp_path: Path, name: str, why: str
) -> None:
    result = run("export", "stats", "--database", str(tmp_path / name))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.rstrip().endswith(f": {why}")


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


# All kinds


@pytest.fixture
def stored(home: Path) -> Path:
    """A database of the server's own making."""
    return make_database(home / "db")


def test_the_audit_trail_in_its_columns_safe_against_formulas(run: Run, stored: Path) -> None:
    add_entries(stored, 1, 2)
    text = run("export", "audit", *ALL, "--database", "db").stdout
    assert text.splitlines()[0] == (
        "id,at,actor,role,action,target,outcome,detail,request_id,remote_ip"
    )
    first, second = rows_of(text)
    assert (first["actor"], first["detail"], second["id"]) == ("'=1+1", '{"n": 1}', "2")
    assert first["at"] == "2023-11-14T22:13:21.000Z"
    (line,) = run(
        "export", "audit", "--since", "2023-11-14T22:13:22Z", "--database", "db",
        "--format", "ndjson",
    ).stdout.splitlines()  # fmt: skip
    assert json.loads(line)["detail"] == {"n": 1}
    assert [*json.loads(line)][:4] == ["id", "at", "actor", "role"]


def test_deliveries_as_they_stand(run: Run, stored: Path) -> None:
    add_deliveries(stored, "a")
    add_deliveries(stored, "b", state="pending")
    rows = rows_of(run("export", "notifications", *ALL, "--database", "db").stdout)
    assert [(row["delivery_id"], row["state"], row["title"]) for row in rows] == [
        ("a", "failed", "'@T"), ("b", "pending", "'@T")
    ]  # fmt: skip
    assert rows[0]["attempts"] == "[]"


@pytest.mark.parametrize("kind", ["stats", "audit", "notifications"])
def test_an_export_without_rows_has_its_columns(run: Run, stored: Path, kind: str) -> None:
    text = run("export", kind, "--database", "db").stdout
    assert text.startswith(",".join(SHAPES[kind].first))
    assert text.count("\n") == 1
    assert run("export", kind, "--database", "db", "--format", "json").stdout == "[\n]\n"
    assert run("export", kind, "--database", "db", "--format", "ndjson").stdout == ""


def test_gz_is_compressed_and_the_same_rows_make_the_same_bytes(run: Run, stored: Path) -> None:
    add_entries(stored, 1)
    for name in ("a.csv.gz", "b.csv.gz", "c.csv"):
        assert run("export", "audit", *ALL, "--database", "db", "--out", name).output == ""
    compressed = Path("a.csv.gz").read_bytes()
    assert compressed == Path("b.csv.gz").read_bytes()
    assert gzip.decompress(compressed) == Path("c.csv").read_bytes()


def test_a_database_of_an_older_server_is_named_as_such(run: Run, database: Path) -> None:
    result = run("export", "audit", "--database", str(database))
    assert (result.exit_code, "older server" in result.stderr) == (1, True)
    assert run("export", "stats", *ALL, "--database", str(database)).exit_code == 0


def test_an_export_has_no_table(run: Run, stored: Path) -> None:
    assert run("export", "audit", "--database", "db", "-o", "table").exit_code == 2


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("args", [(), ("-q",)])
def test_a_bar_is_shown_on_a_terminal_to_who_has_to_wait(
    stored: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...]
) -> None:
    add_entries(stored, *range(3000))
    monkeypatch.setattr("wsctl.exporting.progress_bar._PATIENCE_S", 0)
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with pytest.raises(SystemExit) as end:
        wsctl(["export", "audit", *ALL, "--database", "db", "--out", "out", *args])
    assert end.value.code == 0
    shown = terminal.getvalue()
    if args:
        assert shown == ""
    else:
        assert "Exporting audit" in shown
        assert "/3000" in shown
        assert shown.endswith("3,000 rows in out\n")


def test_without_a_terminal_nothing_is_said_however_long_it_takes(
    run: Run, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_entries(stored, *range(3000))
    monkeypatch.setattr("wsctl.exporting.progress_bar._PATIENCE_S", 0)
    assert run("export", "audit", *ALL, "--database", "db", "--out", "out").output == ""


# Messages


def message(number: int, **more: Any) -> dict[str, Any]:
    return {
        **dict.fromkeys(SHAPES["messages"].first),
        "session_id": "s1",
        "offset": number,
        "message_id": f"msg_{number}",
        "content": "=cmd()",
        "deleted": False,
        **more,
    }


def test_messages_over_all_pages(
    ctl: Run, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = {
        None: {"messages": [message(1), message(2, content={"b": "你好"})], "next_cursor": "a"},
        "a": {"messages": [], "next_cursor": "b"},
        "b": {"messages": [message(3, content=None, deleted=True)], "next_cursor": None},
    }
    monkeypatch.setattr(server, "answer", lambda asked: (200, pages[asked.query.get("cursor")]))
    rows = rows_of(ctl("export", "messages", "--session", "s1", "--user", "u1").stdout)
    assert list(rows[0]) == list(SHAPES["messages"].first)
    assert [row["content"] for row in rows] == ["'=cmd()", '{"b": "你好"}', ""]
    assert [row["offset"] for row in rows] == ["1", "2", "3"]
    asked = server.asked[0].query
    assert (asked["session_id"], asked["user_id"]) == ("s1", "u1")
    assert "since" not in asked  # all that is kept
    assert len({each.query["until"] for each in server.asked}) == 1
    lines = ctl("export", "messages", "--organization", "acme", "--format", "ndjson").stdout
    assert json.loads(lines.splitlines()[1])["content"] == {"b": "你好"}
    asked = server.asked[-1].query
    assert asked["organization_id"] == "acme"
    assert epoch(asked["until"]) == pytest.approx((epoch(asked["since"]) or 0) + 86_400, abs=0.01)


def test_messages_are_whole_or_not_at_all(
    ctl: Run, server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "messages.csv"
    out.write_text("old")
    monkeypatch.setattr(
        server, "answer", lambda asked: (200, {"messages": [message(1)], "next_cursor": "a"})
    )
    failed = ctl("export", "messages", "--session", "s1", "--out", str(out))
    assert (failed.exit_code, "does not advance" in failed.stderr) == (1, True)
    assert out.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir() if "messages" in path.name] == [out.name]


@pytest.mark.parametrize(
    "args",
    [
        ("--since", "1h", "--until", "2h"),
        ("--since-last", "state"),
        ("--database", "x.sqlite3"),
        ("--format", "xml"),
    ],
)
def test_what_messages_cannot_be_exported_by(ctl: Run, args: tuple[str, ...]) -> None:
    assert ctl("export", "messages", *args).exit_code == 2
