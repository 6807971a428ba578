"""``wsctl bench`` against a real server."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from websockets.sync.client import connect

from tests.operators.conftest import Run
from tests.support.faulty_proxy import FaultyProxy, without_upgrade
from tests.support.server_process import ServerProcess, environment
from tests.support.terminal import Terminal
from tests.support.waiting import PATIENCE_S

QUICK = ("bench", "--messages", "10", "--duration", "500ms")


def result_of(output: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(output)
    return found


def test_a_small_load(ctl: Run) -> None:
    done = ctl(*QUICK, "--connections", "7", "--size", "500", "-o", "json")
    assert done.exit_code == 0
    result = result_of(done.stdout)
    assert result["plan"]["size_bytes"] == 500
    assert result["connections"]["opened"] == 7
    assert result["deliveries"] == {
        **{"expected": 70, "received": 70, "lost": 0, "duplicated": 0},
        "per_s": result["deliveries"]["per_s"],
    }
    for measured in ("connect_ms", "publish_ms", "receive_ms", "ping_ms"):
        times = result[measured]
        assert 0 < times["p50"] <= times["p95"] <= times["p99"] <= times["max"]
    assert (result["errors"], result["stopped"]) == ({}, None)


def test_kept_messages_are_stored_first(ctl: Run) -> None:
    done = ctl(*QUICK, "--keep", "-o", "json")
    assert (done.exit_code, result_of(done.stdout)["deliveries"]["lost"]) == (0, 0)


def test_it_leaves_no_connection_and_no_audit_entry(ctl: Run, server: ServerProcess) -> None:
    before = published(server)
    assert ctl(*QUICK).exit_code == 0
    assert json.loads(ctl("online", "-o", "json").stdout) == []
    assert json.loads(ctl("sessions", "-o", "json").stdout) == []
    assert published(server) == before
    ctl("send", "--user", "u1", "hello")
    assert published(server) == before + 1  # as it is with an administrator's


def published(server: ServerProcess) -> int:
    """How many publishes the audit trail has."""
    request = urllib.request.Request(
        f"{server.url}/api/v1/websocket/audit?action=publish",
        headers={"Authorization": f"Bearer {server.token()}"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return int(json.load(answer)["total"])


def test_the_table_fits_80_columns(ctl: Run) -> None:
    done = ctl(*QUICK)
    lines = done.stdout.splitlines()
    assert max(map(cell_len, lines)) <= 80
    assert [line.split("  ")[0] for line in lines[1:5]] == [
        *("connect", "publish to accepted", "publish to received", "ping")
    ]
    assert lines[-1] == "100 of 100 deliveries, 0 lost, 0 duplicated; 10 of 10 connections"
    assert "10 connections; 10 messages, 20 a second" in done.stderr


def test_csv_is_one_line(ctl: Run) -> None:
    (row,) = csv.DictReader(io.StringIO(ctl(*QUICK, "-o", "csv").stdout))
    assert (row["deliveries.received"], row["plan.connections"]) == ("100", "10")


def test_one_token_is_used_up_to_its_users_limit(run: Run, server: ServerProcess) -> None:
    here = ("--url", server.url, "--token", server.token("alone"))
    done = run(*here, *QUICK)
    assert done.exit_code == 0
    assert "4 connections, of 5 that the token allows" in done.stderr
    refused = run(*here, *QUICK, "--connections", "5", "--yes")
    assert refused.exit_code == 1
    assert "4 at most" in refused.stderr
    with connect(server.websocket("/ws/chat", server.token("alone"))):
        assert "3 connections" in run(*here, *QUICK).stderr


@pytest.mark.parametrize(
    ("role", "claims", "missing"),
    [
        ("user", {}, "monitor, messages:publish, sessions:any"),
        ("service", {}, "sessions:any"),
        ("admin", {"permissions": ["monitor", "sessions:any"]}, "messages:publish"),
    ],
)
def test_a_token_without_the_permissions(
    run: Run, server: ServerProcess, role: str, claims: dict[str, Any], missing: str
) -> None:
    done = run("--url", server.url, "--token", server.token("u", role, **claims), *QUICK)
    assert done.exit_code == 4
    assert f"needs: {missing}" in done.stderr


def test_a_service_whose_token_opens_every_session_will_do(run: Run, server: ServerProcess) -> None:
    token = server.token("backend", "service", sessions="*")
    assert run("--url", server.url, "--token", token, *QUICK).exit_code == 0


def test_users_are_made_up_with_the_secret(run: Run, server: ServerProcess, tmp_path: Path) -> None:
    token = server.token("nobody", "user")
    secret = str(server.folder / "var" / "dev-jwt-secret")
    here = ("--url", server.url, "--token", token, *QUICK, "--connections", "12")
    done = run(*here, "--secret-file", secret, "-o", "json")
    assert (done.exit_code, result_of(done.stdout)["connections"]["opened"]) == (0, 12)
    (tmp_path / "other").write_text("x" * 32)
    done = run(*here, "--secret-file", str(tmp_path / "other"), "-o", "json")
    assert done.exit_code == 1
    (error,) = result_of(done.stdout)["errors"]
    assert "publisher: closed with 4500" in error


def test_a_large_run_without_a_terminal_to_confirm_is_refused(ctl: Run) -> None:
    done = ctl("bench", "--rate", "50", "--duration", "200ms")
    assert done.exit_code == 1
    assert "message_rate" in done.stderr
    assert "--yes" in done.stderr


def test_too_much_is_asked_about_on_a_terminal(server: ServerProcess) -> None:
    with Terminal("bench", "--rate", "50", "--duration", "200ms", cwd=server.folder) as terminal:
        terminal.until("Run it anyway?")
        terminal.type("n\r")
        assert terminal.end() == 1
        assert "nothing was done" in terminal.text


def test_it_stops_when_too_much_fails(ctl: Run) -> None:
    """Twice the rate that the server takes: the burst is soon used up."""
    done = ctl("bench", "--connections", "2", "--rate", "500", "--yes", "-o", "json")
    result = result_of(done.stdout)
    assert done.exit_code == 1
    assert result["stopped"] == "too many errors"
    assert "publish: rate_limited" in result["errors"]
    assert result["messages"]["published"] < result["plan"]["messages"]
    assert result["deliveries"]["lost"] == 0


def test_a_way_without_websockets(run: Run, server: ServerProcess) -> None:
    with FaultyProxy(server.url, rewrite=without_upgrade) as proxy:
        done = run("--url", proxy.url, "--token", server.token(), *QUICK, "-o", "json")
    assert done.exit_code == 1
    assert "publisher: answered 426" in result_of(done.stdout)["errors"]


def test_no_server_at_all(run: Run) -> None:
    done = run("--url", "http://127.0.0.1:1", "--token", "a.b.c", *QUICK)
    assert (done.exit_code, done.stdout) == (3, "")


@pytest.mark.long
def test_a_server_that_ends_meanwhile(tmp_path: Path) -> None:
    with (
        ServerProcess(tmp_path, "--dev", is_preloaded=True) as server,
        bench(server, "--duration", "1h", "--connections", "1") as process,
    ):
        server.wait_for('"path": "/ws/chat/session/.*"status": 101')
        server.send_signal(signal.SIGKILL)
        output, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert [error for error in result_of(output)["errors"] if error.endswith(": connection lost")]
    assert "Traceback" not in said


def test_ctrl_c_ends_it_with_the_result_so_far(server: ServerProcess) -> None:
    with bench(server, "--duration", "1h", "--connections", "2") as process:
        while b"wsctl-bench-publisher" not in online(server):
            pass
        process.send_signal(signal.SIGINT)
        output, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert result_of(output)["stopped"] == "interrupted"
    assert "Traceback" not in said


def online(server: ServerProcess) -> bytes:
    return subprocess.run(
        [sys.executable, "-m", "wsctl", "online"],
        cwd=server.folder,
        env=environment(),
        capture_output=True,
        timeout=PATIENCE_S,
    ).stdout


def bench(server: ServerProcess, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "wsctl", "bench", *args, "-o", "json"],
        cwd=server.folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_bar_shows_how_far_it_is_on_a_terminal(server: ServerProcess) -> None:
    with Terminal("bench", "--duration", "2s", cwd=server.folder) as terminal:
        terminal.until("publishing")
        terminal.until("deliveries")
        assert terminal.end() == 0
        assert "publishing" not in terminal.text  # and is gone then
        assert "400 of 400 deliveries, 0 lost, 0 duplicated" in terminal.text
