"""Erasing a user: what others see, what is in memory, what happens meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.json import decode

from tests.support.live_server import Client, Live, MakeLive
from wsserver.errors import Forbidden, NotFound
from wsserver.protocol.answers import AnswerAppendRequest, AnswerFinishRequest, AnswerRequest
from wsserver.protocol.requests import PublishRequest, Sender, read_request
from wsserver.realtime.streams.retention_policy import Retention

Json = dict[str, Any]
DAY_S = 86_400.0


async def say(client: Client, content: str) -> Json:
    return await client.call("send_message", session_id="s1", content=content)


async def erase(live: Live, user_id: str = "u1", **actor: Any) -> Json:
    answer = await live.user_records.erase(live.actor(**actor), user_id)
    return dict(answer["erased"])


async def exported(live: Live, user_id: str = "u1") -> list[Json]:
    lines = await live.user_records.export(live.actor(), user_id)
    return [decode(line) async for chunk in lines for line in chunk.splitlines()]


async def publish(live: Live, target: Json, **fields: Any) -> Json:
    request = read_request({"target": target, "type": "new_message", **fields}, PublishRequest)
    return await live.publishing.publish(live.actor(), request)


def forms(messages: list[Json]) -> list[Any]:
    """The content of messages; True for those that were deleted."""
    return [each["message"].get("deleted") or each["message"]["content"] for each in messages]


@pytest.mark.gen_test
async def test_recent_messages_are_deleted_as_by_command_and_old_ones_quietly(
    make_live: MakeLive,
) -> None:
    live = await make_live(retention=Retention(DAY_S, DAY_S, 30 * DAY_S))
    mine = await live.in_session("u1", exp=live.clock.wall() + 9 * DAY_S)
    other = await live.in_session("u2", exp=live.clock.wall() + 9 * DAY_S)
    old = await say(mine, "old")
    await say(other, "theirs")
    live.clock.advance(2 * DAY_S)
    new = await say(mine, "new")
    start = {"epoch": old["epoch"], "offset": 2}
    await other.call("history", session_id="s1")
    await other.rest()

    erased = await erase(live)
    assert erased["messages"] == 2
    (push,) = await other.rest()
    assert (push["type"], push["message_id"]) == ("message_deleted", new["message_id"])
    assert push["message"] == {
        "id": new["message_id"],
        "session_id": "s1",
        "deleted": True,
        "created_at": push["message"]["created_at"],
    }
    page = await other.call("history", session_id="s1")
    assert forms(page["messages"]) == [True, "theirs", True]
    resumed = await other.call("resume", streams={"session:s1": start})
    assert forms(resumed["streams"]["session:s1"]["messages"]) == [True, True]
    live.forget_streams()
    assert forms((await other.call("history", session_id="s1"))["messages"]) == [
        True,
        "theirs",
        True,
    ]
    assert [line for line in await exported(live) if line["table"] == "messages"] == []
    assert (await erase(live))["messages"] == 0


@pytest.mark.gen_test
async def test_messages_to_others_and_the_own_inbox_are_gone(live: Live) -> None:
    mine = await live.connect("u1")
    other = await live.connect("u2")
    to = {"type": "user", "id": "u2"}
    sender = {"user_id": "u1"}
    direct = await publish(live, to, session_id="s1", content="direct", sender=sender)
    push = await other.receive("new_message")
    await publish(live, {"type": "user", "id": "u1"}, session_id="s1", content="to me")
    await mine.rest()
    assert [line["row"]["stream"] for line in await exported(live) if "push" in line["row"]] == [
        "user:u2",
        "user:u1",
    ]

    erased = await erase(live)
    assert erased["messages"] == 2
    live.clock.advance(60)
    await live.inboxes.advance()
    assert [each["type"] for each in await other.rest()] == []  # not sent again
    start = {"epoch": push["epoch"], "offset": 0}
    resumed = await other.call("resume", streams={"user:u2": start})
    assert resumed["streams"]["user:u2"]["messages"] == []
    assert (await live.connect("u1")).established["inbox"]["pending"] == 0
    assert "u1" not in str(await live.tracing.trace(live.actor(), direct["message_id"]))


@pytest.mark.gen_test
async def test_a_growing_answer_ends_and_leaves_no_text(live: Live) -> None:
    watcher = await live.in_session("u2")
    answer = await live.answers.start(
        live.actor(), "s1", AnswerRequest(content="first secret", sender=Sender(user_id="u1"))
    )
    id_ = answer["message_id"]
    append = AnswerAppendRequest(seq=1, text=" second secret")
    appended = live.answers.append(live.actor(), id_, append)
    if not isinstance(appended, dict):
        await appended
    await watcher.rest()
    await erase(live)
    pushes = await watcher.rest()
    assert [each["type"] for each in pushes] == ["message_deleted"]
    assert "secret" not in str(pushes)
    with pytest.raises(Exception, match=r"ended|answer"):
        await live.answers.finish(live.actor(), id_, AnswerFinishRequest(state="completed"))
    page = await watcher.call("history", session_id="s1", changes=True)
    assert "secret" not in str(page)


@pytest.mark.gen_test
async def test_traces_do_not_name_them_any_more(live: Live) -> None:
    mine = await live.in_session("u1")
    other = await live.in_session("u2")
    said = await say(other, "hello")
    await mine.call("ack", ids=[said["message_id"]])
    sent = await say(mine, "hi")
    mine.socket.close()
    await live.tick(1)
    before = await live.tracing.trace(live.actor(), said["message_id"])
    assert "u1" in str(before)
    await erase(live)
    for message in (said, sent):
        trace = await live.tracing.trace(live.actor(), message["message_id"])
        assert "u1" not in str(trace), trace


@pytest.mark.gen_test
async def test_traces_do_not_name_them_while_they_are_connected(live: Live) -> None:
    mine = await live.in_session("u1")
    other = await live.in_session("u2")
    said = await say(other, "hello")
    assert "u1" in str(await live.tracing.trace(live.actor(), said["message_id"]))
    await erase(live)
    assert "u1" not in str(await live.tracing.trace(live.actor(), said["message_id"]))
    later = await say(other, "and again")
    assert "u1" in str(await live.tracing.trace(live.actor(), later["message_id"]))
    assert mine.info.is_alive


@pytest.mark.gen_test
async def test_others_are_served_meanwhile_and_a_second_erasure_waits(live: Live) -> None:
    mine = await live.in_session("u1")
    other = await live.in_session("u2")
    for number in range(450):
        await say(mine, f"secret {number}")
        await other.rest()
    erasing = [asyncio.ensure_future(erase(live)) for _ in range(2)]
    answered = 0
    while not erasing[0].done():
        assert (await say(other, f"meanwhile {answered}"))["type"] == "ack"
        answered += 1
    assert answered > 5  # several batches, and others in between
    first, second = [await each for each in erasing]
    assert first == second
    assert first["messages"] == 450
    audited = [entry for entry in await live.audited() if entry.action == "erase"]
    assert [entry.target for entry in audited] == ["user:u1", "user:u1"]
    page = await other.call("history", session_id="s1", before=451, limit=100)
    assert set(forms(page["messages"])) == {True}


@pytest.mark.gen_test
async def test_an_erasure_that_failed_is_completed_by_the_next(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = await live.in_session("u1")
    await say(mine, "secret")
    run = live.database.run
    calls = 0

    async def fails_late(job: Any, *more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise OSError("gone")
        return await run(job, *more)

    with monkeypatch.context() as patched:
        patched.setattr(live.database, "run", fails_late)
        with pytest.raises(OSError, match="gone"):
            await erase(live)
    assert (await erase(live))["messages"] == 1
    assert (await erase(live))["messages"] == 0


@pytest.mark.gen_test
async def test_who_may(make_live: MakeLive) -> None:
    live = await make_live(roles={"manager": ["users:erase"]})
    own = {"role": "manager", "organization_id": "acme"}
    mine = await live.connect("u1", organization_id="acme")
    theirs = await live.connect("u2", organization_id="other")
    assert "messages" in await erase(live, "u1", **own)
    for user_id in ("u2", "nobody"):
        with pytest.raises(NotFound):
            await erase(live, user_id, **own)
        with pytest.raises(NotFound):
            await live.user_records.export(live.actor(**own), user_id)
    with pytest.raises(Forbidden):
        await erase(live, role="service")
    assert all(each.info.websocket.is_open for each in (mine, theirs))
