"""§9, §11: snapshots of statistics across restarts, and the error rate alert."""

from __future__ import annotations

import time
from datetime import datetime
from itertools import pairwise
from typing import Any

from tests.acceptance.conftest import Connect
from tests.support.running_server import RunningServer, Start
from tests.support.waiting import poll
from tests.support.websocket_clients import Client

TEN = {
    "total_connections",
    "active_connections",
    "messages_sent",
    "messages_received",
    "disconnections",
    "errors",
    "active_users",
    "active_sessions",
    "total_user_connections",
    "total_session_connections",
}


def unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def history(server: RunningServer, query: str = "") -> list[dict[str, Any]]:
    snapshots: list[dict[str, Any]] = server.get(f"/stats/history{query}").ok["snapshots"]
    return snapshots


def test_snapshots_are_taken_asked_for_and_kept(start: Start, connect: Connect) -> None:
    server = start(snapshot_interval_s=0.1, node="node-a")
    client = connect("u1", to=server, sessions="*")
    client.join("h1")
    taken: list[dict[str, Any]] = poll(
        lambda: history(server),
        lambda rows: any(row["active_sessions"] == 1 for row in rows) and len(rows) >= 6,
    )
    for row in taken:
        assert set(row) >= TEN | {"timestamp", "node", "sequence"}
        assert row["node"] == "node-a"
    times = [row["timestamp"] for row in taken]
    assert times == sorted(times)
    assert [row["sequence"] for row in taken] == list(range(1, len(taken) + 1))
    gaps = [unix(str(b)) - unix(str(a)) for a, b in pairwise(times)]
    assert sum(gaps) / len(gaps) < 0.3

    # since is inclusive, until exclusive
    middle = history(server, f"?since={times[2]}&until={times[4]}")
    assert [row["timestamp"] for row in middle] == times[2:4]
    assert [row["timestamp"] for row in history(server, "?since=1h&limit=2")] == times[:2]
    assert history(server, "?since=2020-01-01T00:00:00Z&until=2020-01-02T00:00:00Z") == []
    stepped = history(server, "?since=1h&step=1h")
    assert 1 <= len(stepped) <= 2

    client.close()
    server.stop()
    again = start(folder=server.folder, snapshot_interval_s=1000, node="node-a")
    kept = history(again)
    assert [row["timestamp"] for row in kept[: len(times)]] == times
    assert kept[-1]["total_connections"] == 0  # the one taken at the end
    assert len({row["timestamp"] for row in kept}) == len(kept)


def test_too_many_errors_raise_an_alarm_and_their_end_clears_it(
    start: Start, connect: Connect
) -> None:
    server = start(
        alert_error_rate=0.2, alert_window_s=1, message_rate=1_000_000, message_burst=1_000_000
    )
    watcher = connect("watcher", "/ws/admin/monitor", to=server, role="admin")
    watcher.result("subscribe", events=["alert_*"], interval_s=3600)
    client = connect("u1", to=server)
    assert server.health()["checks"]["errors"] == {"ok": True, "threshold": 0.2, "window_s": 1.0}
    for _ in range(20):
        client.code("nonsense")
    event = watcher.await_push("event")["event"]
    assert event["name"] == "alert_raised"
    assert event["alert"] == "error_rate"
    assert event["value"] > event["threshold"] == 0.2
    assert event["window_s"] == 1
    health = server.health()
    assert health["status"] == "degraded"
    assert health["checks"]["errors"]["ok"] is False
    started = time.monotonic()
    _talk_sense(client)
    event = watcher.await_push("event")["event"]
    assert event["name"] == "alert_cleared"
    assert time.monotonic() - started < 3
    assert server.health()["status"] == "ok"
    assert client.call("ping")["type"] == "pong"


def _talk_sense(client: Client) -> None:
    for _ in range(20):
        client.call("ping")
