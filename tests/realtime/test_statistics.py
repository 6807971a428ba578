from __future__ import annotations

from typing import Any

import pytest

from tests.support.fake_connections import fake_connection
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.observability.statistics import Statistics, flatten, percentiles
from wsserver.storage.tables.snapshots import FIELDS


@pytest.fixture
def statistics(clock: Any) -> Statistics:
    return Statistics(clock, "node-1")


def test_the_ten_fields_have_the_reports_names() -> None:
    assert (
        *("total_connections", "active_connections", "messages_sent", "messages_received"),
        *("disconnections", "errors", "active_users", "active_sessions"),
        *("total_user_connections", "total_session_connections"),
    ) == FIELDS


def test_the_gauges_count_connections_users_sessions_and_pairs(
    statistics: Statistics, clock: Any
) -> None:
    now = clock.monotonic()
    hub = Hub()
    joins: dict[str, list[list[str]]] = {"u1": [["s1", "s2"], ["s1"]], "u2": [["s1"]], "u3": [[]]}
    heard = {"u1": now, "u2": now - 60.0, "u3": now - 59.9}  # to the second
    for user, connections in joins.items():
        for sessions in connections:
            organization_id = "o1" if user == "u1" else None
            connection = fake_connection(
                user, last_heard=heard[user], organization_id=organization_id
            )
            connection.websocket.queued_bytes = 10
            hub.add(connection)
            for session_id in sessions:
                hub.join(connection, session_id)
    hub.of_user("u1")[0].rtt_ms = 5.0
    stats = statistics.snapshot(hub, 60.0, 0.0)
    assert list(stats)[:10] == list(FIELDS)
    expected = {
        "total_connections": 4,
        "active_connections": 3,
        "active_users": 3,
        "active_sessions": 2,
        "total_user_connections": 4,
        "total_session_connections": 4,
        "queued_bytes": 40,
    }
    assert stats.items() >= expected.items()
    assert stats["rtt_ms"] == {"p50": 5.0, "p95": 5.0, "p99": 5.0, "max": 5.0}
    assert statistics.snapshot(hub, 60.0, now)["active_connections"] == 4  # it was us who stood
    mine = statistics.snapshot(hub, 60.0, 0.0, "o1")
    assert (mine["total_connections"], mine["active_users"], mine["active_sessions"]) == (2, 1, 2)
    assert statistics.snapshot(hub, 60.0, 0.0, "o9")["total_connections"] == 0


def crowd(hub: Hub, now: float, size: int) -> list[Any]:
    for number in range(size):
        connection = fake_connection(f"u{number // 2}", last_heard=now, organization_id="o1")
        connection.websocket.queued_bytes = 1
        hub.add(connection)
        hub.join(connection, f"s{number % 3}")
    return list(hub)


GAUGES = ("total_connections", "active_users", "active_sessions", "total_session_connections")


@pytest.mark.parametrize("organization_id", [None, "o1"])
def test_a_large_number_of_connections_is_scanned_once_a_second(
    statistics: Statistics, clock: Any, organization_id: str | None
) -> None:
    hub = Hub()
    first, *_ = crowd(hub, clock.monotonic(), 2001)

    def queued() -> Any:
        return statistics.snapshot(hub, 60.0, 0.0, organization_id)["queued_bytes"]

    assert queued() == 2001
    first.websocket.queued_bytes = 100
    clock.advance(0.9)
    assert queued() == 2001
    assert statistics.snapshot(hub, 60.0, 0.0, "o9")["queued_bytes"] == 0  # not the same part
    clock.advance(0.1)
    assert queued() == 2100
    first.websocket.queued_bytes = 1
    hub.leave(first, "s0")
    hub.remove(first)
    assert queued() == 2000  # not a crowd any more: always fresh


def test_in_a_crowd_the_sizes_of_the_server_are_exact_all_the_same(
    statistics: Statistics, clock: Any
) -> None:
    hub = Hub()
    connections = crowd(hub, clock.monotonic(), 2010)
    statistics.snapshot(hub, 60.0, 0.0)
    for connection in connections[:3]:
        hub.leave(connection, next(iter(connection.sessions)))
        hub.remove(connection)
    hub.join(connections[3], "s_new")
    hub.join(connections[3], "s_new")
    stats = statistics.snapshot(hub, 60.0, 0.0)
    assert [stats[name] for name in GAUGES] == [2007, 1004, 4, 2008]
    assert stats["active_connections"] == 2007  # never more than there are


def test_nothing_is_remembered_of_those_who_are_asked_about_no_more(
    statistics: Statistics, clock: Any
) -> None:
    hub = Hub()
    crowd(hub, clock.monotonic(), 2001)
    for organization_id in ("o1", None):
        statistics.snapshot(hub, 60.0, 0.0, organization_id)
    clock.advance(1.0)
    statistics.snapshot(hub, 60.0, 0.0, "o9")
    assert statistics._readings == {}


def test_errors_are_refused_commands_failed_sends_and_internal_errors(
    statistics: Statistics,
) -> None:
    statistics.refused_commands = 3
    statistics.internal_errors = 2
    statistics.messages_received = 7
    statistics.delivered(10, 4, 0.001)
    statistics.handler_failed()
    stats = statistics.snapshot(Hub(), 60.0, 0.0)
    assert stats["errors"] == 9
    assert (stats["messages_sent"], stats["messages_received"]) == (10, 7)
    assert (stats["failed_sends"], stats["handler_failures"]) == (4, 1)
    assert statistics.operations == 7 + 10 + 4


def test_uptime_and_node_are_included(statistics: Statistics, clock: Any) -> None:
    clock.advance(12.5)
    stats = statistics.snapshot(Hub(), 60.0, 0.0)
    assert (stats["uptime_s"], stats["node"]) == (12.5, "node-1")


def test_rates_are_those_of_the_last_ten_seconds(statistics: Statistics, clock: Any) -> None:
    assert set(statistics.rates().values()) == {0.0}
    statistics.mark()
    assert set(statistics.rates().values()) == {0.0}
    for second in range(40):
        clock.advance(1.0)
        statistics.messages_sent += 100 if second < 25 else 7
        statistics.messages_received += 3
        statistics.connects += 1
        statistics.mark()
    assert statistics.rates() == {
        "messages_sent_per_s": 7.0,
        "messages_received_per_s": 3.0,
        "connects_per_s": 1.0,
    }
    assert len(statistics._marks) <= 12


def test_percentiles_are_of_the_values_themselves() -> None:
    assert percentiles(range(1, 101)) == {"p50": 50, "p95": 95, "p99": 99, "max": 100}
    assert percentiles([3.0]) == {"p50": 3.0, "p95": 3.0, "p99": 3.0, "max": 3.0}
    assert percentiles([2.0, 1.0]) == {"p50": 1.0, "p95": 2.0, "p99": 2.0, "max": 2.0}
    assert set(percentiles([]).values()) == {None}


def test_only_the_latest_latencies_are_kept(statistics: Statistics) -> None:
    for _ in range(3000):
        statistics.delivered(1, 0, 9.0)
    for _ in range(2048):
        statistics.delivered(1, 0, 0.002)
    assert statistics.snapshot(Hub(), 60.0, 0.0)["deliver_ms"]["max"] == 2.0


def test_flat_figures_for_a_snapshot_leave_out_what_has_no_value(statistics: Statistics) -> None:
    flat = flatten(statistics.snapshot(Hub(), 60.0, 0.0))
    assert not any(isinstance(value, dict) or value is None for value in flat.values())
    assert flat["messages_sent_per_s"] == 0.0
    assert "rtt_ms_p50" not in flat
    assert flatten({"deliver_ms": {"p50": 1.0, "p99": None}, "n": 2}) == {
        "deliver_ms_p50": 1.0,
        "n": 2,
    }
