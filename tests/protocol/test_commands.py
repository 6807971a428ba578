"""Commands: decoding, refusals and the ``ref`` that is echoed."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsserver.protocol.command_decoder import CommandDecoder, RefusedCommand
from wsserver.protocol.commands import (
    CHAT_COMMANDS,
    MONITOR_COMMANDS,
    Ping,
)

LONGEST_ID = "x" * 128
CHAT = [
    ("ping", {}),
    ("ping", {"data": None}),
    ("ping", {"data": {"deep": [1, "x"]}}),
    ("pong", {}),
    ("pong", {"id": "ping_1"}),
    ("join_session", {"session_id": "s1"}),
    ("join_session", {"session_id": LONGEST_ID}),
    ("join_session", {"session_id": "s1", "since": {"epoch": "e", "offset": 0}}),
    ("leave_session", {"session_id": "Aa0._:@-"}),
    ("send_message", {"session_id": "s1", "content": "hi"}),
    ("send_message", {"session_id": "s1", "content": ""}),
    ("send_message", {"session_id": "s1", "content": {"text": "hi"}, "content_type": "card"}),
    ("send_message", {"session_id": "s1", "content": "hi", "client_message_id": "c1"}),
    ("send_message", {"session_id": "s1", "content": "hi", "seen_offset": 0}),
    ("typing", {"session_id": "s1", "is_typing": True}),
    ("presence", {"session_id": "s1"}),
    ("conversations", {}),
    ("conversations", {"limit": 100, "cursor": "x", "state": "pending"}),
    ("conversations", {"cursor": None, "state": None}),
    ("notifications", {}),
    ("notifications", {"limit": 100, "cursor": None, "archived": True, "unread": True}),
    ("mark_notifications", {"ids": ["n1"], "read": True}),
    ("mark_notifications", {"up_to": "n1", "read": False, "archived": True}),
    ("preferences", {}),
    ("preferences", {"channels": {"*": {"sms": None}, "device_status": None}}),
    ("preferences", {"channels": None, "quiet_hours": None, "daily_digest": None}),
    ("mark_read", {"session_id": "s1", "offset": 0}),
    ("mark_read", {"session_id": "s1", "offset": 2**53}),
    ("take", {"session_id": "s1"}),
    ("take", {"session_id": "s1", "expected_term": 0}),
    ("release", {"session_id": "s1"}),
    ("release", {"session_id": "s1", "to": "ai"}),
    ("release", {"session_id": "s1", "to": None}),
    ("refresh_token", {"token": "t"}),
]
MONITOR = [
    ("get_stats", {}),
    ("get_stats", {"args": {}}),
    ("subscribe", {"args": {"events": ["*"]}}),
    ("broadcast", {"args": {"type": "x"}}),
    ("publish", {"args": {}}),
    ("disconnect_user", {"args": {"user_id": "u1"}}),
    ("ping_user", {"args": {"user_id": "u1"}}),
]


def refusal(raw: bytes | dict[str, Any], known: Any = CHAT_COMMANDS) -> RefusedCommand:
    if isinstance(raw, dict):
        raw = json.dumps(raw).encode()
    with pytest.raises(RefusedCommand) as caught:
        CommandDecoder(known).decode(raw)
    return caught.value


@pytest.mark.parametrize(("type_", "fields"), [*CHAT, *MONITOR])
@pytest.mark.parametrize("ref", [None, "c7", 7, "", "x" * 64, -1, 2**70])
def test_a_command_is_decoded_with_its_ref(type_: str, fields: Any, ref: Any) -> None:
    body = {"type": type_, **fields}
    if ref is not None:
        body["ref"] = ref
    decoded_type, command, decoded_ref = CommandDecoder(MONITOR_COMMANDS).decode(
        json.dumps(body).encode()
    )
    assert (decoded_type, decoded_ref) == (type_, ref)
    assert type(command) is MONITOR_COMMANDS[type_]
    assert msgspec.to_builtins(command).items() >= fields.items()


@pytest.mark.parametrize(("type_", "fields"), MONITOR)
def test_the_monitors_commands_are_unknown_elsewhere(type_: str, fields: Any) -> None:
    refused = refusal({"type": type_, "ref": 1, **fields})
    assert (refused.error.code, refused.ref) == ("unknown_type", 1)


@pytest.mark.parametrize(
    ("raw", "code", "ref"),
    [
        (b"{", "bad_json", None),
        (b"", "bad_json", None),
        (b'{"type":"ping","data":NaN,"ref":1}', "bad_json", 1),
        (b'{"type":"ping","data":1e400,"ref":1}', "bad_json", 1),
        (b'{"type":"ping","type":"pong","ref":1}', "bad_json", 1),
        (b'{"type":"ping","data":"\\ud800","ref":1}', "bad_unicode", 1),
        (b'{"type":"ping","ref":1,"data":' + b"[" * 32 + b"]" * 32 + b"}", "too_deep", 1),
        (b"[" * 100_000, "too_deep", None),
        (b"[]", "bad_request", None),
        (b'"ping"', "bad_request", None),
        (b"null", "bad_request", None),
        (b"1", "bad_request", None),
    ],
)
def test_text_that_is_not_a_json_object_is_refused_with_the_ref_that_can_be_read(
    raw: bytes, code: str, ref: int | None
) -> None:
    refused = refusal(raw)
    assert (refused.error.code, refused.ref) == (code, ref)


def test_depth_32_counted_from_the_command_itself_is_allowed() -> None:
    CommandDecoder(CHAT_COMMANDS).decode(b'{"type":"ping","data":' + b"[" * 31 + b"]" * 31 + b"}")


@pytest.mark.parametrize("ref", [None, True, 1.5, "x" * 65, [], {}, 1e30])
def test_a_bad_ref_is_named_and_not_echoed(ref: Any) -> None:
    for type_ in ("ping", "nonsense"):
        refused = refusal({"type": type_, "ref": ref})
        assert (refused.error.code, refused.ref) == ("bad_request", None)
        assert refused.error.details["field"] == "ref"


S = {"session_id": "s1"}


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({}, "bad_request", "type"),
        ({"type": None}, "bad_request", "type"),
        ({"type": 1}, "bad_request", "type"),
        ({"type": ["ping"]}, "bad_request", "type"),
        ({"type": "nonsense"}, "unknown_type", "type"),
        ({"type": "PING"}, "unknown_type", "type"),
        ({"type": ""}, "unknown_type", "type"),
        ({"type": "x" * 60_000}, "unknown_type", "type"),
        ({"type": "ping", "extra": 1}, "unknown_field", "extra"),
        ({"type": "pong", "id": 7}, "bad_request", "id"),
        ({"type": "pong", "id": "x" * 129}, "bad_request", "id"),
        ({"type": "join_session"}, "bad_request", "session_id"),
        ({"type": "join_session", "session_id": 1}, "bad_request", "session_id"),
        ({"type": "join_session", "session_id": None}, "bad_request", "session_id"),
        ({"type": "join_session", "session_id": ""}, "bad_request", "session_id"),
        ({"type": "join_session", "session_id": "x" * 129}, "bad_request", "session_id"),
        ({"type": "join_session", "session_id": "a b"}, "bad_request", "session_id"),
        ({"type": "join_session", "session_id": "s1\n"}, "bad_request", "session_id"),
        ({"type": "join_session", "session_id": "\0"}, "bad_request", "session_id"),
        ({"type": "join_session", "session_id": "../x"}, "bad_request", "session_id"),
        ({"type": "join_session", "session_id": "١٢"}, "bad_request", "session_id"),
        ({"type": "join_session", **S, "since": 5}, "bad_request", "since"),
        ({"type": "join_session", **S, "since": {"epoch": "e"}}, "bad_request", "since.offset"),
        *(
            (
                {"type": "join_session", **S, "since": {"epoch": "e", "offset": offset}},
                "bad_request",
                "since.offset",
            )
            for offset in (-1, 1.5, "5", True, 2**54, None)
        ),
        (
            {"type": "join_session", **S, "since": {"epoch": "e", "offset": 1, "x": 1}},
            "unknown_field",
            "since.x",
        ),
        ({"type": "leave_session"}, "bad_request", "session_id"),
        ({"type": "send_message", **S}, "bad_request", "content"),
        ({"type": "send_message", **S, "content": None}, "bad_request", "content"),
        ({"type": "send_message", **S, "content": ["a"]}, "bad_request", "content"),
        ({"type": "send_message", **S, "content": 5}, "bad_request", "content"),
        ({"type": "send_message", "content": "x"}, "bad_request", "session_id"),
        (
            {"type": "send_message", **S, "content": "", "content_type": ""},
            "bad_request",
            "content_type",
        ),
        (
            {"type": "send_message", **S, "content": "", "client_message_id": 1},
            "bad_request",
            "client_message_id",
        ),
        (
            {"type": "send_message", **S, "content": "", "client_message_id": "x" * 129},
            "bad_request",
            "client_message_id",
        ),
        ({"type": "typing", **S}, "bad_request", "is_typing"),
        ({"type": "typing", **S, "is_typing": 1}, "bad_request", "is_typing"),
        ({"type": "typing", **S, "is_typing": "true"}, "bad_request", "is_typing"),
        ({"type": "typing", **S, "is_typing": True, "user_id": "u2"}, "unknown_field", "user_id"),
        ({"type": "presence"}, "bad_request", "session_id"),
        ({"type": "refresh_token"}, "bad_request", "token"),
        ({"type": "refresh_token", "token": ""}, "bad_request", "token"),
        ({"type": "refresh_token", "token": "x" * 16385}, "bad_request", "token"),
        ({"type": "get_stats", "args": []}, "bad_request", "args"),
        ({"type": "subscribe"}, "bad_request", "args"),
        ({"type": "subscribe", "events": ["*"]}, "unknown_field", "events"),
        ({"type": "broadcast", "args": "x"}, "bad_request", "args"),
    ],
)
def test_a_bad_command_is_refused_naming_the_field_with_its_ref(
    body: dict[str, Any], code: str, field: str
) -> None:
    refused = refusal({**body, "ref": "c7"}, MONITOR_COMMANDS)
    assert (refused.error.code, refused.error.details["field"]) == (code, field)
    assert refused.ref == "c7"
    assert len(refused.error.message) < 300


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_and_nothing_worse(raw: bytes) -> None:
    refusal_or_command(raw)


NAMES = st.sampled_from(
    ["type", "ref", "session_id", "content", "since", "is_typing", "token", "args", "data", "id"]
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(sorted(MONITOR_COMMANDS)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(NAMES | st.text(max_size=5), JSON, max_size=5),
    st.none() | st.sampled_from(sorted(MONITOR_COMMANDS)),
)
def test_arbitrary_objects_are_refused_and_nothing_worse(
    body: dict[str, Any], type_: str | None
) -> None:
    if type_ is not None:
        body["type"] = type_
    refusal_or_command(json.dumps(body).encode())


def refusal_or_command(raw: bytes) -> None:
    codes = []
    for known in (CHAT_COMMANDS, MONITOR_COMMANDS):
        try:
            type_, command, _ = CommandDecoder(known).decode(raw)
        except RefusedCommand as refused:
            codes.append(refused.error.code)
        else:
            assert type(command) is known[type_]
    assert set(codes) <= {
        *("bad_json", "bad_unicode", "too_deep"),
        *("bad_request", "unknown_type", "unknown_field"),
    }


def test_commands_without_members_are_decoded_once_and_only_a_few_of_them() -> None:
    known = dict(CHAT_COMMANDS)
    decoder = CommandDecoder(known)
    ping = b'{"type":"ping"}'
    assert decoder.decode(ping) == ("ping", Ping(), None)
    assert decoder.decode(ping)[1] is decoder.decode(ping)[1]
    for other in (b'{"type":"ping","ref":1}', b'{"type":"ping","data":1}', ping + b" " * 64):
        first, second = decoder.decode(other), decoder.decode(other)
        assert first == second
        assert first[1] is not second[1]
    for text in (b'{"type":"get_stats"}', b'{"type":"typing"}'):
        assert [_code(decoder, text), _code(decoder, text)] in (
            ["unknown_type"] * 2,
            ["bad_request"] * 2,
        )
    known["get_stats"] = MONITOR_COMMANDS["get_stats"]
    assert decoder.decode(b'{"type":"get_stats"}')[0] == "get_stats"
    spellings = [ping + b" " * count for count in range(40)]
    kept = [text for text in spellings if decoder.decode(text)[1] is decoder.decode(text)[1]]
    assert 2 <= len(kept) <= 16
    assert ping in kept


def _code(decoder: CommandDecoder, text: bytes) -> str:
    with pytest.raises(RefusedCommand) as caught:
        decoder.decode(text)
    return caught.value.error.code
