"""Commands whose standard streams the caller has closed, as daemons and odd cron jobs do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server_process import ServerProcess, environment
from tests.support.waiting import poll

CLOSED = "standard output is closed"


def closed(
    folder: Path, program: str, *args: str, streams: str = ">&-"
) -> subprocess.CompletedProcess[str]:
    """Run a program with streams closed by the shell."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {streams}', "sh", sys.executable, "-m", program, *args],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize(
    "line",
    [
        "--help",
        "stats",
        pytest.param("stats --help", marks=pytest.mark.long),
        "stats -o json",
        pytest.param("stats -o csv", marks=pytest.mark.long),
        "health",
        pytest.param("online -o csv", marks=pytest.mark.long),
        "connections -o json",
        pytest.param("sessions -o json", marks=pytest.mark.long),
        pytest.param("user u1", marks=pytest.mark.long),
        "broadcast hello",
        "send --user u1 hello",
        pytest.param("explain --broadcast -o json", marks=pytest.mark.long),
        "audit -o json",
        "ping u1 -c 1",
        "doctor",
        "export stats",
        "export audit --format csv",
        pytest.param("export notifications --format json", marks=pytest.mark.long),
        "export audit --since-last state",
        pytest.param("token create --user u1", marks=pytest.mark.long),
        pytest.param("webhooks list -o json", marks=pytest.mark.long),
        pytest.param("notifications list -o json", marks=pytest.mark.long),
        pytest.param("context list -o json", marks=pytest.mark.long),
        "completion bash",
        pytest.param("contacts u1", marks=pytest.mark.long),
    ],
)
def test_wsctl_ends_with_1_and_one_line(server: ServerProcess, line: str) -> None:
    done = closed(server.folder, "wsctl", *line.split())
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1] == f"wsctl: cannot write the output: {CLOSED}"
    assert "Traceback" not in done.stderr
    assert not (server.folder / "state").exists()  # the rows were not given to anybody


@pytest.mark.parametrize("line", ["--help", "stats", "export audit --since-last state"])
def test_wsctl_without_any_stream_ends_with_1_in_silence(server: ServerProcess, line: str) -> None:
    done = closed(server.folder, "wsctl", *line.split(), streams="<&- >&- 2>&-")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    assert not (server.folder / "state").exists()


def test_nothing_is_lost_where_there_is_nothing_to_print(server: ServerProcess) -> None:
    quiet = closed(server.folder, "wsctl", "-q", "broadcast", "hello", streams=">&- 2>&-")
    assert quiet.returncode == 0
    done = closed(server.folder, "wsctl", "export", "audit", "--format", "ndjson", "--out", "rows")
    assert (done.returncode, done.stderr) == (0, "")
    rows = [json.loads(row) for row in (server.folder / "rows").read_text().splitlines()]
    assert any(row["action"] == "broadcast" for row in rows)


def test_a_closed_standard_input_is_no_empty_one(server: ServerProcess) -> None:
    for line in ("broadcast --type t --data -", "token inspect -"):
        done = closed(server.folder, "wsctl", *line.split(), streams="<&-")
        assert done.returncode == 2
        assert "standard input is closed" in done.stderr


@pytest.mark.parametrize(
    "line",
    [
        "--help",
        "--version",
        pytest.param("config --help", marks=pytest.mark.long),
        pytest.param("config check --dev", marks=pytest.mark.long),
        "config show --dev",
        pytest.param("config show --dev --json", marks=pytest.mark.long),
        "db check --database var/wsserver.sqlite3",
        pytest.param("db check --help", marks=pytest.mark.long),
        "db backup backup.sqlite3 --force --database var/wsserver.sqlite3 -o json",
    ],
)
def test_so_does_wsserver(server: ServerProcess, line: str) -> None:
    done = closed(server.folder, "wsserver", *line.split())
    assert (done.returncode, done.stderr) == (1, f"wsserver: cannot write the output: {CLOSED}\n")


@pytest.mark.parametrize("line", ["--version", "config show --dev"])
def test_wsserver_on_a_full_disk_or_without_any_stream(server: ServerProcess, line: str) -> None:
    full = closed(server.folder, "wsserver", *line.split(), streams=">/dev/full")
    assert full.returncode == 1
    assert full.stderr == "wsserver: cannot write the output: No space left on device\n"
    both = closed(server.folder, "wsserver", *line.split(), streams="<&- >&- 2>&-")
    assert both.returncode == 1


def test_a_server_serves_without_any_stream(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [
            *("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-m", "wsserver"),
            *("serve", "--dev", "--port", "0"),
        ],
        cwd=tmp_path,
        env=environment(),
    )
    try:
        found = tmp_path / "var" / "dev-server.json"
        poll(lambda: found.exists() and found.read_text(), bool)
        health = subprocess.run(
            [sys.executable, "-m", "wsctl", "health", "-o", "json"],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(health.stdout)["status"] == "ok"
    finally:
        process.terminate()
        assert process.wait(15) == 0
