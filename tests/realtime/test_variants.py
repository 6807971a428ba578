"""Messages of a batch that are made from an earlier one are what they would be by themselves."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.live_server import Client, Live
from wsserver.protocol.pushes import addressed_push, message_of, publishable_fields
from wsserver.protocol.requests import BatchRequest, PublishRequest, read_request
from wsserver.realtime.messages.message import Message
from wsserver.realtime.messages.variants import PushTemplate, Variants, in_full

FAKE = '","content":"x","content_type":"y'
CONTENTS: tuple[Any, ...] = (
    "text", "", "您好", 'say "x"\n', FAKE, {"blocks": [{"text": FAKE}]}, {"content": "text"}
)  # fmt: skip


def body(content: Any = "text", **fields: Any) -> PublishRequest:
    given = {
        "target": {"type": "session", "id": "s1"},
        "type": "new_message",
        "content": content,
        "sender": {"user_id": "u1", "username": FAKE},
    }
    return read_request(given | fields, PublishRequest)


def message(from_body: PublishRequest, message_id: str = "msg_1", **fields: Any) -> Message:
    chat: Any = publishable_fields(from_body, "s1")
    members = {"session_id": "s1", "message": message_of(message_id, chat, "2024")}
    return Message("new_message", members, message_id=message_id, keep=True, **fields)


def push_of(each: Message) -> bytes:
    return addressed_push(each.type, "2024", each.message_id, each.members)


@pytest.mark.parametrize("first", CONTENTS)
@pytest.mark.parametrize("content", CONTENTS)
def test_a_push_from_a_template_is_the_one_that_is_encoded(first: Any, content: Any) -> None:
    template = PushTemplate(push_of(message(body(first))), "msg_1", first)
    expected = push_of(message(body(content), "msg_2"))
    assert template.push("msg_2", content) == expected
    variants = Variants()
    variants.note(body(first), message(body(first)))
    variant = variants.of(body(content), 0.0)
    assert variant is not None
    variant.message_id = "msg_2"
    assert push_of(in_full(variant)) == expected


def test_an_id_that_is_elsewhere_too_makes_no_template() -> None:
    named = message(body(sender={"user_id": "msg_1"}))
    with pytest.raises(ValueError, match="unpack"):
        PushTemplate(push_of(named), "msg_1", "text")


@pytest.mark.parametrize(
    "other",
    [
        {"sender": {"user_id": "u2"}},
        {"sender": {"user_id": "u1"}},
        {"target": {"type": "session", "id": "s2"}},
        {"target": {"type": "user", "id": "s1"}},
        {"keep": True},
        {"ttl_s": 5},
        {"content_type": "image"},
        {"exclude_users": ["u3"]},
        {"reply_to": "msg_0"},
        {"term": 1},
    ],
)
def test_what_differs_in_more_than_its_content_is_made_by_itself(other: dict[str, Any]) -> None:
    variants = Variants()
    variants.note(body(), message(body()))
    assert variants.of(body("other"), 0.0) is not None
    assert variants.of(body("other", **other), 0.0) is None


def test_nothing_is_made_from_live_and_repeatable_messages_and_of_no_content() -> None:
    for noted in (message(body()), message(body(), dedup=("scope", "key"))):
        variants = Variants()
        noted.keep = noted.dedup is not None
        variants.note(body(), noted)
        assert variants.of(body(), 0.0) is None
    variants = Variants()
    variants.note(body(), message(body()))
    empty = read_request(
        {"target": {"type": "session", "id": "s1"}, "type": "new_message"}, PublishRequest
    )
    assert variants.of(empty, 0.0) is None


async def sent_in(live: Live, client: Client, messages: list[Any]) -> list[dict[str, Any]]:
    request = read_request({"messages": messages}, BatchRequest)
    results = (await live.publishing.batch(live.actor(), request))["results"]
    assert [each["status"] for each in results] == [200] * len(messages)
    pushes = await client.rest()
    assert [each["id"] for each in pushes] == [each["message_id"] for each in results]
    assert [each["offset"] for each in pushes] == [each["offset"] for each in results]
    assert [each["message"]["id"] for each in pushes] == [each["id"] for each in pushes]
    return pushes


def without_identity(push: dict[str, Any]) -> str:
    push, chat = dict(push), dict(push["message"])
    for name in ("id", "offset", "timestamp"):
        push.pop(name)
    chat.pop("id")
    return json.dumps({**push, "message": chat})


@pytest.mark.gen_test
async def test_a_batch_of_similar_messages_stores_what_single_ones_do(live: Live) -> None:
    client = await live.in_session("u1", "s1")
    seen = live.watch("message_published")
    messages: list[Any] = [
        {"target": {"type": "session", "id": "s1"}, "type": "new_message", "content": content}
        for content in CONTENTS
    ]
    messages[3]["sender"] = {"user_id": "u2", "username": FAKE}
    messages[4] |= {"sender": {"user_id": "u2", "username": FAKE}, "ttl_s": 60}
    together = await sent_in(live, client, messages)
    alone = [push for each in messages for push in await sent_in(live, client, [each])]
    assert list(map(without_identity, together)) == list(map(without_identity, alone))
    sizes = [event["bytes"] for event in seen]
    assert sizes[: len(messages)] == sizes[len(messages) :]
