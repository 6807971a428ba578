"""A user's data: what there is, and that nothing of it is left when it was erased."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Connect
from tests.support.running_server import ADMIN, RunningServer, Start
from tests.support.tokens import token

SECRET_TEXT = "the-secret-of-this-test"
ADDRESS = "u1@private.example"


def data_of(server: RunningServer, user_id: str) -> dict[str, list[Any]]:
    """The exported rows by table."""
    answer = server.get(f"/users/{user_id}/data")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/x-ndjson"
    found: dict[str, list[Any]] = {}
    for line in answer.body.splitlines():
        row = json.loads(line)
        found.setdefault(row["table"], []).append(row["row"])
    return found


def fill(server: RunningServer, connect: Connect) -> tuple[Any, Any]:
    """Let u1 and u2 have done something of everything; returns u2's client and u1's message."""
    assert server.put("/users/u1/contacts", {"email": ADDRESS}).status == 200
    server.put("/sessions/s1/members", {"user_ids": ["u1", "u2"]})
    other = connect("u2", to=server)
    other.join("s1")
    client = connect("u1", to=server)
    client.join("s1")
    sent = client.call("send_message", session_id="s1", content=f"{SECRET_TEXT} 1")
    said = other.call("send_message", session_id="s1", content="what others say stays")
    client.call("mark_read", session_id="s1", offset=said["offset"])
    assert client.call("ack", ids=[said["message_id"]])["acknowledged"] == 1
    private = {"type": "new_message", "content": f"{SECRET_TEXT} 2", "session_id": "s1"}
    server.post("/users/u1/messages", private)
    sender = {"sender": {"user_id": "u1"}}
    server.post("/users/u2/messages", {**private, **sender, "content": f"{SECRET_TEXT} 3"})
    for users in (["u1"], ["u1", "u2"]):
        text = {"title": "for you", "message": f"{SECRET_TEXT} to {len(users)}"}
        answer = server.post("/notify", {"user_ids": users, "channels": ["websocket"], **text})
        assert answer.status == 202
    client.rest()
    other.rest()
    client.close()
    return other, sent


@pytest.fixture
def server(start: Start) -> RunningServer:
    return start(webhook_urls=["http://127.0.0.1:9/hook"], webhook_secret="s" * 32,
                 allow_loopback_urls=True)  # fmt: skip


def test_all_data_of_a_user_is_exported(server: RunningServer, connect: Connect) -> None:
    _, sent = fill(server, connect)
    found = data_of(server, "u1")
    assert found["contacts"][0]["contact"]["email"] == ADDRESS
    texts = sorted(row["push"]["message"]["content"] for row in found["messages"][:2])
    assert texts == [f"{SECRET_TEXT} 1", f"{SECRET_TEXT} 3"]
    streams = {row["stream"] for row in found["messages"]}
    assert streams == {"session:s1", "user:u1", "user:u2"}
    (position,) = found["participants"]
    assert (position["session_id"], position["is_member"]) == ("s1", 1)
    assert [row["channel"] for row in found["deliveries"]] == ["websocket", "websocket"]
    assert found["deliveries"][0]["content"]["message"] == f"{SECRET_TEXT} to 1"
    assert "receipts" in found
    own = next(row for row in found["messages"] if row["message_id"] == sent["message_id"])
    assert own["offset"] == sent["offset"]
    assert data_of(server, "nobody") == {}
    assert server.request("HEAD", "/api/v1/websocket/users/u1/data", bearer=ADMIN).body == b""
    entries = server.get("/audit?action=export_user_data").json()["entries"]
    assert [entry["target"] for entry in entries] == ["user:u1", "user:nobody", "user:u1"]


def test_nothing_is_left_of_an_erased_user(server: RunningServer, connect: Connect) -> None:
    other, sent = fill(server, connect)
    answer = server.delete("/users/u1/data")
    assert answer.status == 200
    erased = answer.json()["erased"]
    few = {name: erased[name] for name in ("contacts", "deliveries", "participants")}
    assert few == {"contacts": 1, "deliveries": 2, "participants": 1}
    assert erased["messages"] >= 4
    (pushed,) = [push for push in other.rest() if push["type"] == "message_deleted"]
    assert pushed["message_id"] == sent["message_id"]
    assert pushed["message"]["deleted"] is True

    page = server.get("/sessions/s1/history").json()
    first, second = [each["message"] for each in page["messages"]]
    assert first == pushed["message"]
    assert second["content"] == "what others say stays"
    assert set(data_of(server, "u1")) <= {"participants"}
    (position,) = data_of(server, "u1")["participants"]
    assert position["has_written"] == 0
    back = connect("u1", to=server)
    assert back.established["inbox"]["pending"] == 0
    back.join("s1")
    (notification,) = server.get("/notifications").json()["notifications"]
    assert notification["recipients"] == {"user_ids": ["u2"]}
    assert [each["user_id"] for each in notification["deliveries"]] == ["u2"]
    (entry, *_) = server.get("/audit?action=erase").json()["entries"]
    assert (entry["actor"], entry["target"]) == ("admin", "user:u1")

    answers = [
        server.get("/sessions/s1/history?changes=true").body.decode(),
        server.get(f"/messages/{sent['message_id']}").body.decode(),
        json.dumps(back.call("history", session_id="s1", changes=True)),
        json.dumps(other.call("search", query=SECRET_TEXT[:20])),
        server.get("/audit").body.decode(),
    ]
    for delivery in server.get("/webhooks/deliveries").json()["deliveries"]:
        answers.append(server.get(f"/webhooks/deliveries/{delivery['delivery_id']}").body.decode())
    private = [f"{SECRET_TEXT} {number}" for number in (1, 2, 3, "to 1")] + [ADDRESS]
    assert [text for text in private for each in answers if text in each] == []
    assert server.delete("/users/u1/data").status == 200
    back.close()
    other.close()
    server.stop()
    for file in Path(server.database.parent).glob("wsserver.sqlite3*"):
        content = file.read_bytes()
        assert [text for text in private if text.encode() in content] == [], file


def test_positions_in_memory_are_erased(server: RunningServer, connect: Connect) -> None:
    server.put("/sessions/s1/members", {"user_ids": ["u1", "u2"]})
    reader = connect("u1", to=server)
    writer = connect("u2", to=server)
    writer.join("s1")
    said = [writer.call("send_message", session_id="s1", content=str(i)) for i in range(3)]
    reader.call("mark_read", session_id="s1", offset=said[0]["offset"])
    reader.await_unread(unread=2)
    assert server.delete("/users/u1/data").status == 200
    pushed = reader.await_unread(unread=0)
    assert (pushed["session_id"], pushed["total"]) == ("s1", 0)
    positions = {each["user_id"]: each for each in server.get("/sessions/s1").json()["positions"]}
    assert positions["u1"]["read_offset"] == said[2]["offset"]
    (known,) = [each for each in reader.join("s1")["users"] if each["user_id"] == "u2"]
    assert known["read_offset"] == said[2]["offset"]


def test_only_administrators_may(server: RunningServer) -> None:
    for role in ("service", "manager", "user"):
        bearer = token("x", role=role, organization_id="acme")
        for method in ("GET", "DELETE"):
            path = "/api/v1/websocket/users/u1/data"
            answer = server.request(method, path, bearer=bearer)
            assert (answer.status, answer.json()["code"]) == (403, "forbidden")
    denied = server.get("/audit?action=erase").json()["entries"]
    assert [entry["outcome"] for entry in denied] == ["forbidden"] * 3
