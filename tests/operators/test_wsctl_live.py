"""Every command of wsctl against a real server."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.operators.conftest import Run
from tests.support.server_process import (
    ServerProcess,
    environment,
)
from tests.support.tokens import SECRET
from tests.support.waiting import PATIENCE_S, poll
from tests.support.websocket_clients import silent_client
from wsctl.output.stats_fields import TEN

MODULE = [sys.executable, "-m", "wsctl"]


def receive(client: ClientConnection, kind: str) -> dict[str, Any]:
    """The next message of a type; pings are answered."""
    while True:
        message: dict[str, Any] = json.loads(client.recv(timeout=PATIENCE_S))
        if message["type"] == kind:
            return message


@contextmanager
def answering(client: ClientConnection) -> Iterator[None]:
    """Answer the pings of a client in the background, as programs do."""
    import threading

    def answer() -> None:
        try:
            for text in client:
                message = json.loads(text)
                if message["type"] == "ping":
                    client.send(json.dumps({"type": "pong", "id": message["id"]}))
        except ConnectionClosed:
            return

    thread = threading.Thread(target=answer)
    thread.start()
    yield
    client.close()
    thread.join()


@pytest.fixture
def clients(server: ServerProcess) -> Iterator[dict[str, ClientConnection]]:
    """Two users in the session s1; 王五 has a name."""
    with ExitStack() as stack:
        found = {}
        for user, name in (("u1", "王五"), ("u2", None)):
            token = server.token(user, "user", sessions=["s1"], username=name or "=cmd()")
            address = server.websocket("/ws/chat/session/s1", token)
            found[user] = stack.enter_context(connect(address))
            receive(found[user], "session_joined")
        yield found


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def start(server: ServerProcess, *args: str) -> subprocess.Popen[str]:
    """Start wsctl as a process with a pipe, in the server's folder."""
    return subprocess.Popen(
        [*MODULE, *args],
        cwd=server.folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def started(server: ServerProcess, *args: str) -> Iterator[subprocess.Popen[str]]:
    with start(server, *args) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.stderr.read() if process.stderr else ""
    return line


# Looking


def test_stats_in_every_format(ctl: Run, clients: dict[str, ClientConnection]) -> None:
    table = ctl("stats")
    assert table.exit_code == 0
    lines = table.stdout.splitlines()
    assert len(lines) + 2 <= 24, "with the live view's own two lines, a usual terminal shows it all"
    shown = dict(line.split("  ", 1) for line in lines[1:])
    assert shown["total connections"].strip() == "2"
    assert "deliver p50/p95/p99/max" in shown
    assert max(map(cell_len, table.stdout.splitlines())) <= 80
    stats = json.loads(ctl("stats", "-o", "json").stdout)
    assert list(stats)[:10] == list(TEN)
    assert (stats["active_users"], stats["active_sessions"], stats["node"]) == (2, 1, "n1")
    (row,) = rows(ctl("stats", "-o", "csv").stdout)
    assert list(row)[:10] == list(TEN)
    assert row["total_session_connections"] == "2"
    assert float(row["rates.messages_sent_per_s"]) >= 0


def test_every_figure_of_the_server_has_a_unit_that_is_known(ctl: Run) -> None:
    table = ctl("stats").stdout
    for leftover in ("_s", " per ", "{", "null", "None"):
        assert leftover not in table


def test_health_in_every_format(ctl: Run) -> None:
    table = ctl("health")
    assert table.exit_code == 0
    lines = [line for line in table.stdout.splitlines()[1:] if not line.startswith(" ")]
    checks = {line.split()[0]: line.split()[1] for line in lines}
    assert checks == dict.fromkeys(
        ("status", "database", "broker", "connections", "loop", "errors"), "ok"
    )
    assert max(map(cell_len, table.stdout.splitlines())) <= 80
    assert json.loads(ctl("health", "-o", "json").stdout)["status"] == "ok"
    assert rows(ctl("health", "-o", "csv").stdout)[0] == {"check": "status", "result": "ok"}
    assert ctl("health", "-q").output == ""


def test_online_in_every_format(ctl: Run, clients: dict[str, ClientConnection]) -> None:
    assert "王五" in ctl("online").stdout
    users = json.loads(ctl("online", "-o", "json").stdout)
    assert {user["user_id"]: user["connections"] for user in users} == {"u1": 1, "u2": 1}
    assert {row["metadata.username"] for row in rows(ctl("online", "-o", "csv").stdout)} == {
        "王五", "'=cmd()",
    }  # fmt: skip


def test_connections_in_every_format(ctl: Run, clients: dict[str, ClientConnection]) -> None:
    assert len(ctl("connections").stdout.splitlines()) == 3
    found = json.loads(ctl("connections", "--user", "u1", "-o", "json").stdout)
    assert [one["session_id"] for one in found] == ["s1"]
    assert len(rows(ctl("connections", "--session", "s1", "-o", "csv").stdout)) == 2
    assert len(rows(ctl("connections", "--limit", "1", "-o", "csv").stdout)) == 1
    nobody = ctl("connections", "--endpoint", "monitor")
    assert (nobody.exit_code, nobody.stdout, nobody.stderr) == (0, "", "no connections\n")


def test_sessions_in_every_format(ctl: Run, clients: dict[str, ClientConnection]) -> None:
    line = ctl("sessions").stdout.splitlines()[1]
    assert line.startswith("s1")
    assert "王五" in line
    (session,) = json.loads(ctl("sessions", "-o", "json").stdout)
    assert (session["session_id"], session["connections"]) == ("s1", 2)
    assert rows(ctl("sessions", "-o", "csv").stdout)[0]["session_id"] == "s1"


# Saying


def test_broadcast_reaches_all_users(ctl: Run, clients: dict[str, ClientConnection]) -> None:
    said = ctl("broadcast", "今晚 22 点维护")
    assert (said.exit_code, said.stdout.strip().endswith("2 matched, 2 sent, 0 failed")) == (
        0,
        True,
    )
    for client in clients.values():
        assert receive(client, "announcement")["data"] == {"text": "今晚 22 点维护"}
    answer = ctl("broadcast", "--type", "price", "--data", '{"sku": 7}', "--exclude", "u1", "-o",
                 "json")  # fmt: skip
    assert json.loads(answer.stdout)["matched"] == 1
    assert receive(clients["u2"], "price")["data"] == {"sku": 7}


def test_send_reaches_a_user_or_a_session(ctl: Run, clients: dict[str, ClientConnection]) -> None:
    assert "1 sent" in ctl("send", "--user", "u1", "for you").stdout
    assert receive(clients["u1"], "announcement")["data"] == {"text": "for you"}
    said = ctl("send", "--session", "s1", "--type", "new_message", "a colleague takes over")
    assert "2 sent" in said.stdout
    for client in clients.values():
        message = receive(client, "new_message")["message"]
        assert (message["content"], message["session_id"]) == ("a colleague takes over", "s1")
    assert "0 matched" in ctl("send", "--user", "nobody", "hello?").stdout
    assert ctl("send", "--user", "u1", "--type", "session_joined", "x").exit_code == 1


def test_ping_measures_round_trips(ctl: Run, clients: dict[str, ClientConnection]) -> None:
    with answering(clients["u1"]):
        result = ctl("ping", "u1", "-c", "2", "-i", "10ms")
        assert (result.exit_code, result.stdout.count("answer from conn_")) == (0, 2)
        assert "2 sent, 2 received, 0% loss" in result.stdout
        found = json.loads(ctl("ping", "u1", "-c", "1", "-o", "json").stdout)
        assert found["summary"]["received"] == 1
        assert float(rows(ctl("ping", "u1", "-c", "1", "-o", "csv").stdout)[0]["rtt_ms"]) > 0


def test_ping_of_a_user_who_is_offline_exits_with_1(ctl: Run) -> None:
    result = ctl("ping", "nobody", "-c", "1")
    assert (result.exit_code, "nobody is not online" in result.stdout) == (1, True)


def test_disconnect_closes_one_connection_or_all(
    ctl: Run, server: ServerProcess, clients: dict[str, ClientConnection]
) -> None:
    second = connect(server.websocket("/ws/chat", server.token("u1", "user")))
    with second:
        receive(second, "connection_established")
        found = json.loads(ctl("connections", "--user", "u1", "-o", "json").stdout)
        (bound,) = [one["connection_id"] for one in found if one["session_id"]]
        one = ctl("disconnect", "u1", "--connection", bound, "--reason", "密码已更改", "--yes")
        assert (one.exit_code, one.stdout) == (0, "closed 1 connection of u1\n")
        with pytest.raises(ConnectionClosed) as closed:
            receive(clients["u1"], "nothing")
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4502, "密码已更改")
        rest = ctl("disconnect", "u1", "-o", "json")
        assert json.loads(rest.stdout) == {"disconnected": 1}
    assert ctl("disconnect", "u1").stdout == "u1 was not connected\n"


# Watching


def test_a_monitor_sees_a_chat(server: ServerProcess, clients: dict[str, ClientConnection]) -> None:
    with started(server, "monitor") as monitor:
        assert monitor.stderr is not None
        assert "watching" in monitor.stderr.readline()
        for message in (
            {"type": "typing", "session_id": "s1", "is_typing": True, "ref": 1},
            {"type": "send_message", "session_id": "s1", "content": "你好", "ref": 2},
        ):
            clients["u1"].send(json.dumps(message))
        receive(clients["u2"], "new_message")
        seen: list[str] = []
        while "message_received" not in seen:
            push = json.loads(line_of(monitor))
            seen.append(push["event"]["name"] if push["type"] == "event" else push["type"])
        assert "typing_status_changed" in seen
        monitor.send_signal(signal.SIGINT)
        assert monitor.wait(PATIENCE_S) == 130
        assert "Traceback" not in monitor.stderr.read()


def test_a_monitor_sees_what_is_published(server: ServerProcess, ctl: Run) -> None:
    with started(server, "monitor", "--events", "message_published") as monitor:
        assert monitor.stderr is not None
        monitor.stderr.readline()
        sent = ctl("send", "--user", "nobody", "--keep", "SECRET", "-o", "json")
        event: dict[str, Any] = {}
        while event.get("name") != "message_published":
            event = json.loads(line_of(monitor)).get("event", {})
        assert event["message_id"] == json.loads(sent.stdout)["message_id"]
        assert (event["type"], event["class"]) == ("announcement", "kept")
        assert event["target"] == {"type": "user", "id": "nobody"}
        assert "SECRET" not in str(event)


def test_a_monitor_shows_only_what_was_asked_for(
    server: ServerProcess, clients: dict[str, ClientConnection]
) -> None:
    with started(server, "monitor", "--events", "typing_*", "-o", "table") as monitor:
        assert monitor.stderr is not None
        monitor.stderr.readline()
        for is_typing in (True, False):
            message = {"type": "typing", "session_id": "s1", "is_typing": is_typing, "ref": 1}
            clients["u1"].send(json.dumps(message))
        for word in ("is_typing=yes", "is_typing=no"):
            line = line_of(monitor)
            assert "typing_status_changed" in line
            assert word in line
            assert "session_id=s1" in line


def test_a_monitor_shows_people_what_was_said(
    server: ServerProcess, clients: dict[str, ClientConnection]
) -> None:
    with started(server, "monitor", "--events", "message_*", "-o", "table") as monitor:
        assert monitor.stderr is not None
        monitor.stderr.readline()
        message = {"type": "send_message", "session_id": "s1", "content": "你好", "ref": 1}
        clients["u1"].send(json.dumps(message))
        others = ("message_published", "message_status_update", "message_delivered")
        while not (line := line_of(monitor).rstrip()).endswith(" message=你好"):
            assert any(name in line for name in others)


def test_a_monitor_gets_statistics_as_often_as_it_likes(server: ServerProcess) -> None:
    flags = ("--events", "stats_update", "--interval", "100ms")
    with started(server, "monitor", *flags) as monitor:
        first, second = json.loads(line_of(monitor)), json.loads(line_of(monitor))
        assert first["type"] == second["type"] == "stats_update"
        assert set(TEN) <= set(second["stats"])


def test_stats_watch_writes_line_after_line(server: ServerProcess) -> None:
    with started(server, "stats", "--watch", "--interval", "50ms", "-o", "json") as watch:
        first, second = json.loads(line_of(watch)), json.loads(line_of(watch))
        assert second["uptime_s"] > first["uptime_s"]
        watch.send_signal(signal.SIGINT)
        assert watch.wait(PATIENCE_S) == 130
        assert watch.stderr is not None
        assert watch.stderr.read().strip() == ""
    with started(server, "stats", "--watch", "--interval", "50ms", "-o", "csv") as watch:
        header, row = line_of(watch).split(","), line_of(watch).split(",")
        assert header[:2] == ["timestamp", "total_connections"]
        assert len(header) == len(row)


def test_a_monitor_comes_back_after_a_restart(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, "--dev", is_preloaded=True) as server:
        port = server.url.rpartition(":")[2]
        monitor = start(server, "monitor", "--events", "user_*")
        try:
            assert monitor.stderr is not None
            assert "watching" in monitor.stderr.readline()
            assert server.stop() == 0
            assert "closed with 1012" in monitor.stderr.readline()
            with ServerProcess(tmp_path, "--dev", "--port", port, is_preloaded=True) as again:
                while "watching" not in monitor.stderr.readline():
                    assert monitor.poll() is None
                assert again.stop() == 0
        finally:
            monitor.kill()
            monitor.communicate()


# Exporting


def after_snapshots(ctl: Run, count: int) -> list[dict[str, Any]]:
    """The history once it has at least so many snapshots."""

    def snapshots() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(ctl("export", "stats", "--format", "json").stdout)
        return found

    return poll(snapshots, lambda found: len(found) >= count)


def test_export_gives_the_same_from_the_server_and_from_its_file(
    ctl: Run, server: ServerProcess, tmp_path: Path
) -> None:
    until = after_snapshots(ctl, 3)[2]["timestamp"]
    flags = ("export", "stats", "--until", until)
    from_api, from_file = tmp_path / "api.csv", tmp_path / "file.csv"
    assert ctl(*flags, "--out", str(from_api)).output == ""
    database = str(server.folder / "var/wsserver.sqlite3")
    assert ctl(*flags, "--out", str(from_file), "--database", database).output == ""
    found = rows(from_api.read_text())
    assert len(found) == 2
    assert list(found[0])[:12] == ["timestamp", "node", *TEN]
    assert from_api.read_text() == from_file.read_text()
    assert found[0]["timestamp"].endswith("Z")
    lines = ctl(*flags, "--format", "ndjson").stdout.splitlines()
    assert [json.loads(line)["timestamp"] for line in lines] == [row["timestamp"] for row in found]
    assert len(rows(ctl("export", "stats", "--step", "1h").stdout)) in (1, 2)
    empty = ctl("export", "stats", "--since", "2020-01-01", "--until", "2020-01-02")
    assert (empty.exit_code, rows(empty.stdout)) == (0, [])


def test_export_works_while_the_server_is_down(run: Run, tmp_path: Path) -> None:
    with ServerProcess(tmp_path, "--dev", is_preloaded=True) as server:
        url = server.url
        assert server.stop() == 0
    database = tmp_path / "var/wsserver.sqlite3"
    before = database.read_bytes()
    done = run("export", "stats", "--database", str(database))
    assert (done.exit_code, len(rows(done.stdout))) == (0, 1)
    assert database.read_bytes() == before
    assert [path.name for path in database.parent.glob("wsserver*")] == ["wsserver.sqlite3"]
    out = tmp_path / "out.csv"
    out.write_text("of yesterday")
    token = ("--url", url, "--token", server.token())
    assert run(*token, "export", "stats", "--out", str(out)).exit_code == 3
    assert out.read_text() == "of yesterday"
    assert run("export", "stats", "--database", str(database), "--out", "/no/such").exit_code == 1


# Looking back


def test_stats_of_the_past_from_the_server_and_from_its_file(
    ctl: Run, server: ServerProcess
) -> None:
    snapshots = after_snapshots(ctl, 4)
    first, last = snapshots[1]["timestamp"], snapshots[3]["timestamp"]
    at = json.loads(ctl("stats", "--at", first, "-o", "json").stdout)
    assert at["timestamp"] == first
    database = ("--database", str(server.folder / "var/wsserver.sqlite3"))
    assert json.loads(ctl("stats", "--at", first, *database, "-o", "json").stdout) == at
    found = json.loads(ctl("stats", "--at", first, "--diff", last, "-o", "json").stdout)
    assert found["seconds"] > 0
    assert found["after"]["timestamp"] == last
    table = ctl("stats", "--at", first, "--diff", last).stdout
    assert "messages sent" in table
    assert max(map(cell_len, table.splitlines())) <= 80
    now = json.loads(ctl("stats", "--diff", first, "-o", "json").stdout)
    assert now["after"]["node"] == "n1"
    assert now["has_restarted"] is False
    course = rows(ctl("stats", "--at", first, "--step", "1s", "-o", "csv").stdout)
    assert [row["node"] for row in course] == ["n1"] * len(course)
    chart = ctl("stats", "--at", "1m", "--plot", "total_connections", *database).stdout
    assert chart.startswith("total connections  min ")


# Who may


def test_a_token_that_is_made_is_taken(ctl: Run, server: ServerProcess, tmp_path: Path) -> None:
    made = ctl("token", "create", "--user", "u9", "--sessions", "s9", "--username", "赵六").stdout
    with connect(server.websocket("/ws/chat/session/s9", made.strip())) as client:
        assert receive(client, "connection_established")["user_id"] == "u9"
        assert receive(client, "session_joined")["session_id"] == "s9"
    secret_file = str(server.folder / "var/dev-jwt-secret")
    flags = ("--user", "m1", "--role", "manager", "--organization", "o1", "--ttl", "5m")
    made = ctl("token", "create", *flags, "--secret-file", secret_file).stdout.strip()
    found = json.loads(ctl("token", "inspect", "-", "-o", "json", stdin=made).stdout)
    assert found["claims"]["role"] == "manager"
    assert ctl("--token", made, "online").exit_code == 0
    assert ctl("--token", made, "disconnect", "u1").exit_code == 4
    (tmp_path / "token").write_text(made)
    assert ctl("--token-file", str(tmp_path / "token"), "sessions").exit_code == 0


def test_a_token_of_the_environment_s_secret(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ServerProcess(tmp_path, env={"WSSERVER_JWT_SECRET": SECRET}, is_preloaded=True) as server:
        monkeypatch.setenv("WSSERVER_JWT_SECRET", SECRET)
        made = run("token", "create", "--user", "boss", "--role", "admin").stdout.strip()
        assert run("--url", server.url, "--token", made, "stats").exit_code == 0
        assert server.stop() == 0


def test_a_server_with_a_secret_of_its_own_is_found_in_var(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ServerProcess(
        tmp_path, "--dev", env={"WSSERVER_JWT_SECRET": SECRET}, is_preloaded=True
    ) as server:
        server.wait_for("websocket")
        monkeypatch.chdir(tmp_path)
        assert run("stats").exit_code == 0
        assert server.stop() == 0


def test_a_context_remembers_the_server(
    run: Run, server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text(server.token())
    monkeypatch.chdir(tmp_path)
    flags = ("--url", server.url, "--token-file", str(tmp_path / "token"))
    assert run("context", "add", "here", *flags).exit_code == 0
    assert run("context", "use", "here").exit_code == 0
    assert run("stats").exit_code == 0
    assert run("--context", "here", "health").exit_code == 0
    assert "here" in run("context", "list").stdout
    assert run("context", "remove", "here").exit_code == 0


def test_exit_codes(
    run: Run, server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bad = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.canary"
    for token in (bad, server.token("u1", "user"), server.token(exp=1)):
        refused = run("--url", server.url, "--token", token, "stats")
        assert refused.exit_code == 4
        assert refused.stderr.count("\n") == 1
        assert token not in refused.output
    assert run("--url", "http://127.0.0.1:1", "--token", bad, "stats").exit_code == 3
    assert run("stats", "--nonsense").exit_code == 2
    assert run("export", "stats", "--since", "2026-13-45").exit_code == 2
    assert run("broadcast", "--type", "x", "--data", "{").exit_code == 2


def test_health_of_a_server_that_drains_is_1_and_of_one_that_is_gone_3(
    run: Run, tmp_path: Path
) -> None:
    with (
        ServerProcess(tmp_path, "--dev", is_preloaded=True) as server,
        silent_client(server),
    ):
        assert run("--url", server.url, "health").exit_code == 0
        server.send_signal(signal.SIGTERM)
        server.wait_for("stopping")
        draining = run("--url", server.url, "health")
        assert (draining.exit_code, "draining" in draining.stdout) == (1, True)
        assert server.stop() == 1, "cut short"
        assert run("--url", server.url, "health").exit_code == 3
