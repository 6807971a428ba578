from __future__ import annotations

from typing import Any
from unittest.mock import ANY

import pytest

from tests.support.live_server import Live
from wsserver.errors import StorageFull

POSITION_FIELDS = {"epoch", "offset"}


@pytest.mark.gen_test
async def test_ping_is_answered_with_its_data_and_the_time(live: Live) -> None:
    client = await live.connect()
    for data in ({"a": [1, None]}, None, "x", 2**70):
        pong = await client.call("ping", data=data)
        assert (pong["type"], pong["data"]) == ("pong", data)
        assert pong["server_time"] == "2023-11-14T22:13:20.000Z"
    assert "data" not in await client.call("ping")


@pytest.mark.gen_test
async def test_pong_is_not_answered_even_with_a_ref(live: Live) -> None:
    client = await live.connect()
    client.send("pong", ref=5)
    client.send("pong", id="ping_1")
    assert await client.rest() == []


# Sessions


@pytest.mark.gen_test
async def test_joining_answers_with_the_position_and_all_members_online(live: Live) -> None:
    await live.in_session("u2", username="李四")
    client = await live.connect(sessions=["s1"], username="张三")
    joined = await client.call("join_session", session_id="s1")
    assert joined == {
        "type": "session_joined",
        "ref": 1,
        "session_id": "s1",
        "user_id": "u1",
        "epoch": (await live.store.head("session:s1")).epoch,
        "offset": 0,
        "recovered": False,
        "messages": [],
        "users": [
            {"user_id": "u2", "username": "李四", "connections": 1, "read_offset": 0},
            {"user_id": "u1", "username": "张三", "connections": 1, "read_offset": 0},
        ],
    }


@pytest.mark.gen_test
async def test_joining_with_a_position_says_whether_anything_was_missed(live: Live) -> None:
    client = await live.connect(sessions="*")
    epoch = (await live.store.head("session:s1")).epoch

    async def since(epoch: str, offset: int) -> tuple[bool, str | None]:
        joined = await client.call(
            "join_session", session_id="s1", since={"epoch": epoch, "offset": offset}
        )
        assert joined["type"] == "session_joined"
        return joined["recovered"], joined.get("reason")

    assert await since(epoch, 0) == (True, None)
    assert await since(epoch, 3) == (False, "offset_ahead")
    assert await since("epoch_of_another_life", 0) == (False, "epoch_changed")


@pytest.mark.gen_test
async def test_the_others_hear_of_a_user_once_not_of_each_connection(live: Live) -> None:
    other = await live.in_session("other")
    events = live.watch("session_*")
    one = await live.in_session("u1")
    two = await live.in_session("u1")
    await two.call("join_session", session_id="s1")
    joined = [p for p in await other.rest() if p["type"] == "session_joined"]
    assert [(p["session_id"], p["user_id"]) for p in joined] == [("s1", "u1")]
    assert "timestamp" in joined[0]
    assert not POSITION_FIELDS & joined[0].keys()
    assert await one.rest() == []
    await one.call("leave_session", session_id="s1")
    assert await other.rest() == []
    await two.call("leave_session", session_id="s1")
    await two.call("leave_session", session_id="s1")
    left = await other.rest()
    assert [(p["type"], p["session_id"], p["user_id"]) for p in left] == [
        ("session_left", "s1", "u1")
    ]
    assert [(e["name"], e["connection_id"]) for e in events] == [
        ("session_joined", one.id),
        ("session_joined", two.id),
        ("session_left", one.id),
        ("session_left", two.id),
    ]


@pytest.mark.gen_test
async def test_leaving_answers_also_where_one_never_was(live: Live) -> None:
    client = await live.connect()
    assert await client.call("leave_session", session_id="nowhere") == {
        "type": "session_left",
        "ref": 1,
        "session_id": "nowhere",
        "user_id": "u1",
    }


@pytest.mark.gen_test
async def test_a_foreign_session_is_forbidden_alike_whether_it_exists_or_not(live: Live) -> None:
    await live.in_session("u2", "taken")
    client = await live.connect(sessions=["mine"])
    answers = []
    for session_id in ("taken", "empty"):
        answer = await client.call("join_session", session_id=session_id)
        assert answer["error"]["code"] == "forbidden"
        assert answer["error"]["temporary"] is False
        answers.append(str(answer["error"]).replace(session_id, "S"))
    assert answers[0] == answers[1]
    assert "empty" not in live.hub.known_sessions


@pytest.mark.gen_test
async def test_a_bound_connection_stays_in_its_session_alone(live: Live) -> None:
    client = await live.connect(endpoint="session", session_id="s1", sessions="*")
    assert await client.error("join_session", session_id="s2") == "session_bound"
    assert await client.error("leave_session", session_id="s1") == "session_bound"
    again = await client.call("join_session", session_id="s1")
    assert again["type"] == "session_joined"
    assert client.sessions == {"s1"}


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("command", "fields"),
    [
        ("send_message", {"content": "x"}),
        ("typing", {"is_typing": True}),
        ("presence", {}),
    ],
)
async def test_one_must_have_joined_to_take_part(
    live: Live, command: str, fields: dict[str, Any]
) -> None:
    other = await live.in_session("u2")
    client = await live.connect(sessions="*")
    assert await client.error(command, session_id="s1", **fields) == "not_joined"
    assert await other.rest() == []


@pytest.mark.gen_test
async def test_a_client_may_be_in_many_sessions(live: Live) -> None:
    client = await live.connect(sessions="*")
    other = await live.in_session("u2", "s2")
    for session_id in ("s1", "s2", "s3"):
        await client.call("join_session", session_id=session_id)
    await client.call("send_message", session_id="s2", content="to two")
    pushes = await other.rest()
    assert [p["type"] for p in pushes] == ["session_joined", "new_message"]
    stats = live.manager.stats()
    assert (stats["active_sessions"], stats["total_session_connections"]) == (3, 4)


@pytest.mark.gen_test
async def test_presence_lists_each_user_once(live: Live) -> None:
    client = await live.in_session("u1", username="张三")
    await live.in_session("u1", username="张三")
    await live.in_session("u2")
    answer = await client.call("presence", session_id="s1")
    assert (answer["type"], answer["session_id"]) == ("presence", "s1")
    assert answer["users"] == [
        {"user_id": "u1", "username": "张三", "connections": 2, "read_offset": 0},
        {"user_id": "u2", "username": None, "connections": 1, "read_offset": 0},
    ]


# Messages


@pytest.mark.gen_test
async def test_a_message_reaches_the_session_the_senders_connections_included(live: Live) -> None:
    sender = await live.in_session("u1", username="张三")
    device = await live.in_session("u1")
    other = await live.in_session("u2")
    outside = await live.connect("u3", sessions="*")
    events = live.watch("message_received")
    for client in (sender, device, other):
        await client.rest()
    ack = await sender.call(
        "send_message",
        session_id="s1",
        content={"text": "你好"},
        content_type="card",
        client_message_id="c1",
    )
    assert ack["type"] == "ack"
    expected = {
        "id": ack["message_id"],
        "session_id": "s1",
        "sender": {"user_id": "u1", "username": "张三", "role": "user"},
        "content": {"text": "你好"},
        "content_type": "card",
        "created_at": "2023-11-14T22:13:20.000Z",
        "client_message_id": "c1",
    }
    assert ack["message_id"].startswith("msg_")
    for client in (sender, device, other):
        (push,) = await client.rest()
        assert push["type"] == "new_message"
        assert push["id"] == ack["message_id"]
        assert push["session_id"] == "s1"
        assert push["message"] == expected
        assert "timestamp" in push
    assert await outside.rest() == []
    assert [(e["user_id"], e["message"]) for e in events] == [("u1", expected)]


@pytest.mark.gen_test
async def test_the_same_client_message_id_gives_one_message_and_the_same_answer(
    live: Live,
) -> None:
    phone, laptop = await live.in_session("u1"), await live.in_session("u1")
    other = await live.in_session("u2")
    await other.rest()
    message: Any = {"session_id": "s1", "content": "x", "client_message_id": "c1"}
    first = await phone.call("send_message", **message)
    again = await phone.call("send_message", **message)
    elsewhere = await laptop.call("send_message", **message)
    assert {first["message_id"]} == {again["message_id"], elsewhere["message_id"]}
    foreign = await other.call("send_message", **message)
    assert foreign["message_id"] != first["message_id"]
    pushes = await other.rest()
    assert [p["message"]["sender"]["user_id"] for p in pushes] == ["u1", "u2"]


@pytest.mark.gen_test
async def test_a_client_message_id_may_have_any_character(live: Live) -> None:
    """PostgreSQL has no NUL in texts."""
    client = await live.in_session("u1")
    for id_ in ("a\0b", "a\\0b\n", "你好"):
        said = {"session_id": "s1", "content": "x", "client_message_id": id_}
        first, again = [await client.call("send_message", **said) for _ in range(2)]
        assert first["type"] == "ack", first
        assert first["offset"] == again["offset"]
    (new, *_) = [each for each in await client.rest() if each["type"] == "new_message"]
    assert new["message"]["client_message_id"] == "a\0b"


@pytest.mark.gen_test
async def test_a_client_message_id_is_that_of_a_user_of_one_organization(live: Live) -> None:
    ours = await live.in_session("u1", "s1", organization_id="o1")
    theirs = await live.in_session("u1", "s2", organization_id="o2")
    said = {"content": "x", "client_message_id": "c1"}
    first = await ours.call("send_message", session_id="s1", **said)
    other = await theirs.call("send_message", session_id="s2", **said)
    assert (first["stream"], other["stream"]) == ("session:s1", "session:s2")
    assert await ours.call("send_message", session_id="s1", **said) == {**first, "ref": ANY}


@pytest.mark.gen_test
async def test_a_repeat_beside_the_first_gets_its_answer(live: Live) -> None:
    phone, laptop = await live.in_session("u1"), await live.in_session("u1")
    message: Any = {"session_id": "s1", "content": "x", "client_message_id": "c1"}
    phone.send("send_message", ref="a", **message)
    laptop.send("send_message", ref="a", **message)
    first, second = await phone.reply("a"), await laptop.reply("a")
    assert first == second
    assert [p["type"] for p in await laptop.rest()] == ["new_message"]


@pytest.mark.gen_test
async def test_a_message_that_cannot_be_stored_is_refused_and_not_delivered(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone, other = await live.in_session("u1"), await live.in_session("u2")
    append = live.store.append

    async def full(*_: Any) -> Any:
        raise StorageFull("the disk is full")

    monkeypatch.setattr(live.store, "append", full)
    message: Any = {"session_id": "s1", "content": "x", "client_message_id": "c1"}
    answer = await phone.call("send_message", **message)
    assert answer["error"]["code"] == "storage_full"
    assert answer["error"]["temporary"] is True
    assert await other.rest() == []
    monkeypatch.setattr(live.store, "append", append)
    assert (await phone.call("send_message", **message))["offset"] == 1
    assert [p["offset"] for p in await other.rest()] == [1]


@pytest.mark.gen_test
async def test_typing_is_sent_to_the_others_and_never_echoed(live: Live) -> None:
    typist = await live.in_session("u1", username="张三")
    device = await live.in_session("u1")
    other = await live.in_session("u2")
    events = live.watch("typing_status_changed")
    await typist.rest()
    assert (await typist.call("typing", session_id="s1", is_typing=True))["type"] == "ack"
    (push,) = await other.rest()
    assert push.pop("timestamp")
    assert push == {
        "type": "typing",
        "session_id": "s1",
        "user_id": "u1",
        "username": "张三",
        "is_typing": True,
    }
    assert await typist.rest() == []
    assert not [p for p in await device.rest() if p["type"] == "typing"]
    assert [(e["user_id"], e["is_typing"]) for e in events] == [("u1", True)]


# Tokens


@pytest.mark.gen_test
async def test_a_newer_token_is_taken_over(live: Live) -> None:
    client = await live.connect(exp=live.clock.wall() + 100, organization_id="o1")
    exp = live.clock.wall() + 5000
    answer = await client.call(
        "refresh_token", token=live.token(exp=exp, organization_id="o2", username="新")
    )
    assert (answer["type"], answer["expires_at"]) == (
        "token_refreshed",
        "2023-11-14T23:36:40.000Z",
    )
    live.clock.advance(200)
    live.manager.expire_tokens()
    assert client.info.is_alive
    assert client.info.metadata["username"] == "新"
    assert live.hub.of_organization("o1") == []
    assert live.hub.of_organization("o2") == [client.info]


@pytest.mark.gen_test
async def test_a_bad_token_is_an_error_and_the_expiry_is_unchanged(live: Live) -> None:
    client = await live.connect(exp=live.clock.wall() + 100)
    live.revocations.revoke_jti("j1")
    for token, code in (
        ("garbage", "token_invalid"),
        (live.token()[:-2] + "xx", "token_invalid"),
        (live.token(exp=live.clock.wall() - 1), "token_expired"),
        (live.token(jti="j1"), "token_revoked"),
    ):
        answer = await client.call("refresh_token", token=token)
        assert answer["error"]["code"] == code
        assert token not in str(answer)
    live.clock.advance(100)
    live.manager.expire_tokens()
    assert (await client.closing())[0] == 4010


@pytest.mark.gen_test
async def test_a_token_of_another_user_closes_with_4500(live: Live) -> None:
    client = await live.connect("u1")
    client.send("refresh_token", ref=1, token=live.token("u2"))
    assert (await client.closing())[0] == 4500
    assert client.pushes == []
    assert len(live.hub) == 0


@pytest.mark.gen_test
async def test_a_token_that_opens_less_ends_what_it_no_longer_allows(live: Live) -> None:
    client = await live.connect(sessions=["s1", "s2"])
    for session_id in ("s1", "s2"):
        await client.call("join_session", session_id=session_id)
    answer = await client.call("refresh_token", token=live.token(sessions=["s2"]))
    assert answer["type"] == "token_refreshed"
    assert [(p["type"], p["session_id"]) for p in await client.rest()] == [("session_left", "s1")]
    assert client.sessions == {"s2"}
    bound = await live.connect("u3", endpoint="session", session_id="s1", sessions=["s1"])
    bound.send("refresh_token", ref=1, token=live.token("u3"))
    assert (await bound.closing())[0] == 4503


@pytest.mark.gen_test
async def test_a_monitor_whose_new_token_may_not_watch_is_closed(live: Live) -> None:
    monitor = await live.monitor("boss")
    monitor.send("refresh_token", ref=1, token=live.token("boss", role="user"))
    assert (await monitor.closing())[0] == 4503
    assert len(live.manager.monitors) == 0
