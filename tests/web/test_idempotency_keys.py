"""Idempotency keys: a repeated request runs once and gets the same answer."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.web_server import API, Server, StartServer, token
from wsserver.errors import StorageUnavailable
from wsserver.web.api import pipeline as exchange

HINT = {"type": "hint", "data": {"a": 1, "b": 2}}


def key(value: str) -> dict[str, str]:
    return {"Idempotency-Key": value}


@pytest.mark.gen_test
async def test_the_same_key_gives_the_same_answer_and_one_message(server: Server) -> None:
    socket = await server.connect("u1")
    first = await server.post("/broadcast", headers=key("k1"), **HINT)
    again = await server.post("/broadcast", headers=key("k1"), **HINT)
    assert (first.status, first.body) == (again.status, again.body)
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["content-type"] == "application/json"
    reordered = b'{ "data": {"b": 2, "a": 1}, "type": "hint" }'
    assert (await server.post("/broadcast", reordered, headers=key("k1"))).body == first.body
    await server.post("/broadcast", headers=key("k2"), type="last", data=1)
    assert (await socket.push())["type"] == "hint"
    assert (await socket.push())["type"] == "last"


@pytest.mark.gen_test
async def test_the_same_key_with_another_body_is_a_conflict(server: Server) -> None:
    await server.post("/broadcast", headers=key("k"), **HINT)
    answer = await server.post("/broadcast", headers=key("k"), type="hint", data=2)
    assert (answer.status, answer.code) == (409, "idempotency_conflict")


@pytest.mark.gen_test
async def test_keys_of_other_users_and_paths_are_other_keys(server: Server) -> None:
    first = await server.post("/broadcast", headers=key("k"), **HINT)
    other = await server.post("/broadcast", headers=key("k"), bearer=token("admin2"), **HINT)
    assert first.json()["message_id"] != other.json()["message_id"]
    elsewhere = await server.post("/users/u1/messages", headers=key("k"), **HINT)
    assert elsewhere.status == 200
    assert "idempotency-replayed" not in elsewhere.headers


@pytest.mark.gen_test
async def test_a_request_under_way_is_pending(server: Server) -> None:
    socket = await server.connect("u1")
    first = asyncio.ensure_future(server.post("/ping/u1", headers=key("k"), timeout_s=20))
    ping = await socket.push("ping")
    second = await server.post("/ping/u1", headers=key("k"), timeout_s=20)
    assert (second.status, second.code) == (409, "idempotency_pending")
    socket.send(type="pong", id=ping["id"])
    answer = await first
    assert answer.json()["connections"][0]["alive"] is True
    replayed = await server.post("/ping/u1", headers=key("k"), timeout_s=20)
    assert replayed.body == answer.body


@pytest.mark.parametrize("value", ["x" * 256, "é", "a\tb"])
@pytest.mark.gen_test
async def test_a_malformed_key(server: Server, value: str) -> None:
    bearer = token()
    head = (
        f"POST {API}/broadcast HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {bearer}\r\n"
        f"Content-Type: application/json\r\nContent-Length: 15\r\nIdempotency-Key: {value}\r\n\r\n"
    )
    answer = await server.raw(head.encode("latin-1") + b'{"type":"hint"}')
    assert (answer.status, answer.code) == (400, "bad_request")
    assert answer.json()["field"] == "Idempotency-Key"
    twice = head.replace("Idempotency-Key", "Idempotency-Key: a\r\nIdempotency-Key")
    answer = await server.raw(twice.encode("latin-1") + b'{"type":"hint"}')
    assert answer.status == 400


@pytest.mark.gen_test
async def test_refusals_and_failures_are_not_kept(server: Server) -> None:
    user = token("u1", "user")
    assert (await server.post("/broadcast", headers=key("a"), bearer=user, **HINT)).status == 403
    assert (
        await server.post("/broadcast", headers=key("b"), type="connection_established")
    ).status == 422
    assert (await server.post("/broadcast", headers=key("b"), **HINT)).status == 200

    broadcast = server.context.publishing.broadcast

    async def fail(*args: object) -> None:
        raise StorageUnavailable

    server.context.publishing.broadcast = fail
    failed = await server.post("/broadcast", headers=key("c"), **HINT)
    assert (failed.status, failed.code) == (503, "storage_unavailable")
    assert int(failed.headers["retry-after"]) > 0

    async def break_down(*args: object) -> None:
        raise RuntimeError

    server.context.publishing.broadcast = break_down
    assert (await server.post("/broadcast", headers=key("c"), **HINT)).status == 500
    server.context.publishing.broadcast = broadcast
    assert (await server.post("/broadcast", headers=key("c"), **HINT)).status == 200


@pytest.mark.gen_test
async def test_a_key_on_get_is_left_alone(server: Server) -> None:
    for _ in range(2):
        answer = await server.get("/stats", headers=key("k"))
        assert answer.status == 200
        assert "idempotency-replayed" not in answer.headers


@pytest.mark.gen_test
async def test_a_ticket_is_stored_nowhere_and_asked_for_again_it_is_another_one(
    server: Server,
) -> None:
    first = await server.post("/tickets", headers=key("t"), bearer=token("u1", role="user"))
    again = await server.post("/tickets", headers=key("t"), bearer=token("u1", role="user"))
    tickets = {answer.json()["ticket"] for answer in (first, again)}
    assert len(tickets) == 2
    assert "idempotency-replayed" not in again.headers
    other = await server.post("/tickets", b'{"a":1}', headers=key("t"), bearer=token("u1"))
    assert other.status == 422  # a refused request takes no key, and finds none
    stored = await server.context.idempotency._database.read(
        lambda db: db.execute("SELECT * FROM idempotency").fetchall()
    )
    assert len(stored) == 1
    assert not [ticket for ticket in tickets if ticket in repr(stored)]


@pytest.mark.gen_test
async def test_keys_of_one_user_come_to_an_end(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "OPEN_ENDPOINT_KEYS", 2)
    for name in ("a", "b"):
        assert (await server.post("/tickets", headers=key(name))).status == 200
    answer = await server.post("/tickets", headers=key("c"))
    assert (answer.status, answer.code) == (429, "idempotency_limit")
    assert answer.json()["detail"].startswith("2 idempotency keys of yours are stored")
    assert 86_000 < int(answer.headers["retry-after"]) <= 86_400
    assert answer.json()["retry_after_s"] == int(answer.headers["retry-after"])
    assert (await server.post("/tickets")).status == 200
    assert (await server.post("/tickets", headers=key("a"))).status == 200
    assert (await server.post("/tickets", headers=key("c"), bearer=token("u2"))).status == 200
    assert (await server.post("/broadcast", headers=key("c"), **HINT)).status == 200


@pytest.mark.gen_test
async def test_who_may_publish_has_as_many_keys_as_the_settings_say(
    start_server: StartServer,
) -> None:
    server = await start_server(max_idempotency_keys_per_user=2)
    for name in ("a", "b"):
        assert (await server.post("/broadcast", headers=key(name), **HINT)).status == 200
    answer = await server.post("/users/u1/messages", headers=key("c"), **HINT)
    assert (answer.status, answer.code) == (429, "idempotency_limit")
    assert (await server.post("/tickets", headers=key("c"))).status == 200
