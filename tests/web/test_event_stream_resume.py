"""Event streams that come back with a cursor: nothing is missed, nothing comes twice."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.answers import Page
from tests.support.event_stream_client import EventClient, connect_events, open_events
from tests.support.waiting import until
from tests.support.web_server import API, Server, StartServer, token

BOUND = "/sse/chat/session/s1"


async def say(server: Server, session_id: str, *texts: str) -> None:
    for text in texts:
        answer = await server.post(
            f"/sessions/{session_id}/messages", type="new_message", content=text
        )
        assert answer.status == 200, answer


async def broadcast(server: Server, *numbers: int) -> None:
    for number in numbers:
        answer = await server.post("/broadcast", type="hint", data=number, keep=True)
        assert answer.status == 200, answer


async def to_user(server: Server, user_id: str, *numbers: int) -> None:
    for number in numbers:
        body: dict[str, Any] = {"type": "note", "data": number, "keep": True}
        assert (await server.post(f"/users/{user_id}/messages", **body)).status == 200


async def leave(server: Server, client: EventClient) -> str:
    """Break off; returns what a browser would come back with."""
    await client.close()
    id_ = client.established["connection_id"]
    await until(lambda: id_ not in server.system.manager.connections)
    return client.last_id


async def texts(client: EventClient, count: int) -> list[str]:
    return [(await client.push("new_message"))["message"]["content"] for _ in range(count)]


@pytest.mark.gen_test
async def test_what_was_missed_comes_as_events_of_its_own(server: Server) -> None:
    client = await connect_events(server, path=BOUND, sessions=["s1"])
    await client.push("session_joined")
    await say(server, "s1", "a", "b")
    assert await texts(client, 2) == ["a", "b"]
    cursor = await leave(server, client)
    await say(server, "s1", "c", "d")
    client = await connect_events(server, path=BOUND, sessions=["s1"], cursor=cursor)
    resumed = await client.push()
    assert resumed["type"] == "resumed"
    assert resumed["streams"]["session:s1"] == {
        "recovered": True,
        "epoch": resumed["streams"]["session:s1"]["epoch"],
        "offset": 2,
        "messages": [],
    }
    joined = await client.push()
    assert (joined["type"], joined["recovered"], joined["offset"]) == ("session_joined", True, 2)
    missed = [await client.event() for _ in range(2)]
    assert [each.data["message"]["content"] for each in missed] == ["c", "d"]
    # Each with a cursor of its own: it may break off between them.
    assert [each.id.count("~3") for each in missed] == [1, 0]
    await say(server, "s1", "e")
    assert await texts(client, 1) == ["e"]
    between = await connect_events(server, path=BOUND, sessions=["s1"], cursor=missed[0].id)
    assert await texts(between, 2) == ["d", "e"]


@pytest.mark.parametrize("path", ["/sse/chat", BOUND])
@pytest.mark.gen_test
async def test_answers_go_on_growing(server: Server, path: str) -> None:
    async def append(answer: str, seq: int, text: str) -> None:
        body: dict[str, Any] = {"seq": seq, "text": text}
        assert (await server.post(f"/answers/{answer}/append", **body)).status == 200

    async def begin(content: str) -> str:
        begun = await server.post("/sessions/s1/answers", content=content)
        return str(begun.json()["message_id"])

    client = await connect_events(server, path=path, sessions=["s1"])
    if path != BOUND:
        await client.command("join_session", session_id="s1")
    first = await begin("It ")
    await append(first, 1, "should ")
    await client.push("answer_appended")
    cursor = await leave(server, client)
    await append(first, 2, "fit. ")
    second = await begin("As ")
    await append(second, 1, "you ")

    client = await connect_events(server, path=path, sessions=["s1"], cursor=cursor)
    page = Page()
    while page.texts != {first: "It should fit. ", second: "As you "}:
        page.show(await client.push())
    await append(second, 2, "wish")
    while page.texts[second] != "As you wish":
        page.show(await client.push())
    assert client.last_id.endswith("~2")


@pytest.mark.gen_test
async def test_all_streams_go_on_with_one_id(server: Server) -> None:
    claims: dict[str, Any] = {"sessions": ["s1", "s2"], "organization_id": "o1"}
    client = await connect_events(server, **claims)
    for session_id in ("s1", "s2"):
        await client.command("join_session", session_id=session_id)
    await say(server, "s1", "one")
    await say(server, "s2", "two")
    await broadcast(server, 1)
    await to_user(server, "u1", 1)
    await server.post("/broadcast", type="ours", organization_id="o1", keep=True)
    while (await client.push())["type"] != "ours":
        pass
    cursor = await leave(server, client)
    await say(server, "s1", "three")
    await say(server, "s2", "four", "five")
    await broadcast(server, 2)
    await to_user(server, "u1", 2)
    await server.post("/broadcast", type="ours", data=2, organization_id="o1", keep=True)
    client = await connect_events(server, cursor=cursor, **claims)
    resumed = await client.push("resumed")
    assert sorted(resumed["streams"]) == [
        "broadcast",
        "organization:o1",
        "session:s1",
        "session:s2",
        "user:u1",
    ]
    assert all(each["recovered"] for each in resumed["streams"].values())
    seen = []
    for _ in range(6):
        push = await client.push()
        seen.append((push["stream"], push["offset"]))
    assert sorted(seen) == [
        ("broadcast", 2),
        ("organization:o1", 2),
        ("session:s1", 2),
        ("session:s2", 2),
        ("session:s2", 3),
        ("user:u1", 2),
    ]
    assert seen.index(("session:s2", 2)) < seen.index(("session:s2", 3))
    await say(server, "s2", "six")  # it is joined again
    assert (await client.push())["message"]["content"] == "six"
    sessions = (await server.get("/connections")).json()["connections"][0]["sessions"]
    assert sessions == ["s1", "s2"]


@pytest.mark.gen_test
async def test_without_anything_received_nothing_is_lost_either(server: Server) -> None:
    client = await connect_events(server)
    cursor = await leave(server, client)
    await broadcast(server, 1, 2)
    client = await connect_events(server, query={"last_event_id": cursor})
    assert [(await client.push("hint"))["data"] for _ in range(2)] == [1, 2]


@pytest.mark.gen_test
async def test_the_header_is_newer_than_the_address(server: Server) -> None:
    client = await connect_events(server)
    old = client.last_id
    await broadcast(server, 1, 2)
    while (await client.push("hint"))["data"] != 2:
        pass
    new = await leave(server, client)
    await broadcast(server, 3)
    client = await connect_events(server, cursor=new, query={"last_event_id": old})
    assert (await client.push("hint"))["data"] == 3


@pytest.mark.gen_test
async def test_the_inbox_in_order_and_once(server: Server) -> None:
    client = await connect_events(server, query={"protocol": "wsserver.v1"})
    await to_user(server, "u1", 1, 2)
    first, second = [await client.push("note") for _ in range(2)]
    cursor = await leave(server, client)
    await to_user(server, "u1", 3, 4, 5)
    other = await connect_events(server, query={"protocol": "wsserver.v1"})
    waiting = [await other.push("note") for _ in range(5)]
    # 2 and 4 are settled: 2 was received, 4 was not; 1 was received, but not acknowledged.
    await other.command("ack", ids=[second["id"], waiting[3]["id"]])
    await leave(server, other)
    client = await connect_events(server, query={"protocol": "wsserver.v1"}, cursor=cursor)
    assert client.established["inbox"]["pending"] == 3
    notes = [await client.push("note") for _ in range(4)]
    assert [each["data"] for each in notes] == [1, 3, 4, 5]
    assert first["id"] == notes[0]["id"]
    await to_user(server, "u1", 6)
    assert (await client.push("note"))["data"] == 6


@pytest.mark.gen_test
async def test_a_plain_client_gets_what_was_written_but_not_received(server: Server) -> None:
    client = await connect_events(server)
    before = client.last_id
    await to_user(server, "u1", 1)
    await client.push("note")
    await leave(server, client)
    client = await connect_events(server, cursor=before)  # as if it had been lost on the way
    assert client.established["inbox"]["pending"] == 0
    assert (await client.push("note"))["data"] == 1


@pytest.mark.gen_test
async def test_what_cannot_be_given_is_said(start_server: StartServer) -> None:
    server = await start_server(stream_limit=3)
    client = await connect_events(server, path=BOUND, sessions=["s1"])
    await client.push("session_joined")
    await say(server, "s1", "a")
    await texts(client, 1)
    cursor = await leave(server, client)
    await say(server, "s1", *"bcdefg")
    client = await connect_events(server, path=BOUND, sessions=["s1"], cursor=cursor)
    resumed = (await client.push("resumed"))["streams"]["session:s1"]
    assert (resumed["recovered"], resumed["reason"], resumed["offset"]) == (
        False,
        "too_far_behind",
        7,
    )
    joined = await client.push("session_joined")
    assert (joined["recovered"], joined["offset"]) == (False, 7)
    await say(server, "s1", "h")
    assert await texts(client, 1) == ["h"]
    assert "~8" in client.last_id


@pytest.mark.gen_test
async def test_an_old_numbering_and_an_offset_ahead(server: Server) -> None:
    await broadcast(server, 1)
    client = await connect_events(server)
    epoch = client.last_id.partition("broadcast~")[2].partition("~")[0]
    for cursor, reason in (
        ("broadcast~epoch_other~1", "epoch_changed"),
        (f"broadcast~{epoch}~99", "offset_ahead"),
    ):
        client = await connect_events(server, cursor=cursor)
        resumed = (await client.push("resumed"))["streams"]["broadcast"]
        assert (resumed["recovered"], resumed["reason"]) == (False, reason)
        await broadcast(server, 2)
        assert (await client.push())["type"] == "hint"


@pytest.mark.gen_test
async def test_a_session_that_may_not_be_entered_any_more(server: Server) -> None:
    client = await connect_events(server, sessions=["s1", "s2"])
    for session_id in ("s1", "s2"):
        await client.command("join_session", session_id=session_id)
    await client.block()
    await client.block()
    cursor = await leave(server, client)
    assert "session:s1~" in cursor
    await say(server, "s1", "secret")
    await say(server, "s2", "open")
    client = await connect_events(server, sessions=["s2"], cursor=cursor)
    resumed = (await client.push("resumed"))["streams"]
    assert resumed["session:s1"] == {"recovered": False, "reason": "forbidden"}
    assert await texts(client, 1) == ["open"]
    assert "session:s1~" not in client.last_id
    # A bound one is in no other session.
    bound = await connect_events(
        server, path="/sse/chat/session/s2", sessions=["s1", "s2"], cursor=cursor
    )
    resumed = (await bound.push("resumed"))["streams"]
    assert resumed["session:s1"]["reason"] == "forbidden"
    assert resumed["session:s2"]["recovered"] is True


@pytest.mark.parametrize(
    ("cursor", "status", "code"),
    [
        ("x", 400, "bad_request"),
        ("broadcast~e", 400, "bad_request"),
        ("broadcast~e~1,broadcast~e~1", 400, "bad_request"),
        ("session:../x~e~1", 400, "bad_request"),
        ("broadcast~e~99999999999999999999", 400, "bad_request"),
        (",".join(f"session:{n}~e~1" for n in range(101)), 400, "bad_request"),
        ("a" * 5000, 400, "bad_request"),
        ("user:somebody-else~epoch_1~0", 403, "forbidden"),
    ],
)
@pytest.mark.gen_test
async def test_forged_cursors(server: Server, cursor: str, status: int, code: str) -> None:
    bearer = token("u1", "user")
    both: tuple[dict[str, Any], ...] = (
        {"headers": {"Last-Event-ID": cursor}},
        {"last_event_id": cursor},
    )
    for options in both:
        client = await open_events(server, bearer=bearer, **options)
        assert (client.response.status, client.response.json()["code"]) == (status, code)
    assert not server.system.manager.connections


@pytest.mark.gen_test
async def test_line_breaks_in_a_cursor_do_not_reach_the_stream(server: Server) -> None:
    forged = "broadcast~e\n\ndata: {}\n\n~1"
    client = await open_events(server, bearer=token("u1"), last_event_id=forged)
    assert client.response.status == 400
    twice = await open_events(server, f"/sse/chat?last_event_id={forged!r}&last_event_id=y")
    assert twice.response.status == 400


@pytest.mark.gen_test
async def test_more_sessions_than_a_connection_may_be_in(start_server: StartServer) -> None:
    server = await start_server(max_sessions_per_connection=3)
    cursor = ",".join(f"session:s{number}~epoch_1~0" for number in range(4))
    client = await open_events(
        server, bearer=token("u1", sessions="*"), headers={"Last-Event-ID": cursor}
    )
    assert (client.response.status, client.response.json()["code"]) == (429, "session_limit")


@pytest.mark.gen_test
async def test_a_large_inbox_goes_on_page_by_page(server: Server) -> None:
    client = await connect_events(server, query={"protocol": "wsserver.v1"})
    cursor = await leave(server, client)
    messages = [
        {"target": {"type": "user", "id": "u1"}, "type": "note", "data": n, "keep": True}
        for n in range(250)
    ]
    assert (await server.post("/messages/batch", messages=messages)).status == 200
    client = await connect_events(server, query={"protocol": "wsserver.v1"}, cursor=cursor)
    resumed = (await client.push("resumed"))["streams"]["user:u1"]
    assert (resumed["recovered"], resumed["reason"]) == (False, "too_far_behind")
    assert [(await client.push("note"))["data"] for _ in range(250)] == list(range(250))


@pytest.mark.gen_test
async def test_erased_access_between_the_check_and_the_start(server: Server) -> None:
    """Members change while a stream is being opened: what was read is not sent."""
    await server.request("PUT", f"{API}/sessions/s1/members", bearer=token(), user_ids=["u1"])
    client = await connect_events(server)
    await client.command("join_session", session_id="s1")
    await client.block()
    cursor = await leave(server, client)
    await say(server, "s1", "secret")
    access = server.system.manager.sessions.access
    streams = server.system.manager._connector._connect_states._streams
    recover = streams.recover

    async def recover_and_lose_access(*arguments: Any) -> Any:
        found = await recover(*arguments)
        await server.request("PUT", f"{API}/sessions/s1/members", bearer=token(), user_ids=["u2"])
        assert not access._is_member("s1", "u1")
        return found

    streams.recover = recover_and_lose_access  # type: ignore[method-assign,assignment]
    client = await connect_events(server, cursor=cursor)
    resumed = (await client.push("resumed"))["streams"]["session:s1"]
    assert resumed == {"recovered": False, "reason": "forbidden"}
    await broadcast(server, 1)
    assert (await client.push())["type"] == "hint"
