"""Request bodies of the REST API."""

from __future__ import annotations

from typing import Any

import pytest

from wsserver.errors import ValidationFailed
from wsserver.protocol.requests import (
    BatchRequest,
    Body,
    BroadcastRequest,
    DisconnectRequest,
    MembersRequest,
    PingRequest,
    PingUserRequest,
    PublishRequest,
    Request,
    RevokeRequest,
    SubscribeRequest,
    TicketRequest,
    read_request,
)
from wsserver.protocol.types import is_action_url

TO_USER = {"type": "user", "id": "u1"}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (BroadcastRequest, {"type": "x"}),
        (BroadcastRequest, {"type": "x", "data": None, "organization_id": "o1", "role": "admin"}),
        (BroadcastRequest, {"type": "x", "exclude_users": ["u1"], "keep": False}),
        (PublishRequest, {"type": "a" + "b" * 63, "target": {"type": "broadcast"}}),
        (PublishRequest, {"type": "x", "target": TO_USER, "keep": True}),
        (BatchRequest, {"messages": [{}] * 1000}),
        (DisconnectRequest, {"user_id": "u1", "reason": "x" * 123, "connection_id": "conn_1"}),
        (PingRequest, {}),
        (PingUserRequest, {"user_id": "u1", "timeout_s": 60}),
        (SubscribeRequest, {}),
        (SubscribeRequest, {"events": ["user_*"], "interval_s": 0.1}),
        (MembersRequest, {"user_ids": []}),
        (TicketRequest, {}),
        (RevokeRequest, {"jti": "j1"}),
    ],
)
def test_a_body_of_the_contract_is_taken(kind: Any, body: dict[str, Any]) -> None:
    read_request(body, kind)


NO_BODIES: list[Any] = [[], None, "x", 1]


@pytest.mark.parametrize(
    ("kind", "body", "field"),
    [
        *(
            (kind, wrong, "body")
            for kind in (BroadcastRequest, TicketRequest)
            for wrong in NO_BODIES
        ),
        (Request, {"x": 1}, "x"),
        (BroadcastRequest, {}, "type"),
        (BroadcastRequest, {"type": "x", "to": 1}, "to"),
        *(
            (BroadcastRequest, {"type": bad}, "type")
            for bad in ("", "X", "1x", "a-b", "a" * 65, "x\n", "_x", 1, None)
        ),
        (BroadcastRequest, {"type": "x", "exclude_users": ["a b"]}, "exclude_users[0]"),
        (BroadcastRequest, {"type": "x", "exclude_users": ["u"] * 1001}, "exclude_users"),
        (BroadcastRequest, {"type": "x", "keep": "yes"}, "keep"),
        (BroadcastRequest, {"type": "x", "organization_id": ""}, "organization_id"),
        (PublishRequest, {"type": "x"}, "target"),
        (PublishRequest, {"type": "x", "target": {"type": "everyone"}}, "target.type"),
        (PublishRequest, {"type": "x", "target": {"type": "user", "id": "\0"}}, "target.id"),
        (PublishRequest, {"type": "x", "target": {**TO_USER, "n": 1}}, "target.n"),
        (Body, {"type": "ai_processing_status", "progress": 1.01}, "progress"),
        (Body, {"type": "ai_processing_status", "progress": -0.01}, "progress"),
        (Body, {"type": "user_status_update", "connections": -1}, "connections"),
        (Body, {"type": "new_message", "sender": {"user_id": ""}}, "sender.user_id"),
        (BatchRequest, {"messages": []}, "messages"),
        (BatchRequest, {"messages": [{}] * 1001}, "messages"),
        (BatchRequest, {"messages": [1]}, "messages[0]"),
        (DisconnectRequest, {"user_id": "u", "reason": "x" * 124}, "reason"),
        (PingRequest, {"timeout_s": 0}, "timeout_s"),
        (PingRequest, {"timeout_s": 60.1}, "timeout_s"),
        (PingRequest, {"timeout_s": "5"}, "timeout_s"),
        (PingUserRequest, {"timeout_s": 5}, "user_id"),
        (SubscribeRequest, {"events": [""]}, "events[0]"),
        (SubscribeRequest, {"events": "*"}, "events"),
        (SubscribeRequest, {"events": ["*"] * 101}, "events"),
        (SubscribeRequest, {"interval_s": 0.09}, "interval_s"),
        (MembersRequest, {}, "user_ids"),
        (MembersRequest, {"user_ids": ["u"] * 10_001}, "user_ids"),
        (RevokeRequest, {"jti": ""}, "jti"),
        (RevokeRequest, {"jti": "a\0b"}, "jti"),
        (TicketRequest, {"ttl_s": 1}, "ttl_s"),
    ],
)
def test_a_body_of_the_wrong_shape_is_refused_naming_the_field(
    kind: Any, body: Any, field: str
) -> None:
    with pytest.raises(ValidationFailed) as caught:
        read_request(body, kind)
    (error,) = caught.value.details["errors"]
    assert error["field"] == field
    assert error["message"]


def test_the_options_of_sending_are_no_members_of_the_push() -> None:
    request = read_request(
        {"type": "x", "data": 1, "target": TO_USER, "keep": False, "exclude_users": ["u2"]},
        PublishRequest,
    )
    assert request.members() == {"data": 1}
    broadcast = read_request(
        {"type": "x", "role": "admin", "organization_id": "o"}, BroadcastRequest
    )
    assert broadcast.members() == {}


def test_the_defaults_are_the_contracts() -> None:
    assert read_request({}, PingRequest).timeout_s == 5
    assert read_request({}, SubscribeRequest).events == ["*"]


@pytest.mark.parametrize(
    "url",
    ["/", "/devices/7?x=1#y", "/%09/host", "/a//b", "/.//host", "https://host", "http://h:1/x?y"],
)
def test_addresses_behind_a_notification(url: str) -> None:
    assert is_action_url(url)


@pytest.mark.parametrize(
    "url", ["//host", "/\\host", "\\\\host", "/\t/host", "x", "https:///h", ""]
)
def test_what_leads_to_another_site_unseen(url: str) -> None:
    assert not is_action_url(url)
