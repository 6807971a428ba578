"""§6: administrative changes over REST, their effect on open sockets, the audit trail."""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import Connect, OpenRaw
from tests.support.running_server import RunningServer
from tests.support.tokens import token
from tests.support.waiting import poll


def test_disconnecting_a_user_all_or_one(server: RunningServer, connect: Connect) -> None:
    clients = [connect("u1") for _ in range(3)]
    other = connect("u2")
    body = {"user_id": "u1", "connection_id": clients[1].id, "reason": "one device"}
    assert server.post("/users/disconnect", body).ok == {"disconnected": 1}
    assert clients[1].closed() == (4502, "one device")
    assert server.post("/users/disconnect", {"user_id": "u1"}).ok == {"disconnected": 2}
    for client in (clients[0], clients[2]):
        code, reason = client.closed()
        assert code == 4502
        assert reason
    assert server.post("/users/disconnect", {"user_id": "u1"}).ok == {"disconnected": 0}
    body = {"user_id": "u1", "connection_id": other.id}  # another user's
    assert server.post("/users/disconnect", body).ok == {"disconnected": 0}
    assert other.call("ping")["type"] == "pong"


def test_deleting_a_connection(server: RunningServer, connect: Connect) -> None:
    client = connect("u1", v1=False)
    assert server.delete(f"/connections/{client.id}").ok == {"disconnected": 1}
    assert client.closed()[0] == 4502
    assert server.delete(f"/connections/{client.id}").problem == (404, "not_found")


@pytest.mark.parametrize("reason", ["x" * 1000, "连" * 60, "a\nb"])
def test_odd_reasons_still_fit_a_close_frame(
    server: RunningServer, connect: Connect, reason: str
) -> None:
    client = connect("u1")
    answer = server.post("/users/disconnect", {"user_id": "u1", "reason": reason})
    if answer.status == 422:
        assert answer.json()["errors"][0]["field"] == "reason"
        return
    code, said = client.closed()
    assert code == 4502
    assert len(said.encode()) <= 123
    assert reason.startswith(said.rstrip("…"))


def test_pinging_is_a_real_round_trip(
    server: RunningServer, connect: Connect, raw: OpenRaw
) -> None:
    library = connect("u1")
    mute = raw()
    mute_id = mute.open(token("u1"))["connection_id"]
    answer = server.post("/ping/u1", {"timeout_s": 0.5}).ok
    assert answer["online"] is True
    trips = {each["connection_id"]: each for each in answer["connections"]}
    assert set(trips) == {library.id, mute_id}
    assert trips[library.id]["alive"] is True
    assert 0 < trips[library.id]["rtt_ms"] < 500
    assert trips[mute_id] == {"connection_id": mute_id, "alive": False, "rtt_ms": None}
    for bad in (0, -1, "5", True, 1e9):
        assert server.post("/ping/u1", {"timeout_s": bad}).problem[0] == 422


def test_members_are_kept_and_replaced(server: RunningServer) -> None:
    path = "/sessions/team/members"
    assert server.put(path, {"user_ids": ["b", "a"]}).ok == {
        "session_id": "team",
        "user_ids": ["a", "b"],
    }
    assert server.get(path).ok["user_ids"] == ["a", "b"]
    assert server.get("/sessions/team").ok["members"] == ["a", "b"]
    for bad in ({}, {"user_ids": "a"}, {"user_ids": ["a b"]}, {"user_ids": [1]}):
        assert server.put(path, bad).problem == (422, "validation_failed")
    assert server.put(path, {"user_ids": []}).ok["user_ids"] == []


def test_every_action_leaves_its_entry(server: RunningServer, connect: Connect) -> None:
    client = connect("u1")
    before = server.get("/audit?limit=1").ok["total"]
    headers = {"X-Request-ID": "audited-1"}
    server.post("/broadcast", {"type": "news"}, headers=headers)
    server.put("/sessions/audited/members", {"user_ids": ["x"]})
    server.post("/tokens/revoke", {"jti": "some-jti"})
    server.delete(f"/connections/{client.id}")
    server.post("/users/disconnect", {"user_id": "u1", "reason": "why"})
    page = poll(lambda: server.get("/audit?limit=5").ok, lambda page: page["total"] == before + 5)
    entries = page["entries"]
    assert [(entry["action"], entry["target"]) for entry in entries] == [
        ("disconnect", "user:u1"),
        ("disconnect", f"connection:{client.id}"),
        ("revoke", "jti:some-jti"),
        ("members", "session:audited"),
        ("broadcast", "broadcast"),
    ]
    for entry in entries:
        assert (entry["actor"], entry["role"], entry["outcome"]) == ("admin", "admin", "ok")
        assert entry["at"].endswith("Z")
        assert entry["remote_ip"] == "127.0.0.1"
    assert entries[-1]["request_id"] == "audited-1"
    assert entries[0]["detail"]["reason"] == "why"
    assert server.get("/audit?action=revoke&limit=1").ok["entries"] == [entries[2]]
    second = server.get(f"/audit?limit=5&cursor={page['next_cursor']}") if before else None
    if second is not None:
        assert entries[-1] not in second.ok["entries"]
