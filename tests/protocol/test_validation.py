"""Validation: every fault of a value, with its field and message."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct, ValidationError, convert

from wsserver.errors import MAX_FAULTS, ValidationFailed
from wsserver.extensions.quotas.views import Scope
from wsserver.identity.claims import ROLES
from wsserver.identity.ids import ID_FORM, USER_ID_FORM
from wsserver.notifications.parameters import PARAMETERS
from wsserver.protocol.command_decoder import CommandDecoder, RefusedCommand
from wsserver.protocol.commands import MONITOR_COMMANDS, Resume
from wsserver.protocol.notifications import ContactsRequest, NotifyRequest
from wsserver.protocol.requests import (
    BroadcastRequest,
    MembersRequest,
    PublishRequest,
    read_request,
)
from wsserver.protocol.types import Id, PushType, Role
from wsserver.protocol.validation import Complaint, complaints_of, describe, faults_of


class Inner(Struct, forbid_unknown_fields=True):
    n: int


class Outer(Struct, forbid_unknown_fields=True):
    user_id: Id
    inner: Inner | None = None
    many: list[Inner] = []
    push: PushType = "x"


def complaint_of(value: Any, kind: type = Outer) -> Complaint:
    with pytest.raises(ValidationError) as caught:
        convert(value, kind)
    return describe(caught.value)


@pytest.mark.parametrize(
    ("value", "field", "message", "unknown"),
    [
        ({}, "user_id", "required", False),
        ({"user_id": 1}, "user_id", "Expected str, got int", False),
        ({"user_id": "u", "x": 1}, "x", "unknown field", True),
        ({"user_id": "u", "inner": {}}, "inner.n", "required", False),
        ({"user_id": "u", "inner": {"n": 1, "x": 1}}, "inner.x", "unknown field", True),
        ({"user_id": "u", "many": [{"n": 1}, {"n": "1"}]}, "many[1].n", None, False),
        ({"user_id": "u", "many": [{"n": 1}, {}]}, "many[1].n", "required", False),
        ({"user_id": "u", "a`b\n": 1}, "a`b\n", "unknown field", True),
        ({"user_id": "u", "": 1}, "", "unknown field", True),
        ([], "", "Expected object, got array", False),
    ],
)
def test_a_complaint_names_the_field(
    value: Any, field: str, message: str | None, unknown: bool
) -> None:
    complaint = complaint_of(value)
    assert complaint.field == field
    assert complaint.unknown is unknown
    if message is not None:
        assert complaint.message == message


def test_patterns_are_described_in_words() -> None:
    assert complaint_of({"user_id": "a b"}) == Complaint("user_id", ID_FORM, False)
    assert complaint_of({"user_id": "u", "push": "Big"}).message.startswith("a-z first")


def test_patterns_of_extensions_are_described_by_their_types() -> None:
    faults = faults_of("global", Scope, "scope")
    assert faults == [{"field": "scope", "message": "organization:ID or user:ID"}]


def test_an_element_of_a_list_is_named() -> None:
    assert complaint_of(["a", 1], list[str]).field == "[1]"


def test_a_key_that_is_none_is_named_by_its_object() -> None:
    assert complaint_of({"streams": {"room:1": {}}}, Resume) == Complaint(
        "streams", "broadcast, session:ID, user:ID or organization:ID", False
    )


def test_a_very_long_field_name_is_cut() -> None:
    assert len(complaint_of({"user_id": "u", "x" * 5000: 1}).field) == 128


KINDS = [PublishRequest, BroadcastRequest, NotifyRequest, ContactsRequest, MembersRequest,
         *MONITOR_COMMANDS.values(), *PARAMETERS.values()]  # fmt: skip


def named(value: Any, kind: Any) -> dict[str, str]:
    return {fault["field"]: fault["message"] for fault in faults_of(value, kind, "body")}


def test_every_fault_has_its_path_and_its_reason() -> None:
    body = {
        "type": "Hint",
        "target": {"type": "usr", "id": "a b", "colour": 1},
        "exclude_users": ["ok", "not ok", "fine", 7],
        "sender": {"role": "admin"},
        "keep": "yes",
        "ttl_s": 0,
        "to": "u1",
    }
    assert named(body, PublishRequest) == {
        "type": "a-z first, then at most 63 of a-z 0-9 _ .",
        "target.type": "'usr' is not one of broadcast, user, session, organization, role,"
        " connection",
        "target.id": USER_ID_FORM,
        "target.colour": "unknown field",
        "exclude_users[1]": USER_ID_FORM,
        "exclude_users[3]": "Expected str, got int",
        "sender.user_id": "required",
        "keep": "Expected bool, got str",
        "ttl_s": "Expected float > 0.0",
        "to": "unknown field",
    }


def test_lists_of_objects_and_their_length() -> None:
    body = {
        "channels": ["fax", "email", "email", "email", "pigeon"],
        "escalate": [{"after_s": 1, "channel": "sms"}, {"after_s": -1}, 5],
        "template": "device_stats" * 10,
        "role": "boss",
    }
    found = named(body, NotifyRequest)
    assert found.keys() == {"channels", "channels[0]", "channels[4]", "escalate[1].after_s",
                            "escalate[1].channel", "escalate[2]", "template", "role"}  # fmt: skip
    assert found["channels[0]"] == "'fax' is not one of websocket, email, sms, push"
    assert found["channels"] == "Expected array of length <= 4"
    assert found["template"] == "Expected str of length <= 64"
    assert found["role"] == "'boss' is not one of user, manager, admin, service"


def test_names_and_values_of_a_map() -> None:
    streams = {"s1": {"epoch": "e", "offset": 1}, "session:s": {"epoch": 5}}
    assert named({"streams": streams}, Resume).keys() == {
        "streams.s1", "streams.session:s.epoch", "streams.session:s.offset"
    }  # fmt: skip


@pytest.mark.parametrize("value", [[], "x", 5, None, True])
def test_a_value_that_is_not_an_object_is_one_fault(value: Any) -> None:
    assert list(named(value, PublishRequest)) == ["body"]


def test_the_first_hundred_are_named_and_the_text_stays_short() -> None:
    with pytest.raises(ValidationFailed) as caught:
        read_request({"user_ids": ["a b"] * 10_000}, MembersRequest)
    errors = caught.value.details["errors"]
    assert len(errors) == MAX_FAULTS
    assert errors[-1] == {"field": "user_ids[99]", "message": USER_ID_FORM}
    assert caught.value.message.endswith("and 90 more; no more than 100 are looked for")
    assert len(caught.value.message) < 1000


def test_few_bad_items_among_many_are_found() -> None:
    user_ids: list[Any] = ["u"] * 10_000
    user_ids[7] = user_ids[4_000] = user_ids[9_999] = ""
    fields = list(named({"user_ids": user_ids}, MembersRequest))
    assert fields == ["user_ids[7]", "user_ids[4000]", "user_ids[9999]"]


def test_names_of_the_clients_own_are_cut() -> None:
    (field,) = named({"user_ids": [], "x" * 5000: 1}, MembersRequest)
    assert len(field) == 64


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False)
    | st.sampled_from(["user", "u1", "a b", "email", "info", ""]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(["type", "target", "id", "user_ids", "channels", "escalate", "after_s",
                         "channel", "push", "keys", "session_id", "streams", "epoch", "used"]),
        inner,
        max_size=5,
    ),
    max_leaves=12,
)  # fmt: skip


@given(st.sampled_from(KINDS), JSON)
def test_there_are_faults_exactly_where_the_value_does_not_convert(kind: Any, value: Any) -> None:
    try:
        msgspec.convert(value, kind)
        converts = True
    except msgspec.ValidationError:
        converts = False
    found = complaints_of(value, kind)
    assert (found == []) == converts
    assert all(complaint.message for complaint in found)


@given(st.sampled_from(KINDS), JSON, st.integers(1, 3))
def test_there_are_never_more_than_wanted(kind: Any, value: Any, limit: int) -> None:
    assert len(complaints_of(value, kind, limit)) <= limit


def test_a_command_names_all_of_its_faults_and_keeps_the_code_of_the_first() -> None:
    raw = b'{"type": "send_message", "ref": 7, "session_id": "a b", "content_type": ""}'
    with pytest.raises(RefusedCommand) as caught:
        CommandDecoder(MONITOR_COMMANDS).decode(raw)
    error = caught.value.error
    assert (error.code, caught.value.ref) == ("bad_request", 7)
    assert [each["field"] for each in error.details["errors"]] == [
        "session_id", "content", "content_type"
    ]  # fmt: skip
    assert error.message.startswith(f"session_id: {ID_FORM}; content: required; content_type: ")


def test_the_names_in_types_are_those_in_force() -> None:
    assert get_args(Role) == ROLES
