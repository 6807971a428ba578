"""The commands that ask the server and show its answer."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import click
import pytest

from tests.support.fake_server import (
    ADMIN,
    API,
    NOBODY,
    STATS,
    FakeServer,
    Run,
    connection,
    page,
    problem,
)


def test_stats_shows_every_field_with_its_unit(ctl: Run) -> None:
    text = ctl("stats").stdout
    shown = {line[:25].strip(): line[25:].strip() for line in text.splitlines()}
    assert shown["total connections"] == "12"
    assert shown["messages sent"].split() == ["34,567", "45.25", "/s"]
    assert shown["uptime"] == "3 h 5 min"
    assert shown["queued"] == "145 KiB"
    assert shown["deliver p50/p99"] == "0.4/3.25 ms"
    assert shown["rtt p50/p99"] == "-"


def test_stats_as_json_and_csv_before_and_after_the_command(ctl: Run) -> None:
    assert json.loads(ctl("stats", "-o", "json").stdout) == STATS
    assert json.loads(ctl("-o", "json", "stats").stdout) == STATS
    (row,) = csv.DictReader(io.StringIO(ctl("-o", "json", "stats", "-o", "csv").stdout))
    assert row["messages_sent"] == "34567"
    assert row["deliver_ms.p99"] == "3.25"


def test_health_needs_no_token_and_its_exit_code_is_the_status(
    run: Run, server: FakeServer
) -> None:
    good = run("--url", server.url, "health")
    assert (good.exit_code, "database" in good.stdout) == (0, True)
    assert server.asked[0].token is None
    server.answers["GET", "/health"] = (503, {"status": "draining", "checks": {}})
    bad = run("--url", server.url, "health", "-q")
    assert (bad.exit_code, bad.output) == (1, "")
    server.answers["GET", "/health"] = (503, problem(503, "server_full", "no room"))
    assert "no room (server_full, 503, request req_7)" in run("--url", server.url, "health").stderr


def test_health_says_what_is_wrong_and_what_was_measured(ctl: Run, server: FakeServer) -> None:
    checks = {
        "database": {"ok": False, "file_bytes": 148_328, "last_error": "the disk is full"},
        "loop": {"ok": True, "lag_ms": 0.9},
    }
    server.answers["GET", "/health"] = (503, {"status": "degraded", "checks": checks})
    result = ctl("health")
    rows = [line.split(None, 2) for line in result.stdout.splitlines()]
    assert (result.exit_code, rows[1]) == (1, ["status", "degraded"])
    database, loop = result.stdout.splitlines()[2:]
    assert database.split()[:3] == ["database", "NOT", "OK"]
    assert database.endswith("file 145 KiB, last error the disk is full")
    assert loop.endswith("lag 0.9 ms")
    lines = ctl("health", "-o", "csv").stdout.splitlines()
    assert lines[0] == "check,result"
    assert "database.file_bytes,148328" in lines


def test_lists_follow_every_page(ctl: Run, server: FakeServer) -> None:
    server.connections = [connection(number) for number in range(2300)]
    assert len(json.loads(ctl("connections", "-o", "json").stdout)) == 2300
    assert [asked.query.get("cursor") for asked in server.asked] == [None, "1000", "2000"]
    server.asked.clear()
    assert len(json.loads(ctl("connections", "--limit", "1500", "-o", "json").stdout)) == 1500
    assert [asked.query["limit"] for asked in server.asked] == ["1000", "500"]


def test_connections_pass_their_filters_on(ctl: Run, server: FakeServer) -> None:
    result = ctl("connections", "--user", "u1", "--session", "s:1", "--endpoint", "chat")
    assert result.exit_code == 0
    assert server.asked[0].query.items() >= {
        "user_id": "u1", "session_id": "s:1", "endpoint": "chat"
    }.items()  # fmt: skip
    assert "organization_id" not in server.asked[0].query
    assert "张三" in result.stdout
    assert "'=cmd()" in ctl("connections", "-o", "csv").stdout


def test_online_and_sessions(ctl: Run) -> None:
    assert "张三" in ctl("online").stdout
    assert "张三" in ctl("sessions").stdout
    assert ctl("sessions", "--state", "pending", "--holder", "ai:bot").exit_code == 0
    assert json.loads(ctl("sessions", "-o", "json").stdout)[0]["offset"] == 9


@pytest.mark.parametrize(
    ("args", "path", "body"),
    [
        (["broadcast", "你好"], "/broadcast", {"type": "announcement", "data": {"text": "你好"}}),
        (
            ["broadcast", "--type", "price", "--data", "[1]", "--exclude", "u1", "--role", "admin"],
            "/broadcast",
            {"type": "price", "data": [1], "exclude_users": ["u1"], "role": "admin"},
        ),
        (
            ["send", "--user", "a@b", "hi", "--keep", "--ttl", "1h"],
            "/users/a@b/messages",
            {"type": "announcement", "data": {"text": "hi"}, "keep": True, "ttl_s": 3600},
        ),
        (
            ["send", "--session", "s1", "--type", "new_message", "hi"],
            "/sessions/s1/messages",
            {"type": "new_message", "content": "hi"},
        ),
        (
            ["send", "--session", "s1", "--type", "typing", "--data", '{"is_typing": true}'],
            "/sessions/s1/messages",
            {"type": "typing", "is_typing": True},
        ),
        (
            ["disconnect", "u1", "--connection", "conn_1", "--reason", "bye"],
            "/users/disconnect",
            {"user_id": "u1", "connection_id": "conn_1", "reason": "bye"},
        ),
    ],
)
def test_what_is_posted(
    ctl: Run, server: FakeServer, args: list[str], path: str, body: dict[str, Any]
) -> None:
    result = ctl(*args)
    assert result.exit_code == 0, result.output
    assert server.asked[0].path == API + path
    assert server.asked[0].body == body


def test_publishing_says_how_many_got_it(ctl: Run) -> None:
    assert ctl("broadcast", "x").stdout == "msg_1 to all users: 3 matched, 2 sent, 1 failed\n"
    assert json.loads(ctl("broadcast", "x", "-o", "json").stdout)["matched"] == 3
    assert ctl("broadcast", "x", "-q").output == ""
    piped = ctl("broadcast", "--type", "t", "--data", "-", stdin='{"a": 1}')
    assert piped.exit_code == 0


@pytest.mark.parametrize(
    "args",
    [
        ["broadcast"],
        ["broadcast", "x", "--data", "{}"],
        ["broadcast", "--type", "t", "--data", "{"],
        ["broadcast", "--type", "t", "--data", "NaN"],
        ["broadcast", "--type", "typing", "--data", "[]"],
        ["broadcast", "x", "--ttl", "1h"],
        ["send", "x"],
        ["send", "--user", "u", "--session", "s", "x"],
        ["connections", "--limit", "0"],
        ["--bogus", "stats"],
        ["stats", "-o", "xml"],
        ["export", "stats", "--since", "2026-13-45"],
        ["export", "stats", "--since", "1h", "--until", "2h"],
        ["export", "stats", "--step", "0s"],
    ],
)
def test_bad_usage_is_2_and_asks_nothing(ctl: Run, server: FakeServer, args: list[str]) -> None:
    assert ctl(*args).exit_code == 2
    assert server.asked == []


def test_a_mistyped_command_is_answered_with_the_nearest(run: Run) -> None:
    result = run("conections")
    assert (result.exit_code, "Did you mean connections" in result.stderr) == (2, True)
    assert "Did you mean create?" in run("token", "creat").stderr


def test_ping_shows_round_trips_and_a_summary(ctl: Run, server: FakeServer) -> None:
    result = ctl("ping", "u1", "-c", "2", "-i", "1ms")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"PING u1 through {server.url}",
        "answer from conn_1: n=1 time=1.5 ms",
        "answer from conn_1: n=2 time=1.5 ms",
        "--- u1 ping statistics ---",
        "2 sent, 2 received, 0% loss",
        "rtt min/avg/max/mdev = 1.500/1.500/1.500/0.000 ms",
    ]
    assert server.asked[0].body == {"timeout_s": 5.0}


def test_ping_without_an_answer_is_1(ctl: Run) -> None:
    result = ctl("ping", "nobody", "-c", "1")
    assert (result.exit_code, "100% loss" in result.stdout) == (1, True)
    answer = json.loads(ctl("ping", "nobody", "-c", "1", "-o", "json").stdout)
    assert ctl("ping", "u1", "-c", "1", "-o", "csv").stdout == (
        "n,connection_id,alive,rtt_ms,error\n1,conn_1,true,1.5,\n"
    )
    assert answer["summary"] == {"sent": 1, "received": 0, "loss_percent": 100.0}


def test_ping_keeps_its_pace_and_goes_on_without_the_server(server: FakeServer) -> None:
    from wsctl.cli.environment import Environment
    from wsctl.commands.ping import round_trips

    environment = Environment(url=server.url, token=ADMIN)
    gone = (503, problem(503, "draining", "restarting"))
    waits: list[float] = []
    now = [100.0]

    def wait(seconds: float) -> None:
        waits.append(seconds)
        now[0] += seconds
        if len(waits) == 1:
            server.answers["POST", "/ping/u1"] = gone
            now[0] += 1.5  # the second round takes longer than the interval
        else:
            server.answers.clear()

    with click.Context(click.Command("ping")):
        trips = round_trips(environment, "u1", 3, 1.0, 5.0, wait, lambda: now[0])
        found = [(trip["n"], trip["alive"], bool(trip["error"])) for trip in trips]
        environment.client.close()
    assert found == [(1, True, False), (2, False, True), (3, True, False)]
    assert waits == [1.0, 0.0]


def test_ping_through_a_server_that_is_not_there_from_the_start_is_3(run: Run) -> None:
    result = run("--url", "http://127.0.0.1:9", "--token", ADMIN, "ping", "u1")
    assert (result.exit_code, "statistics" in result.stdout) == (3, False)


def test_refusals_are_one_line_with_code_and_request_id(ctl: Run, server: FakeServer) -> None:
    server.answers["GET", "/stats"] = (500, problem(500, "internal_error", "odd\nthing\x1b[2J"))
    result = ctl("stats")
    assert result.exit_code == 1
    assert result.stderr == (
        "wsctl: odd thing\\x1b[2J (internal_error, 500, request req_7)\n"
    )  # fmt: skip
    server.answers["GET", "/stats"] = (200, b"<html>")
    assert "is it a wsserver?" in ctl("stats").stderr


@pytest.mark.parametrize("token", [NOBODY, "canary-of-a-token", "canary with\nblanks"])
def test_a_token_that_may_not_is_4_and_never_shown(
    run: Run, server: FakeServer, token: str
) -> None:
    result = run("--url", server.url, "--token", token, "stats")
    assert result.exit_code == 4
    assert token not in result.output
    assert result.stderr.count("\n") == 1


def test_no_token_at_all_is_4(run: Run, server: FakeServer) -> None:
    result = run("--url", server.url, "stats")
    assert (result.exit_code, "no token" in result.stderr) == (4, True)


def test_an_unreachable_server_exits_with_3_and_one_line(run: Run) -> None:
    result = run("--url", "http://127.0.0.1:9", "--token", ADMIN, "stats")
    assert result.exit_code == 3
    assert result.stderr == "wsctl: cannot reach http://127.0.0.1:9: Connection refused\n"


@pytest.mark.parametrize(
    "url", ["ftp://x", "127.0.0.1:8765", "http://u:secret@x", "http://x:99999"]
)
def test_an_odd_address_is_2(run: Run, url: str) -> None:
    result = run("--url", url, "--token", ADMIN, "stats")
    assert (result.exit_code, "secret" in result.output) == (2, False)


def test_watch_names_the_server_that_is_down_the_reason_and_the_next_attempt() -> None:
    from wsctl.commands.stats import outage

    url = "http://127.0.0.1:9"
    said = f"no statistics from {url}: Connection refused; retrying every 2 s"
    assert outage(url, f"cannot reach {url}: Connection refused", 2.0) == said
    assert url in outage(url, "the server is about to stop (draining, 503)", 2.0)


def test_watch_in_a_pipe_repeats_lines_and_outlives_an_outage() -> None:
    from wsctl.commands.stats import watched
    from wsctl.errors import NotPermitted, Unreachable

    answers: list[Any] = [Unreachable("gone"), {"n": 2}, NotPermitted("no")]

    def fetch() -> dict[str, Any]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    waits: list[float] = []
    samples = watched({"n": 1}, fetch, 2.0, waits.append)
    assert [next(samples) for _ in range(3)] == [{"n": 1}, "gone", {"n": 2}]
    with pytest.raises(NotPermitted):
        next(samples)
    assert waits == [2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("args", "key", "sizes"),
    [
        (("search", "x"), "messages", ["50", "50", "20"]),
        (("conversations", "u1"), "conversations", ["100", "20"]),
        (("why-unread", "u1"), "sessions", ["100", "20"]),
        (("notifications", "feed", "u1"), "notifications", ["100", "20"]),
    ],
)
def test_lists_with_small_pages_are_read_page_by_page_up_to_the_limit(
    ctl: Run,
    server: FakeServer,
    monkeypatch: pytest.MonkeyPatch,
    args: tuple[str, ...],
    key: str,
    sizes: list[str],
) -> None:
    rows = [{"session_id": f"s{number}"} for number in range(150)]
    monkeypatch.setattr(server, "answer", lambda asked: (200, page(key, rows, asked.query)))
    shown = ctl(*args, "--limit", "120", "-o", "json").stdout
    assert json.loads(shown) == rows[:120]
    assert [asked.query["limit"] for asked in server.asked] == sizes
