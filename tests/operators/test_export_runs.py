"""Exports as processes beside a real server: overlap, signals, memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.export_database import add_entries, add_snapshots, make_database, rows_in
from tests.support.server_process import ServerProcess, environment
from tests.support.waiting import PATIENCE_S

WSCTL = [sys.executable, "-m", "wsctl"]


def wsctl(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*WSCTL, *args], cwd=folder, env=environment(), capture_output=True, text=True
    )


class StuckServer(BaseHTTPRequestHandler):
    """Gives one page of the audit trail, and keeps its client waiting for the next."""

    asked_again = threading.Event()
    goes_on = threading.Event()

    def do_GET(self) -> None:
        if "after=0" in self.path:
            rows = b'{"position": 1, "id": 1, "target": "1"}'
            body = b'{"entries": [%b], "position": 1, "end": 2, "epoch": "e"}' % rows
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        else:
            self.asked_again.set()
            self.goes_on.wait(PATIENCE_S)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def stuck() -> Iterator[str]:
    StuckServer.asked_again.clear()
    StuckServer.goes_on.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), StuckServer) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        StuckServer.goes_on.set()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)],
    ids=lambda value: str(value),
)
def test_a_run_that_is_ended_half_way_has_exported_nothing_and_frees_its_lock(
    stuck: str, tmp_path: Path, number: int, code: int
) -> None:
    (tmp_path / "audit.csv").write_text("old")
    args = ["--url", stuck, "--token", "t", "export", "audit", "--since-last", "state"]
    args += ["--out", "audit.csv"]
    process = subprocess.Popen(
        [*WSCTL, *args], cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True
    )
    assert StuckServer.asked_again.wait(PATIENCE_S)
    overlapping = wsctl(tmp_path, *args)
    assert (overlapping.returncode, overlapping.stderr.count("\n")) == (75, 1)
    process.send_signal(number)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, "Traceback" in said) == (code, False)
    left = {name for name in os.listdir(tmp_path) if not name.endswith(".part")}
    assert left == {"audit.csv", "state.lock"}
    assert (tmp_path / "audit.csv").read_text() == "old"
    if number != signal.SIGKILL:
        assert len(os.listdir(tmp_path)) == len(left)
    database = make_database(tmp_path / "db")
    add_entries(database, 7)
    done = wsctl(tmp_path, *args[4:], "--database", "db")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [row["target"] for row in rows_in(tmp_path / "audit.csv")] == ["7"]
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".part")]


def test_concurrent_runs_export_each_row_once(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, "--dev", is_preloaded=True) as server:
        database = tmp_path / "var/wsserver.sqlite3"
        target = ("--url", server.url, "--token", server.token())
        export = ("export", "audit", "--since-last", "state", "--out", "audit-{time}.csv")
        for number in range(4):
            add_entries(database, *range(10 * number, 10 * number + 10))
            beside = ((*target, *export), (*export, "--database", str(database)))
            runs = [
                subprocess.Popen([*WSCTL, *args], cwd=tmp_path, env=environment(),
                                 stderr=subprocess.DEVNULL)
                for args in beside
            ]  # fmt: skip
            assert {run.wait(PATIENCE_S) for run in runs} <= {0, 75}
        assert wsctl(tmp_path, *target, *export).returncode == 0
    found = [row["target"] for row in rows_in(*sorted(tmp_path.glob("audit-*.csv")))]
    assert found == [str(number) for number in range(40)]


MEASURED = """
import atexit, resource, runpy, sys
def tell():
    sys.stderr.write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
atexit.register(tell)
sys.argv[0] = "wsctl"
runpy.run_module("wsctl", run_name="__main__")
"""


@pytest.mark.long
@pytest.mark.parametrize("source", ["api", "file"])
def test_memory_stays_flat_however_many_rows_there_are(tmp_path: Path, source: str) -> None:
    """Thirty thousand snapshots of a kilobyte; a twentieth of them takes as much memory."""
    database = make_database(tmp_path / "db")
    add_snapshots(
        database, *range(30_000), step_s=1, **{f"figure_{n}_ms": n / 7 for n in range(30)}
    )
    peaks = []
    env = {"WSSERVER_SNAPSHOT_INTERVAL_S": "86400"}
    with ServerProcess(tmp_path, "--dev", "--database", "db", env=env, is_preloaded=True) as server:
        target = ("--url", server.url, "--token", server.token())
        for rows in (1500, 30_000):
            until = f"2023-11-1{4 if rows < 30_000 else 6}T22:38:20Z"  # START + 1500
            args = ("export", "stats", "--since", "2023-11-14", "--until", until, "--out", "out")
            where = (*target, *args) if source == "api" else (*args, "--database", "db")
            done = subprocess.run(
                [sys.executable, "-c", MEASURED, *where],
                cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True,
            )  # fmt: skip
            peaks.append(int(done.stderr))
            assert len(rows_in(tmp_path / "out")) == rows
    assert peaks[1] - peaks[0] < 4096, "KiB"
