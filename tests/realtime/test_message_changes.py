"""Editing, deleting and replying: who may, what others see, what is left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.live_server import Client, Live, MakeLive
from wsserver.errors import EditWindowOver, Forbidden, NotFound, Rejected
from wsserver.protocol.requests import (
    BatchRequest,
    MembersRequest,
    PublishRequest,
    read_request,
)
from wsserver.realtime.commands.message_check import Unchecked

Json = dict[str, Any]
SESSION = {"type": "session", "id": "s1"}


async def say(client: Client, content: Any = "hello", **members: Any) -> str:
    answer = await client.call("send_message", session_id="s1", content=content, **members)
    assert answer["type"] == "ack", answer
    return str(answer["message_id"])


async def change(client: Client, command: str, message_id: str, **members: Any) -> Json:
    answer = await client.call(command, message_id=message_id, **members)
    assert answer["type"] == "ack", answer
    return answer


async def history(client: Client, **members: Any) -> list[Json]:
    answer = await client.call("history", session_id="s1", **members)
    return list(answer["messages"])


def publish_request(**fields: Any) -> PublishRequest:
    body = {"target": SESSION, "type": "new_message", "content": "hello", **fields}
    return read_request(body, PublishRequest)


async def publish(live: Live, actor: Any = None, **fields: Any) -> Json:
    return await live.publishing.publish(actor or live.actor(), publish_request(**fields))


# Editing


@pytest.mark.gen_test
async def test_an_edit_replaces_the_content_at_the_message_s_offset(live: Live) -> None:
    mine = await live.in_session("u1")
    other = await live.in_session("u2")
    message_id = await say(mine, "hello", content_type="text/plain", client_message_id="c1")
    await mine.rest()
    await other.rest()
    answer = await change(mine, "edit_message", message_id, content={"text": "bye"})
    assert (answer["message_id"], answer["offset"]) == (message_id, 2)
    (push,) = await other.rest()
    assert [push["type"], push["offset"], push["session_id"]] == ["message_updated", 2, "s1"]
    assert push["id"] != message_id
    message = push["message"]
    assert (message["content"], message["content_type"]) == ({"text": "bye"}, "text/plain")
    assert (message["id"], message["client_message_id"]) == (message_id, "c1")
    assert (message["edited_by"], message["sender"]["user_id"]) == ("u1", "u1")
    assert message["edited_at"].endswith("Z")
    assert await mine.rest() == [push]

    (only,) = await history(other)
    assert (only["offset"], only["message"]) == (1, message)
    both = await history(other, changes=True)
    assert [each["type"] for each in both] == ["new_message", "message_updated"]
    assert both[1] == push


@pytest.mark.gen_test
async def test_only_the_sender_edits_and_only_for_a_while(live: Live) -> None:
    mine = await live.in_session("u1")
    other = await live.in_session("u2")
    outside = await live.connect("u3")
    message_id = await say(mine)
    assert await other.error("edit_message", message_id=message_id, content="x") == "forbidden"
    assert await outside.error("edit_message", message_id=message_id, content="x") == "not_found"
    assert await mine.error("edit_message", message_id="msg_none", content="x") == "not_found"
    live.clock.advance(900)
    await change(mine, "edit_message", message_id, content="in time")
    live.clock.advance(1)
    code = await mine.error("edit_message", message_id=message_id, content="late")
    assert code == "edit_window_over"
    assert await mine.error("delete_message", message_id=message_id) == "edit_window_over"
    (only,) = await history(mine)
    assert only["message"]["content"] == "in time"


@pytest.mark.gen_test
async def test_a_sender_who_lost_access_changes_nothing(live: Live) -> None:
    await live.admin_actions.replace_members(live.actor(), "s1", MembersRequest(["u1"]))
    mine = await live.connect("u1")
    await mine.call("join_session", session_id="s1")
    message_id = await say(mine)
    await live.admin_actions.replace_members(live.actor(), "s1", MembersRequest([]))
    assert await mine.error("edit_message", message_id=message_id, content="x") == "not_found"
    assert await mine.error("delete_message", message_id=message_id) == "not_found"


@pytest.mark.gen_test
async def test_moderators_change_messages_of_others_and_it_is_audited(live: Live) -> None:
    mine = await live.in_session("u1", organization_id="o1")
    message_id = await say(mine)
    live.clock.advance(9999)
    manager = await live.connect("m1", role="manager", organization_id="o1")
    answer = await change(manager, "edit_message", message_id, content="moderated")
    assert answer["offset"] == 2
    admin = await live.connect("boss", role="admin")
    await change(admin, "delete_message", message_id)
    entries = [each for each in await live.audited() if each.target == f"message:{message_id}"]
    assert sorted((each.action, each.actor, each.outcome) for each in entries) == [
        ("delete_message", "boss", "ok"),
        ("edit_message", "m1", "ok"),
    ]
    assert "moderated" not in repr(entries)
    assert [each["message"].get("edited_by") for each in await mine.rest() if "message" in each][
        1:2
    ] == ["m1"]


@pytest.mark.gen_test
async def test_a_manager_of_another_organization_finds_no_message(live: Live) -> None:
    mine = await live.in_session("u1", organization_id="o1")
    message_id = await say(mine)
    manager = await live.connect("m2", role="manager", organization_id="o2")
    assert await manager.error("delete_message", message_id=message_id) == "not_found"
    with pytest.raises(NotFound):
        await live.message_changes.delete(
            live.actor("manager", "m2", organization_id="o2"), message_id
        )


@pytest.mark.gen_test
async def test_a_backend_changes_what_it_has_published_and_nothing_else(live: Live) -> None:
    mine = await live.in_session("u1")
    of_user = await say(mine)
    backend = live.actor("service", "bot")
    sender = {"user_id": "ai-1", "username": "AI"}
    own = (await publish(live, backend, sender=sender))["message_id"]
    sent = await live.message_changes.edit(backend, own, "better")
    assert sent.offset == 3
    with pytest.raises(Forbidden):
        await live.message_changes.edit(backend, of_user, "x")
    with pytest.raises(Forbidden):
        await live.message_changes.edit(live.actor("service", "other"), own, "x")
    live.clock.advance(901)
    with pytest.raises(EditWindowOver):
        await live.message_changes.delete(backend, own)
    denied = [(each.actor, each.outcome) for each in await live.audited() if each.action != "x"]
    assert ("bot", "forbidden") in denied


@pytest.mark.gen_test
async def test_a_message_for_another_organization_is_out_of_reach(live: Live) -> None:
    manager_1 = live.actor("manager", "m1", organization_id="o1")
    members = MembersRequest(["u1", "u2", "m1"])
    await live.admin_actions.replace_members(live.actor(), "s1", members)
    await live.in_session("u1", organization_id="o1")
    await live.in_session("u2", organization_id="o2")
    await live.in_session("m1", organization_id="o1", role="manager")
    message_id = (await publish(live, manager_1))["message_id"]
    theirs = await live.connect("u2", organization_id="o2")
    assert await theirs.error("edit_message", message_id=message_id, content="x") == "not_found"
    manager_2 = live.actor("manager", "m2", organization_id="o2")
    with pytest.raises(NotFound):
        await live.message_changes.delete(manager_2, message_id)


@pytest.mark.gen_test
async def test_what_is_no_session_message_cannot_be_changed(live: Live) -> None:
    client = await live.in_session("u1", role="admin")
    inbox = await publish(live, target={"type": "user", "id": "u1"}, session_id="s1")
    record = (await change(client, "edit_message", await say(client), content="x"))["offset"]
    ids = [each["id"] for each in await client.rest() if each.get("offset") == record]
    for message_id in (inbox["message_id"], *ids):
        assert await client.error("delete_message", message_id=message_id) == "not_found"


# Deleting


@pytest.mark.gen_test
async def test_a_deleted_message_is_a_stub_at_its_offset(live: Live) -> None:
    mine = await live.in_session("u1")
    first = await say(mine, "secret one")
    await change(mine, "edit_message", first, content="secret two")
    await say(mine, "other")
    pushes = await mine.rest()
    answer = await change(mine, "delete_message", first)
    assert answer["offset"] == 4
    (push,) = await mine.rest()
    created_at = pushes[0]["message"]["created_at"]
    stub = {"id": first, "session_id": "s1", "deleted": True, "created_at": created_at}
    assert (push["type"], push["message_id"], push["deleted_by"]) == (
        "message_deleted",
        first,
        "u1",
    )
    assert push["message"] == stub
    assert push["deleted_at"].endswith("Z")
    late = await live.connect("u2", sessions="*")
    position = {"epoch": push["epoch"], "offset": 0}
    for is_cold in (False, True):
        if is_cold:
            live.forget_streams()
        answer = await late.call("resume", streams={"session:s1": position})
        messages = answer["streams"]["session:s1"]["messages"]
        assert [each["type"] for each in messages] == [
            "new_message",
            "message_updated",
            "new_message",
            "message_deleted",
        ]
        assert [messages[index]["message"] for index in (0, 1, 3)] == [stub] * 3
        assert "secret" not in json.dumps(messages)
        assert "sender" not in messages[0]["message"]
        (gone, other) = await history(late)
        assert (gone["offset"], gone["message"]) == (1, stub)
        assert other["message"]["content"] == "other"


@pytest.mark.gen_test
async def test_deleting_again_has_the_same_answer_and_editing_none(live: Live) -> None:
    mine = await live.in_session("u1")
    message_id = await say(mine)
    await mine.rest()
    answer = await change(mine, "delete_message", message_id)
    again = await change(mine, "delete_message", message_id)
    assert {**again, "ref": 0} == {**answer, "ref": 0}
    assert await mine.error("edit_message", message_id=message_id, content="x") == "not_found"
    assert [each["type"] for each in await mine.rest()] == ["message_deleted"]


@pytest.mark.gen_test
async def test_an_edit_and_a_deletion_at_the_same_time_leave_it_deleted(live: Live) -> None:
    mine = await live.in_session("u1")
    for number in range(10):
        message_id = await say(mine, f"secret {number}")
        actor = live.actor("admin", "boss")
        calls = [
            live.message_changes.edit(actor, message_id, "secret edit"),
            live.message_changes.delete(actor, message_id),
        ]
        order = calls if number % 2 else calls[::-1]
        await asyncio.gather(*order, return_exceptions=True)
    assert "secret" not in json.dumps(await history(mine, changes=True))


@pytest.mark.gen_test
async def test_a_growing_answer_is_deleted_but_not_edited(live: Live) -> None:
    mine = await live.in_session("u1")
    message_id = await say(mine, "text so far")
    await live.database.run(
        lambda db: (
            db.execute(
                "UPDATE messages SET payload = CAST(json_set(CAST(payload AS TEXT),"
                " '$.message.state', 'growing') AS BLOB) WHERE message_id = ?",
                [message_id],
            ).rowcount
        )
    )
    assert await mine.error("edit_message", message_id=message_id, content="x") == "forbidden"
    await change(mine, "delete_message", message_id)
    deleted = [each for each in await mine.rest() if each["type"] == "message_deleted"]
    assert len(deleted) == 1
    assert "text so far" not in json.dumps(deleted)


@pytest.mark.gen_test
async def test_the_event_of_a_change_has_no_content(live: Live) -> None:
    seen = live.watch("message_published")
    mine = await live.in_session("u1")
    message_id = await say(mine, "secret")
    await change(mine, "edit_message", message_id, content="secret too")
    await change(mine, "delete_message", message_id)
    assert [each["type"] for each in seen] == ["new_message", "message_updated", "message_deleted"]
    assert [each["matched"] for each in seen] == [1, 1, 1]
    assert "secret" not in json.dumps(seen)


@pytest.mark.gen_test
async def test_no_window_leaves_changes_to_moderators(make_live: MakeLive) -> None:
    live = await make_live(edit_window_s=0.0)
    mine = await live.in_session("u1")
    message_id = await say(mine)
    live.clock.advance(0.001)
    assert await mine.error("delete_message", message_id=message_id) == "edit_window_over"


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"content": "x"}, "bad_request"),
        ({"message_id": "msg_1"}, "bad_request"),
        ({"message_id": 7, "content": "x"}, "bad_request"),
        ({"message_id": "no/id", "content": "x"}, "bad_request"),
        ({"message_id": "msg_1", "content": ["x"]}, "bad_request"),
        ({"message_id": "msg_1", "content": "x", "content_type": "y"}, "unknown_field"),
    ],
)
async def test_edits_of_the_wrong_shape(live: Live, members: Json, code: str) -> None:
    client = await live.in_session("u1")
    assert await client.error("edit_message", **members) == code


@pytest.mark.gen_test
async def test_a_lone_surrogate_in_an_edit_is_refused(live: Live) -> None:
    client = await live.in_session("u1")
    message_id = await say(client)
    members = f'"message_id":"{message_id}","content":"\\ud800"'
    client.send(f'{{"type":"edit_message","ref":"x",{members}}}'.encode())
    answer = await client.reply("x")
    assert answer["error"]["code"] == "bad_unicode"


# Replies


@pytest.mark.gen_test
async def test_a_reply_names_a_message_of_the_session(live: Live) -> None:
    client = await live.in_session("u1")
    first = await say(client, "question")
    await say(client, "answer", reply_to=first)
    pushes = [each for each in await client.rest() if each["type"] == "new_message"]
    assert "reply_to" not in pushes[0]["message"]
    assert pushes[1]["message"]["reply_to"] == first
    assert (await history(client))[1]["message"]["reply_to"] == first


@pytest.mark.gen_test
async def test_a_reply_to_nothing_is_not_stored(live: Live) -> None:
    client = await live.in_session("u1", sessions="*")
    await client.call("join_session", session_id="s2")
    elsewhere = await client.call("send_message", session_id="s2", content="x")
    said = await say(client)
    await change(client, "edit_message", said, content="hi")
    record = (await history(client, changes=True))[-1]["id"]
    for message_id in ("msg_none", elsewhere["message_id"], record):
        code = await client.error("send_message", session_id="s1", content="y", reply_to=message_id)
        assert code == "not_found"
    assert [each["id"] for each in await history(client)] == [said]
    assert (
        await client.error("send_message", session_id="s1", content="y", reply_to="a b")
        == "bad_request"
    )


@pytest.mark.gen_test
async def test_replies_of_backends_and_in_batches(live: Live) -> None:
    client = await live.in_session("u1")
    first = await say(client)
    answer = await publish(live, reply_to=first)
    assert answer["offset"] == 2
    with pytest.raises(NotFound):
        await publish(live, reply_to="msg_none")
    body = {"target": SESSION, "type": "new_message", "content": "z"}
    replies = [{**body, "reply_to": first}, {**body, "reply_to": "msg_none"}, body]
    request = BatchRequest(replies)
    results = (await live.publishing.batch(live.actor(), request))["results"]
    assert [each["status"] for each in results] == [200, 404, 200]
    assert results[1]["code"] == "not_found"
    assert [each["offset"] for each in await history(client)] == [1, 2, 3, 4]
    live_only = {**body, "reply_to": first, "keep": False}
    (refused,) = (await live.publishing.batch(live.actor(), BatchRequest([live_only])))["results"]
    assert (refused["status"], refused["errors"][0]["field"]) == (422, "messages[0].reply_to")


@pytest.mark.gen_test
async def test_a_reply_to_a_deleted_message_stands(live: Live) -> None:
    client = await live.in_session("u1")
    first = await say(client)
    await change(client, "delete_message", first)
    await say(client, "answer", reply_to=first)
    assert (await history(client))[1]["message"]["reply_to"] == first


# With a check before


class Check:
    """A check that waits for a test, and decides as it says."""

    def __init__(self) -> None:
        self.asked: list[Unchecked] = []
        self.decide: Callable[[Unchecked], Any] = lambda message: message.content
        self.gate = asyncio.Event()
        self.gate.set()

    def concerns(self, content_type: str | None) -> bool:
        return True

    async def check(self, message: Unchecked) -> Any:
        self.asked.append(message)
        await self.gate.wait()
        return self.decide(message)


@pytest.mark.gen_test
async def test_a_check_sees_each_message_and_edit_and_may_change_it(make_live: MakeLive) -> None:
    check = Check()
    live = await make_live(message_check=check)
    client = await live.in_session("u1")
    check.decide = lambda message: f"<{message.content}>"
    message_id = await say(client, "one", client_message_id="c1")
    await change(client, "edit_message", message_id, content="two")
    assert [each["message"]["content"] for each in await client.rest() if "message" in each] == [
        "<one>",
        "<two>",
    ]
    first, second = check.asked
    assert (first.sender.sub, first.session_id, first.client_message_id) == ("u1", "s1", "c1")
    assert (first.edits, second.edits, second.content) == (None, message_id, "two")


@pytest.mark.gen_test
async def test_what_a_check_rejects_is_not_stored(make_live: MakeLive) -> None:
    check = Check()
    live = await make_live(message_check=check)
    client = await live.in_session("u1")
    kept = await say(client, "fine")

    def reject(message: Unchecked) -> Any:
        raise Rejected("No advertising.", "spam")

    check.decide = reject
    answer = await client.call("send_message", session_id="s1", content="buy")
    error = answer["error"]
    assert (error["code"], error["reason"], error["temporary"]) == ("rejected", "spam", False)
    assert error["message"] == "No advertising."
    assert await client.error("edit_message", message_id=kept, content="buy") == "rejected"
    assert await client.error("edit_message", message_id="msg_none", content="x") == "not_found"
    assert [each["message"]["content"] for each in await history(client)] == ["fine"]
    assert len(check.asked) == 3


@pytest.mark.gen_test
async def test_messages_of_a_sender_keep_their_order(make_live: MakeLive) -> None:
    check = Check()
    live = await make_live(message_check=check)
    client = await live.in_session("u1")
    other = await live.in_session("u2")
    check.gate.clear()
    client.send("send_message", ref=1, session_id="s1", content="first")
    client.send("send_message", ref=2, session_id="s1", content="second")
    other.send("send_message", ref=1, session_id="s1", content="of another")
    while len(check.asked) < 2:
        await asyncio.sleep(0)
    # One of each connection; others do not wait for it.
    assert {each.content for each in check.asked} == {"first", "of another"}
    check.gate.set()
    await client.reply(1)
    await client.reply(2)
    texts = [each["message"]["content"] for each in await history(client)]
    assert [text for text in texts if text != "of another"] == ["first", "second"]


@pytest.mark.gen_test
async def test_access_is_checked_again_after_the_check(make_live: MakeLive) -> None:
    check = Check()
    live = await make_live(message_check=check)
    await live.admin_actions.replace_members(live.actor(), "s1", MembersRequest(["u1"]))
    client = await live.connect("u1")
    await client.call("join_session", session_id="s1")
    check.gate.clear()
    client.send("send_message", ref="x", session_id="s1", content="late")
    while not check.asked:
        await asyncio.sleep(0)
    await live.admin_actions.replace_members(live.actor(), "s1", MembersRequest([]))
    check.gate.set()
    assert (await client.reply("x"))["error"]["code"] == "not_joined"


@pytest.mark.gen_test
async def test_backends_are_not_checked(make_live: MakeLive) -> None:
    check = Check()
    live = await make_live(message_check=check)
    await publish(live)
    assert check.asked == []


# Bound connections


@pytest.mark.gen_test
async def test_a_bound_connection_reaches_messages_of_its_session_alone(live: Live) -> None:
    """Even of a moderator, who has access to the other session."""
    writer = await live.in_session("u1", session_id="s1")
    message_id = await say(writer)
    elsewhere = await live.connect("u1", endpoint="session", session_id="s2", sessions="*")
    moderator = await live.connect("boss", endpoint="session", session_id="s2", role="admin")
    for client in (elsewhere, moderator):
        edit = await client.error("edit_message", message_id=message_id, content="new")
        assert edit == "not_found"
        assert await client.error("delete_message", message_id=message_id) == "not_found"
    assert [each["message"]["content"] for each in await history(writer)] == ["hello"]
    assert [e.action for e in await live.audited() if "message" in e.action] == []
    within = await live.connect("u1", endpoint="session", session_id="s1", sessions="*")
    await change(within, "edit_message", message_id, content="new")
    await change(within, "delete_message", message_id)
