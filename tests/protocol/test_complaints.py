from __future__ import annotations

from typing import Any

import pytest
from msgspec import Struct, ValidationError, convert

from wsserver.protocol.commands import Resume
from wsserver.protocol.complaints import Complaint, describe
from wsserver.protocol.types import Id, PushType


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


def test_patterns_are_told_in_words() -> None:
    assert complaint_of({"user_id": "a b"}) == Complaint(
        "user_id", "1-128 characters of A-Z a-z 0-9 . _ : @ -", False
    )
    assert complaint_of({"user_id": "u", "push": "Big"}).message.startswith("a-z first")


def test_an_element_of_a_list_is_named() -> None:
    assert complaint_of(["a", 1], list[str]).field == "[1]"


def test_a_key_that_is_none_is_named_by_its_object() -> None:
    assert complaint_of({"streams": {"room:1": {}}}, Resume) == Complaint(
        "streams", "broadcast, session:ID, user:ID or organization:ID", False
    )


def test_a_very_long_field_name_is_cut() -> None:
    assert len(complaint_of({"user_id": "u", "x" * 5000: 1}).field) == 128
