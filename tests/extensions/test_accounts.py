"""Accounts of messengers on a whole server: callbacks in, messages out, each once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from tests.extensions.test_gewe import NEW_ID, nested
from tests.support.http_provider import Answer, HttpProvider
from tests.support.lifecycle import run
from tests.support.waiting import until
from tests.support.web_server import Server, Socket, StartServer, token
from wsserver.errors import StorageUnavailable
from wsserver.extensions.accounts.service import WrongKey
from wsserver.extensions.accounts.store import AccountStore
from wsserver.web.http import failed_attempts

KEY, TOKEN = "key-of-the-callback", "token-of-the-api"
SESSION = "gewe:main:wxid_ann"


@pytest.fixture
def gewe(io_loop: IOLoop) -> Iterator[HttpProvider]:
    """The messenger's API."""
    provider = HttpProvider()
    provider.answer_with(200, b'{"ret":200,"data":{"newMsgId":9000000000000001}}')

    async def start() -> None:
        provider.start()

    io_loop.run_sync(start)
    yield provider
    io_loop.run_sync(provider.stop)


@pytest.fixture
def settings(gewe: HttpProvider) -> dict[str, Any]:
    main = {
        "kind": "gewe", "url": gewe.url("/v2/api"), "key": KEY, "token": TOKEN, "app_id": "wx_a1",
        "organization_id": "org_1", "members": ["bob"], "rate_per_minute": 6000,
    }  # fmt: skip
    other = {"kind": "webhook", "url": gewe.url("/out"), "key": KEY, "token": TOKEN}
    return {
        "extension_settings": {"accounts": {"main": main, "other": other}},
        "allow_loopback_urls": True,
        "delivery_backoff_s": 0.01,
    }


@pytest.fixture
def server(io_loop: IOLoop, start_server: StartServer, settings: dict[str, Any]) -> Server:
    async def start() -> Server:
        return await start_server(**settings)

    return run(io_loop, start)


async def report(
    server: Server,
    body: Any,
    account: str = "main",
    kind: str = "gewe",
    key: str = KEY,
    **options: Any,
) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await server.request("POST", f"/intake/{kind}/{account}?key={key}", data, **options)


async def member(server: Server) -> Socket:
    bob = await server.connect("bob", organization_id="org_1")
    bob.send(type="join_session", session_id=SESSION)
    await bob.push("session_joined")
    return bob


def sent(gewe: HttpProvider) -> list[Any]:
    return [json.loads(request.body) for request in gewe.requests]


@pytest.mark.gen_test
async def test_an_idempotency_key_of_a_messenger_means_nothing(server: Server) -> None:
    """Messages have ids of the messenger; keys belong to users, and a callback has none."""
    headers = {"Idempotency-Key": "k"}
    first = await report(server, nested(), headers=headers)
    assert (first.status, first.json()["result"]) == (200, "stored")
    again = await report(server, nested(), headers=headers)
    assert (again.status, again.json()["result"]) == (200, "repeated")
    paths = (await server.request("GET", "/api/v1/openapi.json")).json()["paths"]
    for kind in ("gewe", "webhook"):
        documented = paths[f"/intake/{kind}/{{account}}"]["post"]
        assert "401" not in documented["responses"]
        assert "409" not in documented["responses"]
        assert "Idempotency-Key" not in [each["name"] for each in documented["parameters"]]


@pytest.mark.gen_test
async def test_a_message_of_a_contact_is_in_its_session_once(server: Server) -> None:
    first = await report(server, nested())
    assert (first.status, first.json()["result"]) == (200, "stored")
    again = (await report(server, nested())).json()
    assert again == {"result": "repeated", "message_id": first.json()["message_id"]}
    session = (await server.get(f"/sessions/{SESSION}")).json()
    assert (session["organization_id"], session["members"]) == ("org_1", ["bob"])
    (push,) = (await server.get(f"/sessions/{SESSION}/history")).json()["messages"]
    assert push["message"]["content"] == "hi"
    assert push["message"]["sender"] == {
        "user_id": "wxid_ann", "username": None, "role": "customer",
    }  # fmt: skip


@pytest.mark.gen_test
async def test_what_is_written_there_goes_to_the_contact(
    server: Server, gewe: HttpProvider
) -> None:
    await report(server, nested())
    bob = await member(server)
    bob.send(type="send_message", session_id=SESSION, content="hello Ann")
    status = await bob.push("message_status_update")
    while status["status"] != "delivered":
        status = await bob.push("message_status_update")
    (body,) = sent(gewe)
    assert body == {"appId": "wx_a1", "toWxid": "wxid_ann", "content": "hello Ann", "ats": ""}
    assert gewe.requests[0].path == "/v2/api/message/postText"
    assert gewe.requests[0].headers["X-GEWE-TOKEN"] == TOKEN
    echo = await report(server, nested(sender="wxid_me", NewMsgId=9000000000000001,
                                       ToUserName={"string": "wxid_ann"}))  # fmt: skip
    assert echo.json()["result"] == "repeated"


@pytest.mark.gen_test
async def test_what_was_typed_on_the_phone_is_shown_and_not_sent(
    server: Server, gewe: HttpProvider
) -> None:
    typed = nested(sender="wxid_me", ToUserName={"string": "wxid_ann"})
    assert (await report(server, typed)).json()["result"] == "stored"
    bob = await member(server)
    bob.send(type="send_message", session_id=SESSION, content="after it")
    await until(lambda: len(gewe.requests) == 1)
    assert sent(gewe)[0]["content"] == "after it"


@pytest.mark.gen_test
async def test_an_answer_goes_out_once_when_it_is_complete(
    server: Server, gewe: HttpProvider
) -> None:
    await report(server, nested())
    begun = (await server.post(f"/sessions/{SESSION}/answers", content="It ")).json()
    path = f"/answers/{begun['message_id']}"
    await server.post(f"{path}/append", seq=1, text="fits")
    await server.post(f"/sessions/{SESSION}/answers", content="never completed")
    await server.post(f"{path}/finish", state="completed")
    await until(lambda: len(gewe.requests) == 1)
    assert sent(gewe)[0]["content"] == "It fits"


@pytest.mark.gen_test
async def test_a_failure_is_tried_again_in_order(server: Server, gewe: HttpProvider) -> None:
    failures = iter([500, 200])

    def answer(_: object) -> Answer:
        ret = next(failures, 200)
        return Answer(200, json.dumps({"ret": ret, "msg": "busy", "data": {}}).encode())

    gewe.answer = answer
    await report(server, nested())
    bob = await member(server)
    for text in "one", "two":
        bob.send(type="send_message", session_id=SESSION, content=text)
    await until(lambda: len(gewe.requests) == 3)
    assert [body["content"] for body in sent(gewe)] == ["one", "one", "two"]


@pytest.mark.gen_test
async def test_what_fails_for_good_is_reported_and_can_be_sent_again(
    start_server: StartServer, settings: dict[str, Any], gewe: HttpProvider
) -> None:
    server = await start_server(**settings, delivery_attempts=1)
    gewe.answer_with(200, json.dumps({"ret": 500, "msg": f"bad {TOKEN}"}).encode())
    await report(server, nested())
    bob = await member(server)
    bob.send(type="send_message", session_id=SESSION, content="hello")
    status = await bob.push("message_status_update")
    while status["status"] != "failed":
        status = await bob.push("message_status_update")
    assert status["reason"] == "ret 500: bad [redacted]"
    (main, _) = (await server.get("/accounts")).json()["accounts"]
    assert (main["failed"], main["pending"], main["last_sent_at"]) == (1, 0, None)
    whole = (await server.get("/accounts/main")).json()
    assert (whole["members"], whole["failed"]) == (["bob"], 1)
    (unsent,) = whole["unsent"]
    assert (unsent["state"], unsent["contact"], unsent["sender"]) == ("failed", "wxid_ann", "bob")
    assert (unsent["attempts"], unsent["due_at"]) == (1, None)
    assert unsent["detail"] == "ret 500: bad [redacted]"
    trace = (await server.get(f"/messages/{unsent['message_id']}")).json()
    (outside,) = trace["outside"]
    assert outside.pop("at") >= unsent["at"]
    assert outside == {
        "by": "account main", "recipient": "wxid_ann", "state": "failed", "attempts": 1,
        "reason": "ret 500: bad [redacted]",
    }  # fmt: skip
    stranger = token("m", "manager", organization_id="org_2")
    path = f"/messages/{unsent['message_id']}"
    assert (await server.get(path, bearer=stranger)).code == "not_found"
    assert (await server.get("/accounts/main", bearer=stranger)).code == "not_found"
    assert (await server.get("/accounts/none")).code == "not_found"
    gewe.answer_with(200, b'{"ret":200,"data":{}}')
    assert (await server.post("/accounts/main/retry")).json() == {"retried": 1}
    await until(lambda: len(gewe.requests) == 2)
    while (whole := (await server.get("/accounts/main")).json())["unsent"]:
        await asyncio.sleep(0.01)
    assert whole["sent"] == 1
    (outside,) = (await server.get(path)).json()["outside"]
    assert (outside["state"], "reason" in outside) == ("sent", False)
    assert "outside" not in (await server.get(f"{path}?user_id=bob")).json()
    assert whole["last_sent_at"] == unsent["at"]


@pytest.mark.gen_test
async def test_the_account_goes_offline(server: Server) -> None:
    body = {"TypeName": "Offline", "Appid": "wx_a1", "Wxid": "wxid_me"}
    bob = await server.connect("bob", organization_id="org_1")
    for _ in range(2):
        assert (await report(server, body)).json() == {"result": "noted"}
    listed = (await server.get("/accounts")).json()["accounts"]
    assert listed[0]["status"] == "offline"
    await bob.push("notification")
    sent = (await server.get("/notifications?template=device_status")).json()["notifications"]
    assert len(sent) == 1, "the same status is told once"


@pytest.mark.gen_test
async def test_forged_and_malformed_callbacks(server: Server) -> None:
    for key in "", "wrong", KEY[:-1], KEY + "x":
        assert (await report(server, nested(), key=key)).status in (404, 422)
    assert (await report(server, nested(), account="none")).status == 404
    assert (await report(server, nested(), kind="webhook")).status == 404
    assert (await report(server, b"{")).code == "bad_request"
    assert (await report(server, b'"x"')).code == "bad_request"
    assert (await report(server, {"testMsg": "x", "token": "t"})).json() == {"result": "ignored"}
    assert (await report(server, b"[" * 100_000)).code == "bad_request"
    plain = {"type": "message", "id": "m-1", "contact": "ann", "content": "a\0b"}
    for name in "id", "contact", "sender":  # PostgreSQL does not take it
        refused = await report(server, {**plain, name: "a\0"}, "other", "webhook")
        assert refused.code == "bad_request"
    stranger = {**nested(), "Appid": "wx_other"}
    assert (await report(server, stranger)).json() == {"result": "ignored"}
    assert (await server.get("/sessions")).json()["sessions"] == []


@pytest.mark.gen_test
async def test_wrong_keys_of_an_address_are_limited(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failed_attempts, "PERIOD_S", 600.0)
    for _ in range(failed_attempts.BURST // 2):  # as those of another node arrive
        server.system.service.control.notify(WrongKey("127.0.0.1"))
    for number in range(failed_attempts.BURST - failed_attempts.BURST // 2):
        assert (await report(server, nested(), key=f"wrong-{number}")).status == 404
    for kind, key in ("gewe", "wrong"), ("gewe", KEY), ("webhook", KEY):
        refused = await report(server, nested(), kind=kind, key=key)
        assert (refused.status, refused.code) == (429, "rate_limited")
        assert 500 <= int(refused.headers["retry-after"]) <= 600


@pytest.mark.gen_test
@pytest.mark.parametrize("answer", [b"<html>", b'{"data":{}}', b'{"ret":200,"x":"' + b"x" * 70_000])
async def test_a_message_of_unknown_outcome_is_not_sent_again_by_itself(
    server: Server, gewe: HttpProvider, answer: bytes
) -> None:
    gewe.answer_with(200, answer)
    await report(server, nested())
    bob = await member(server)
    bob.send(type="send_message", session_id=SESSION, content="hello")
    status = await bob.push("message_status_update")
    assert status["status"] == "failed"
    assert status["reason"].startswith("outcome unknown, it may have been sent: ")
    (unsent,) = (await server.get("/accounts/main")).json()["unsent"]
    assert (unsent["state"], unsent["detail"]) == ("failed", status["reason"])
    assert len(gewe.requests) == 1
    long_answer = {"ret": 200, "data": {"newMsgId": 9000000000000002}, "more": "x" * 4096}
    gewe.answer_with(200, json.dumps(long_answer).encode())
    await server.post("/accounts/main/retry")
    assert (await bob.push("message_status_update"))["status"] == "delivered"


@pytest.mark.gen_test
async def test_the_plain_kind(server: Server, gewe: HttpProvider) -> None:
    body = {"type": "message", "id": "m1", "contact": "ann", "content": "hi"}
    assert (await report(server, body, "other", "webhook")).json()["result"] == "stored"
    session = "webhook:other:ann"
    target = {"type": "session", "id": session}
    fields = {"type": "new_message", "session_id": session, "content": "hello"}
    await server.post("/messages", target=target, **fields)
    await until(lambda: len(gewe.requests) == 1)
    (out,) = sent(gewe)
    assert (out["contact"], out["content"], out["account"]) == ("ann", "hello", "other")
    assert gewe.requests[0].headers["Authorization"] == f"Bearer {TOKEN}"
    assert NEW_ID  # ids of the other kind are those of another account


@pytest.mark.gen_test
async def test_an_echo_before_the_answer_is_no_new_message(
    server: Server, gewe: HttpProvider
) -> None:
    body = {"type": "message", "id": "m1", "contact": "ann", "content": "hi"}
    await report(server, body, "other", "webhook")
    gewe.gate.clear()
    path = "/sessions/webhook:other:ann"
    posted = (await server.post(f"{path}/messages", type="new_message", content="hello")).json()
    await until(lambda: len(gewe.requests) == 1)
    echo = {**body, "id": "m2", "is_own": True, "content": "hello"}
    told = (await report(server, echo, "other", "webhook")).json()
    assert told == {"result": "repeated", "message_id": posted["message_id"]}
    typed = {**echo, "id": "m3", "content": "typed on the phone meanwhile"}
    assert (await report(server, typed, "other", "webhook")).json()["result"] == "stored"
    gewe.gate.set()
    while (await server.get("/accounts/other")).json()["sent"] != 1:
        await asyncio.sleep(0.01)
    assert (await report(server, echo, "other", "webhook")).json()["result"] == "repeated"
    history = (await server.get(f"{path}/history")).json()["messages"]
    assert [each["message"]["content"] for each in history] == ["hi", "hello", typed["content"]]
    assert len(gewe.requests) == 1


@pytest.mark.gen_test
async def test_what_a_stopped_server_had_not_sent_is_sent_by_the_next(
    start_server: StartServer, settings: dict[str, Any], gewe: HttpProvider
) -> None:
    server = await start_server(**settings)
    gewe.hang()
    await report(server, nested())
    bob = await member(server)
    bob.send(type="send_message", session_id=SESSION, content="hello")
    await until(lambda: len(gewe.requests) == 1)
    database = server.context.settings.data_dir / "wsserver.sqlite3"
    await server.system.service.stop()
    gewe.answer_with(200, b'{"ret":200,"data":{}}')
    await start_server(**settings, database=database)
    await until(lambda: len(gewe.requests) == 2)


@pytest.mark.gen_test
async def test_deleted_messages_and_erased_users_leave_the_outbox(
    start_server: StartServer, settings: dict[str, Any], gewe: HttpProvider
) -> None:
    server = await start_server(**settings, delivery_attempts=1)
    gewe.answer_with(200, b'{"ret":500,"msg":"busy"}')
    await report(server, nested())
    bob = await member(server)
    ids = []
    for number in range(2):
        bob.send(type="send_message", session_id=SESSION, content=f"secret {number}", ref=1)
        ids.append((await bob.push("ack"))["message_id"])
        while (await bob.push("message_status_update"))["status"] != "failed":
            pass

    async def stored() -> list[Any]:
        data = await server.get("/users/bob/data")
        rows = [json.loads(line) for line in data.body.splitlines()]
        return [each["row"]["content"] for each in rows if each["table"] == "account_outbox"]

    assert [each["content"] for each in await stored()] == ["secret 0", "secret 1"]
    path = "/api/v1/websocket"
    await server.request("DELETE", f"{path}/messages/{ids[0]}", bearer=token())
    assert [each["content"] for each in await stored()] == ["secret 1"]
    await server.request("DELETE", f"{path}/users/bob/data", bearer=token())
    assert await stored() == []
    gewe.answer_with(200, b'{"ret":200,"data":{}}')
    assert (await server.post("/accounts/main/retry")).json() == {"retried": 0}

    contact = SESSION.rpartition(":")[2]
    answer = await server.request("DELETE", f"{path}/users/{contact}/data", bearer=token())
    assert answer.json()["erased"]["account_sessions"] == 1
    assert (await report(server, nested(NewMsgId=NEW_ID + 1))).json()["result"] == "stored"


@pytest.mark.gen_test
async def test_an_edit_replaces_what_was_not_sent_yet(
    start_server: StartServer, settings: dict[str, Any], gewe: HttpProvider
) -> None:
    server = await start_server(**settings, delivery_attempts=1)
    gewe.answer_with(200, b'{"ret":500,"msg":"busy"}')
    await report(server, nested())
    bob = await member(server)
    bob.send(type="send_message", session_id=SESSION, content="wrong price", ref=1)
    message_id = (await bob.push("ack"))["message_id"]
    while (await bob.push("message_status_update"))["status"] != "failed":
        pass
    bob.send(type="edit_message", message_id=message_id, content="right price", ref=2)
    await bob.push("message_updated")
    while b"wrong price" in (await server.get("/users/bob/data")).body:
        pass
    gewe.answer_with(200, b'{"ret":200,"data":{}}')
    assert (await server.post("/accounts/main/retry")).json() == {"retried": 1}
    await until(lambda: len(gewe.requests) == 2)
    assert [body["content"] for body in sent(gewe)] == ["wrong price", "right price"]


@pytest.mark.gen_test
@pytest.mark.parametrize("answer", [b'{"ret":200,"data":{"newMsgId":"a\\u0000b"}}', None])
async def test_what_was_sent_is_not_sent_again_for_its_id(
    server: Server,
    gewe: HttpProvider,
    monkeypatch: pytest.MonkeyPatch,
    answer: bytes | None,
) -> None:
    """The id is none, or it cannot be stored just now."""

    async def away(*_: Any) -> None:
        raise StorageUnavailable("away")

    if answer is None:
        monkeypatch.setattr(AccountStore, "sent", away)
    else:
        gewe.answer_with(200, answer)
    await report(server, nested())
    bob = await member(server)
    bob.send(type="send_message", session_id=SESSION, content="hello Ann")
    assert (await bob.push("message_status_update"))["status"] == "delivered"
    assert len(gewe.requests) == 1
