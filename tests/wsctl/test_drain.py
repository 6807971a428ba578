"""``wsctl drain``: the forecast, and the comparison with what became of it."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from tests.support.fake_server import FakeServer, Run
from wsctl.drain_comparison import compare

AT = "2024-01-15T14:30:00.000Z"
FORECAST: dict[str, Any] = {
    "node": "n1",
    "total": 2,
    "users": 2,
    "window_ms": 50,
    "reconnects_per_s": [1, 1],
    "peak_per_s": 1,
    "ignore_hint": 1,
    "ignoring_clients": [{"user_agent": "curl/8", "connections": 1}],
    "unacknowledged": {"messages": 3, "users": 1},
    "queued_bytes": 2048,
    "growing_answers": 1,
    "next_cursor": None,
    "connections": [],
}


def before(user: str, hint_ms: int, number: int = 0) -> dict[str, Any]:
    return {
        "connection_id": f"conn_old_{user}_{number}",
        "user_id": user,
        "user_agent": f"agent of {user}",
        "reconnect_after_ms": hint_ms,
        "follows_hint": True,
        "unacknowledged": 0,
    }


def after(user: str, second: float, number: int = 0) -> dict[str, Any]:
    whole, millis = divmod(round(second * 1000), 1000)
    return {
        "connection_id": f"conn_new_{user}_{number}",
        "user_id": user,
        "connected_at": f"2024-01-15T14:30:{whole:02}.{millis:03}Z",
    }


DRAINED_AT = datetime.fromisoformat(AT).timestamp()


def test_each_second_has_its_reconnects() -> None:
    found = compare(
        [0, 2, 1],
        [before("a", 1000), before("b", 1400), before("c", 2000)],
        [after("a", 1.1), after("b", 1.5), after("c", 4.0)],
        DRAINED_AT,
    )
    assert (found.returned, found.missing, found.early) == (3, [], [])
    assert found.seconds() == [(0, 0, 0), (1, 2, 2), (2, 1, 0), (3, 0, 0), (4, 0, 1)]


def test_who_comes_before_the_time_given_has_ignored_it() -> None:
    found = compare(
        [0, 1, 1],
        [before("a", 1000), before("b", 2000)],
        [after("a", 0.8), after("b", 0.2)],
        DRAINED_AT,
    )
    assert [each.as_dict() for each in found.early] == [
        {"user_id": "b", "user_agent": "agent of b", "reconnect_after_ms": 2000,
         "came_after_ms": 200}
    ]  # fmt: skip


def test_who_is_missing_is_named_once_for_each_connection() -> None:
    found = compare(
        [0, 3],
        [before("a", 1000), before("a", 1100, 1), before("b", 1200)],
        [after("a", 1.2), before("b", 1200) | {"connected_at": "2024-01-15T14:30:01Z"}],
        DRAINED_AT,
    )
    assert found.missing == ["a", "b"]
    assert (found.expected, found.returned) == (3, 1)


def test_connections_from_before_the_drain_do_not_count() -> None:
    elsewhere = after("a", 0) | {"connected_at": "2024-01-15T14:29:00Z"}
    assert compare([0, 1], [before("a", 1000)], [elsewhere], DRAINED_AT).missing == ["a"]


@pytest.fixture
def server(server: FakeServer) -> FakeServer:
    """One with a node whose drain can be forecast."""
    server.answers["GET", "/nodes"] = (200, {"nodes": [{"node": "n1", "state": "up"}]})
    server.answers["GET", "/nodes/n1/drain"] = (200, FORECAST)
    return server


def test_a_rehearsal_shows_the_forecast_and_drains_nothing(ctl: Run, server: FakeServer) -> None:
    result = ctl("drain", "--rehearse")
    assert result.exit_code == 0
    first, second, third, *rest = result.stdout.splitlines()
    assert first == "n1: 2 connections of 2 users, back within 0.1 s, at most 1 a second"
    assert "3 messages of 1 user" in second
    assert "2 KiB" in second
    assert third == "clients that do not know the hint: 1"
    assert [line.split() for line in rest[1:3]] == [["0", "1"], ["1", "1"]]
    assert rest[-1].split() == ["1", "curl/8"]
    assert {asked.method for asked in server.asked} == {"GET"}


def test_a_rehearsal_for_programs_has_all_connections(ctl: Run, server: FakeServer) -> None:
    rows = [before("a", 1000), before("b", 1500)]
    server.answers["GET", "/nodes/n1/drain"] = (200, {**FORECAST, "connections": rows})
    found = json.loads(ctl("drain", "n1", "--rehearse", "-o", "json").stdout)
    assert found["connections"] == rows
    assert "next_cursor" not in found


def test_a_drain_is_compared_with_its_forecast(ctl: Run, server: FakeServer) -> None:
    rows = [before("a", 1000), before("b", 1500)]
    server.answers["GET", "/nodes/n1/drain"] = (200, {**FORECAST, "connections": rows})
    server.answers["POST", "/nodes/n1/drain"] = (200, {"node": "n1", "draining": True, "at": AT})
    server.connections = [after("a", 1.0), after("b", 0.3)]
    now = [{**before(user, 1000), "unacknowledged": count} for user, count in (("a", 2), ("c", 5))]
    server.answers["GET", "/nodes"] = (200, {"nodes": [{"node": "n2", "state": "up"}]})
    server.answers["GET", "/nodes/n2/drain"] = (200, {**FORECAST, "connections": now})
    result = ctl("drain", "n1", "--yes")
    assert result.exit_code == 0
    assert "n1: 2 of 2 connections came back, at most 1 a second (forecast: 1)" in result.stdout
    assert "1 client did not wait for the time given (forecast: 1)" in result.stdout
    assert "agent of b" in result.stdout
    found = json.loads(ctl("drain", "n1", "--yes", "-o", "json").stdout)
    assert found["comparison"]["ignored_hint"] == 1
    assert found["comparison"]["unacknowledged_before"] == 3
    assert found["comparison"]["unacknowledged_after"] == 2
    assert "unacknowledged messages of these users: 3 before, 2 now" in result.stdout


def test_who_stays_away_is_named_when_the_wait_is_over(ctl: Run, server: FakeServer) -> None:
    rows = [before("a", 10), before("b", 20)]
    server.answers["GET", "/nodes/n1/drain"] = (200, {**FORECAST, "connections": rows})
    server.answers["POST", "/nodes/n1/drain"] = (200, {"node": "n1", "draining": True, "at": AT})
    server.connections = [after("a", 1.0)]
    result = ctl("drain", "n1", "--yes", "--wait", "10ms")
    assert result.exit_code == 0
    assert "1 connection missing, of: b" in result.stdout


def test_without_waiting_nothing_is_compared(ctl: Run, server: FakeServer) -> None:
    server.answers["POST", "/nodes/n1/drain"] = (200, {"node": "n1", "draining": True, "at": AT})
    assert ctl("drain", "n1", "--yes", "--no-wait").stdout == "n1 is draining\n"


def test_one_of_several_nodes_has_to_be_named(ctl: Run, server: FakeServer) -> None:
    rows = [{"node": "n1", "state": "up"}, {"node": "n2", "state": "up"}]
    server.answers["GET", "/nodes"] = (200, {"nodes": rows})
    result = ctl("drain", "--rehearse")
    assert (result.exit_code, "n1, n2" in result.stderr) == (2, True)
