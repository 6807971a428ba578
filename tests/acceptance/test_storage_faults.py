"""A failing database: no false acknowledgement, the rest works on, and it recovers."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Connect
from tests.support.http_response import Response
from tests.support.running_server import API, RunningServer, Start
from tests.support.storage_faults import BrokenDisk, FullDisk, Locked, NoPages, StorageFault
from tests.support.waiting import poll

FAULTS: dict[str, Callable[[], StorageFault]] = {
    "locked": Locked,
    "I/O error": BrokenDisk,
    "no pages": NoPages,
    "full disk": FullDisk,
}
MANY = [f"member-{n:05}-{'x' * 90}" for n in range(2000)]
"""More than fits into pages that are there already."""
KEPT = {"type": "new_message", "content": "z" * 20_000}
NEWS = {"type": "news", "data": {"text": "y" * 20_000}}


@pytest.fixture(params=list(FAULTS.values()), ids=list(FAULTS))
def fault(request: pytest.FixtureRequest) -> StorageFault:
    made: StorageFault = request.param()
    return made


def what_needs_storage(server: RunningServer) -> list[Response]:
    """One of each kind, all at once: members, a revocation, a POST with a key, a kept message."""
    requests: list[Callable[[], Response]] = [
        lambda: server.put("/sessions/s1/members", {"user_ids": MANY}),
        lambda: server.post("/tokens/revoke", {"jti": "stolen"}),
        lambda: server.post("/broadcast", NEWS, headers={"Idempotency-Key": "k"}),
        lambda: server.post("/sessions/s1/messages", KEPT),
    ]
    with ThreadPoolExecutor(len(requests)) as pool:
        return [answer.result() for answer in [pool.submit(request) for request in requests]]


def kept_in_s1(server: RunningServer) -> list[int]:
    return [message["offset"] for message in server.get("/sessions/s1/history").ok["messages"]]


def database_of(server: RunningServer) -> Any:
    return server.health()["checks"]["database"]


def test_a_fault_refuses_what_needs_storage_and_nothing_else_and_passes(
    fault: StorageFault, start: Start, connect: Connect, tmp_path: Path
) -> None:
    server = fault.start(start, tmp_path)
    server.expects_faults = True
    server.put("/sessions/s1/members", {"user_ids": ["before"]})
    server.post("/sessions/s1/messages", KEPT)
    alice, bob = (connect(name, to=server, sessions=["s1"]) for name in ("alice", "bob"))
    for client in (alice, bob):
        client.join("s1")
    alice.rest()

    fault.begin(server)
    alice.send("send_message", session_id="s1", content="w" * 20_000)
    for refused in what_needs_storage(server):
        assert refused.problem == fault.refusal
        assert int(refused.headers["retry-after"]) > 0
    error = alice.reply()["error"]
    assert (error["code"], error["temporary"]) == (fault.refusal[1], True)
    assert bob.rest() == []

    health = server.request("GET", f"{API}/health")
    assert (health.status, health.json()["status"]) == (200, "degraded")
    assert database_of(server)["ok"] is False
    alice.call("typing", session_id="s1", is_typing=True)
    assert bob.push("typing")["user_id"] == "alice"
    assert server.post("/broadcast", {"type": "news", "data": "live"}).ok["sent"] == 2
    assert bob.push("news")["data"] == "live"
    newcomer = connect("carol", to=server, sessions=["s1"])
    newcomer.join("s1")
    bob.await_push("user_status_update")
    assert server.get("/sessions/s1/members").ok["user_ids"] == ["before"]
    assert kept_in_s1(server) == [1]
    assert server.get("/stats/history").status == 200
    assert server.get("/audit").status == 200
    assert database_of(server)["ok"] is False

    fault.end(server)
    poll(lambda: server.health()["status"], lambda status: status == "ok")
    bob.rest()
    for done in what_needs_storage(server):
        assert done.ok
    assert sorted(push["type"] for push in bob.rest()) == ["new_message", "news"]
    assert kept_in_s1(server) == [1, 2]
    assert database_of(server)["lost_writes"] == 0
    entries = server.get("/audit").ok["entries"]
    assert sorted(entry["action"] for entry in entries) == [
        "broadcast",  # under the fault: it waited
        "broadcast",
        "members",
        "members",
        "publish",
        "publish",
        "revoke",
    ]
    server.stop()


@pytest.mark.parametrize("kind", ["locked", "I/O error", "no pages"])
def test_what_was_acknowledged_around_a_fault_is_there_after_a_crash(
    kind: str, start: Start, tmp_path: Path
) -> None:
    fault = FAULTS[kind]()
    server = fault.start(start, tmp_path)
    server.expects_faults = True
    acknowledged = {"before": [f"u{n:03}" for n in range(100)]}
    server.put("/sessions/before/members", {"user_ids": acknowledged["before"]})
    fault.begin(server)
    refused = server.put("/sessions/during/members", {"user_ids": MANY})
    assert refused.problem == fault.refusal
    fault.end(server)
    poll(lambda: database_of(server)["ok"], bool)
    assert server.put("/sessions/after/members", {"user_ids": MANY}).ok
    server.send_signal(signal.SIGKILL)
    server.wait()

    with closing(sqlite3.connect(f"{server.database.as_uri()}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    again = start(folder=tmp_path)
    for session_id, members in (*acknowledged.items(), ("during", []), ("after", MANY)):
        assert again.get(f"/sessions/{session_id}/members").ok["user_ids"] == members


@pytest.mark.long
def test_damage_found_under_way_stops_all_writing_and_is_not_hidden(
    start: Start, connect: Connect, tmp_path: Path
) -> None:
    first = start(folder=tmp_path)
    first.post("/broadcast", {"type": "news", "data": 1})
    first.put("/sessions/s1/members", {"user_ids": ["before"]})
    first.stop()
    server = start(folder=tmp_path, snapshot_interval_s=3600)
    server.expects_faults = True
    alice = connect("alice", to=server, sessions=["s1"])
    alice.join("s1")
    with closing(sqlite3.connect(server.database)) as connection:
        pages = connection.execute("SELECT rootpage FROM sqlite_schema WHERE tbl_name = 'audit'")
        places = [(page - 1) * 4096 for (page,) in pages]
    with server.database.open("r+b") as file:
        for place in places:
            os.pwrite(file.fileno(), b"\xff" * 4096, place)

    assert server.get("/audit").problem == (503, "storage_unavailable")
    server.wait_for("is damaged")
    for refused in what_needs_storage(server):
        assert refused.problem == (503, "storage_unavailable")
    assert "damaged" in database_of(server)["last_error"]
    assert server.health()["status"] == "degraded"
    assert server.post("/broadcast", {"type": "news", "data": 2}).ok["sent"] == 1
    assert alice.await_push("news")["data"] == 2
    assert server.get("/sessions/s1/members").ok["user_ids"] == ["before"]
    named = [line for line in server.lines if "restore the file from a backup" in line]
    assert len(named) == 1
    assert str(server.database) in named[0]
    alice.close()
    server.stop()
