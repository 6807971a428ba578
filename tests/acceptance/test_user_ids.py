"""Ids of users as identity providers and mail addresses have them: with ``|`` and ``+``."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.acceptance.conftest import Connect
from tests.support.running_server import RunningServer, Start
from tests.support.tokens import token
from tests.support.websocket_clients import open_client


@pytest.mark.parametrize("user", ["auth0|0123456789abcdef", "ann+chat@example.com"])
def test_they_work_everywhere(server: RunningServer, connect: Connect, user: str) -> None:
    path = f"/users/{quote(user, safe='')}"
    server.put("/sessions/own/members", {"user_ids": [user]}).ok  # noqa: B018 - checks the status
    body = {"type": "note", "data": 1, "keep": True}
    kept = server.post(f"{path}/messages", body).ok
    assert kept["stream"] == f"user:{user}"
    client = connect(user)
    assert client.established["user_id"] == user
    assert client.push("note")["id"] == kept["message_id"]
    client.call("ack", ids=[kept["message_id"]])
    client.join("own")
    assert [each["user_id"] for each in client.call("presence", session_id="own")["users"]] == [
        user
    ]
    position = {"epoch": kept["epoch"], "offset": 0}
    resumed = client.call("resume", streams={f"user:{user}": position})["streams"]
    assert [each["id"] for each in resumed[f"user:{user}"]["messages"]] == [kept["message_id"]]
    sent = server.post("/messages", {**body, "target": {"type": "user", "id": user}}).ok
    assert client.push("note")["id"] == sent["message_id"]
    trace = server.get(f"/messages/{sent['message_id']}?user_id={quote(user, safe='')}").ok
    assert trace["recipients"][0]["user_id"] == user
    for listed in (
        server.get(f"{path}/connections").ok,
        server.get(f"/connections?user_id={quote(user, safe='')}").ok,
    ):
        assert [each["user_id"] for each in listed["connections"]] == [user]
    mine = {"email": "ann@example.com"}
    assert server.put(f"{path}/contacts", mine).ok["email"] == "ann@example.com"
    notified = server.post("/notify", {"user_ids": [user], "title": "t", "message": "m"})
    assert notified.status == 202
    assert client.push("notification")["notification"]["title"] == "t"
    assert server.post(f"/ping/{quote(user, safe='')}").ok["online"] is True
    assert server.post("/users/disconnect", {"user_id": user}).ok == {"disconnected": 1}
    assert client.closed()[0] == 4502


def test_other_ids_do_not_hold_them(server: RunningServer) -> None:
    for bad in ("a|b", "a+b"):
        part = quote(bad, safe="")
        assert server.get(f"/sessions/{part}").problem == (400, "bad_request")
        assert server.get(f"/connections?session_id={part}").problem == (400, "bad_request")
        for kind in ("session", "organization", "role", "connection"):
            body = {"type": "note", "data": 1, "target": {"type": kind, "id": bad}}
            answer = server.post("/messages", body)
            assert answer.problem == (422, "validation_failed")
            assert answer.json()["errors"][0]["field"] == "target.id"
        code, reason = open_client(server, bearer=token("u1", organization_id=bad)).closed()
        assert (code, "organization_id" in reason) == (4500, True)


@pytest.mark.parametrize("user", ["张三", "a b", "a/b", "é"])
def test_an_invalid_user_id_is_refused_with_the_reason(server: RunningServer, user: str) -> None:
    code, reason = open_client(server, bearer=token(user)).closed()
    assert code == 4500
    assert '"sub"' in reason
    assert "A-Z" in reason


def test_another_claim_can_hold_the_user_id(start: Start, connect: Connect) -> None:
    server = start(jwt_user_claim="email")
    client = connect("auth0|张三", to=server, email="ann+chat@example.com")
    assert client.established["user_id"] == "ann+chat@example.com"
    code, reason = open_client(server, bearer=token("u1")).closed()
    assert (code, '"email"' in reason) == (4500, True)
