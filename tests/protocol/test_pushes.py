"""Pushes: encoding, and the types that the API may send."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wsserver.errors import BadRequest, Draining, NotJoined, RateLimited, ValidationFailed
from wsserver.protocol.pushes import (
    PUBLISHABLE,
    RESERVED_TYPES,
    NewMessage,
    error_reply,
    message_of,
    publishable_fields,
    push,
    reply,
)
from wsserver.protocol.requests import Body, Sender, read_request

COMPLETE: dict[str, dict[str, Any]] = {
    "new_message": {"session_id": "s1", "content": "hi"},
    "typing": {"session_id": "s1", "user_id": "u1", "is_typing": True},
    "message_status_update": {
        "message_id": "msg_1",
        "session_id": "s1",
        "status": "read",
        "user_id": "u1",
    },
    "ai_processing_status": {"session_id": "s1", "status": "queued"},
    "user_status_update": {"user_id": "u1", "status": "online"},
}
OPTIONAL: dict[str, dict[str, Any]] = {
    "new_message": {
        "content_type": "card",
        "sender": {"user_id": "u1", "role": "ai"},
        "reply_to": "msg_0",
    },
    "typing": {"username": "张三"},
    "message_status_update": {"reason": "no such user"},
    "ai_processing_status": {
        "progress": 0.5,
        "detail": "thinking",
        "message_id": "msg_1",
        "delta": "Hel",
    },
    "user_status_update": {"connections": 2},
}
OPTIONS = ("type", "exclude_users", "keep", "ttl_s", "term")
FIELDS = [name for name in Body.__struct_fields__ if name not in OPTIONS]


def body(type_: str, **members: Any) -> Body:
    return read_request({"type": type_, **members}, Body)


def faults(type_: str, members: dict[str, Any], session_id: str | None = None) -> list[str]:
    with pytest.raises(ValidationFailed) as caught:
        publishable_fields(body(type_, **members), session_id)
    return [error["field"] for error in caught.value.details["errors"]]


@pytest.mark.parametrize("type_", sorted(RESERVED_TYPES - PUBLISHABLE.keys()))
def test_reserved_types_are_refused(type_: str) -> None:
    assert faults(type_, {"data": 1}) == ["type"]


def test_every_push_of_the_contract_is_reserved() -> None:
    assert {
        *("connection_established", "ping", "session_joined", "session_left", "new_message"),
        *("typing", "message_status_update", "ai_processing_status", "notification"),
        *("stats_update", "user_status_update", "event", "token_expiring", "server_draining"),
        *("message_updated", "message_deleted"),
    } <= RESERVED_TYPES
    assert set(PUBLISHABLE) == set(COMPLETE)


@pytest.mark.parametrize("type_", COMPLETE)
def test_a_complete_body_is_taken(type_: str) -> None:
    assert type(publishable_fields(body(type_, **COMPLETE[type_]), None)) is PUBLISHABLE[type_]
    full = COMPLETE[type_] | OPTIONAL[type_]
    fields = publishable_fields(body(type_, **full), None)
    assert set(fields.__struct_fields__) == full.keys()


@pytest.mark.parametrize(
    ("type_", "field"), [(type_, field) for type_ in COMPLETE for field in COMPLETE[type_]]
)
def test_each_field_without_a_question_mark_is_required(type_: str, field: str) -> None:
    members = {name: value for name, value in COMPLETE[type_].items() if name != field}
    assert faults(type_, members) == [field]


@pytest.mark.parametrize("type_", [*COMPLETE, "order.shipped"])
def test_fields_of_other_types_are_refused(type_: str) -> None:
    values = {
        "data": 1,
        **{k: v for each in (COMPLETE, OPTIONAL) for m in each.values() for k, v in m.items()},
    }
    own = {*COMPLETE.get(type_, {}), *OPTIONAL.get(type_, {})} or {"data"}
    foreign = sorted(set(FIELDS) - own)
    assert foreign
    for field in foreign:
        value = "x" if field == "status" else values[field]
        assert faults(type_, {**COMPLETE.get(type_, {}), field: value}) == [field]


@pytest.mark.parametrize(
    ("type_", "field", "value"),
    [
        ("message_status_update", "status", "lost"),
        ("message_status_update", "message_id", ""),
        ("ai_processing_status", "status", "sent"),
        ("user_status_update", "status", "away"),
    ],
)
def test_values_outside_of_the_table_are_refused(type_: str, field: str, value: Any) -> None:
    assert faults(type_, {**COMPLETE[type_], field: value}) == [field]


@pytest.mark.parametrize(
    "type_", ["new_message", "typing", "message_status_update", "ai_processing_status"]
)
def test_the_target_session_fills_in_and_must_agree(type_: str) -> None:
    members = {name: value for name, value in COMPLETE[type_].items() if name != "session_id"}
    fields: Any = publishable_fields(body(type_, **members), "s9")
    assert fields.session_id == "s9"
    assert faults(type_, COMPLETE[type_], "s9") == ["session_id"]
    publishable_fields(body(type_, **COMPLETE[type_]), "s1")


def test_a_custom_type_has_data_alone_and_a_target_session_adds_nothing() -> None:
    fields: Any = publishable_fields(body("order.shipped", data={"n": 1}), "s1")
    assert (fields.__struct_fields__, fields.data) == (("data",), {"n": 1})
    assert publishable_fields(body("order.shipped"), None).data is None  # type: ignore[attr-defined]


def test_a_push_is_one_json_object_with_type_and_timestamp() -> None:
    raw = push("x", "2024-01-15T14:30:00.000Z", a=1, b="你")
    assert json.loads(raw) == {
        "type": "x",
        "a": 1,
        "b": "你",
        "timestamp": "2024-01-15T14:30:00.000Z",
    }


@pytest.mark.parametrize("ref", ["c7", 0, "", -5, 2**64])
def test_a_reply_carries_the_ref_it_got(ref: str | int) -> None:
    assert json.loads(reply("ack", ref, {"message_id": "m"})) == {
        "type": "ack",
        "ref": ref,
        "message_id": "m",
    }


def test_a_reply_to_a_command_without_ref_has_none() -> None:
    assert json.loads(reply("ack", None, {})) == {"type": "ack"}


def test_an_error_has_the_shape_of_the_contract() -> None:
    assert json.loads(error_reply(NotJoined("s9"), "c7")) == {
        "type": "error",
        "ref": "c7",
        "error": {"code": "not_joined", "message": "not joined to session s9", "temporary": False},
    }
    bad = json.loads(error_reply(BadRequest("x: required", field="x"), None))
    assert bad["error"]["field"] == "x"
    assert "ref" not in bad


def test_what_can_be_tried_again_says_so_and_when() -> None:
    limited = json.loads(error_reply(RateLimited(26), 1))["error"]
    assert limited == {
        "code": "rate_limited",
        "message": "too many messages",
        "temporary": True,
        "retry_after_ms": 26,
    }
    assert json.loads(error_reply(Draining(), 1))["error"]["temporary"] is True


def test_a_details_of_no_value_is_left_out() -> None:
    assert "field" not in json.loads(error_reply(BadRequest("x", field=""), 1))["error"]


def test_the_message_of_a_new_message_is_built_from_its_fields() -> None:
    fields = NewMessage("hi", "s1", "card", Sender("u1", "张三", "user"))
    assert message_of("msg_1", fields, "T", "c1") == {
        "id": "msg_1",
        "session_id": "s1",
        "sender": {"user_id": "u1", "username": "张三", "role": "user"},
        "content": "hi",
        "content_type": "card",
        "created_at": "T",
        "client_message_id": "c1",
    }


def test_a_message_without_a_sender_is_the_services() -> None:
    message = message_of("msg_1", NewMessage({"a": 1}, "s1"), "T")
    assert message["sender"] == {"user_id": "system", "username": None, "role": "service"}
    assert message["content_type"] == "text"
    assert "client_message_id" not in message
