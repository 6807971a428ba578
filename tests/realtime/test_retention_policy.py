"""Which messages are kept, in which stream, for how long."""

from __future__ import annotations

import pytest

from wsserver.identity.claims import Claims
from wsserver.protocol.origin import Origin, read_origin
from wsserver.protocol.targets import EVERYONE, Target, TargetType, session, user
from wsserver.realtime.messages.audience import Audience, read_audience
from wsserver.realtime.messages.message import Message
from wsserver.realtime.streams.drafts import Draft
from wsserver.realtime.streams.retention_policy import (
    Retention,
    draft_of,
    is_kept_by_default,
    organization_stream_of,
    stream_of,
    target_of_kept,
)

RETENTION = Retention(stream_s=100.0, inbox_s=1000.0)


@pytest.mark.parametrize(
    ("target", "stream", "is_kept"),
    [
        (session("s1"), "session:s1", True),
        (user("u1"), "user:u1", True),
        (EVERYONE, "broadcast", False),
        (Target(TargetType.ORGANIZATION, "o1"), "organization:o1", False),
        (Target(TargetType.ROLE, "admin"), None, False),
        (Target(TargetType.CONNECTION, "conn_1"), None, False),
    ],
)
def test_four_kinds_of_target_have_a_stream(
    target: Target, stream: str | None, is_kept: bool
) -> None:
    assert stream_of(target) == stream
    assert is_kept_by_default("new_message", target) is is_kept
    assert not is_kept_by_default("news", target)
    if stream is None:
        with pytest.raises(ValueError, match="cannot be kept"):
            make(target)


@pytest.mark.parametrize(
    ("target", "stream"),
    [
        (EVERYONE, "organization:o1"),
        (Target(TargetType.ORGANIZATION, "o1"), "organization:o1"),
        (session("s1"), "session:s1"),
        (user("u1"), "user:u1"),
    ],
)
def test_what_is_for_one_organization_is_kept_in_its_stream_and_found_again(
    target: Target, stream: str
) -> None:
    draft = make(target, organization_id="o1")
    assert draft.stream == stream_of(target, "o1") == stream
    assert target_of_kept(draft.stream, draft.readers) == target


def test_an_earlier_version_kept_broadcasts_within_an_organization_with_all_others() -> None:
    assert target_of_kept("broadcast", Audience("o1")) == EVERYONE


def test_the_bearer_of_a_token_may_read_the_stream_of_one_organization() -> None:
    assert organization_stream_of(Claims("u1", 1.0, organization_id="o1")) == "organization:o1"
    assert organization_stream_of(Claims("u1", 1.0)) is None


def make(target: Target = EVERYONE, **fields: object) -> Draft:
    message = Message("news", {}, target, keep=True, **fields)  # type: ignore[arg-type]
    return draft_of(message, "msg_1", b"{}", 5.0, RETENTION)


@pytest.mark.parametrize(
    ("target", "ttl_s", "expires_at", "has_ttl"),
    [
        (session("s1"), None, 105.0, False),
        (EVERYONE, None, 105.0, False),
        (Target(TargetType.ORGANIZATION, "o1"), None, 105.0, False),
        (user("u1"), None, 1005.0, False),
        (session("s1"), 7.5, 12.5, True),
        (user("u1"), 100, 105.0, True),
        (session("s1"), 100, 105.0, False),  # its retention takes it first, or at the same time
        (session("s1"), 1000, 105.0, False),
    ],
)
def test_a_ttl_may_only_shorten(
    target: Target, ttl_s: float | None, expires_at: float, has_ttl: bool
) -> None:
    draft = make(target, ttl_s=ttl_s)
    assert (draft.at, draft.expires_at, draft.has_ttl) == (5.0, expires_at, has_ttl)


def test_a_draft_has_what_storage_wants_to_know() -> None:
    origin = Origin("u1", "admin", None, "rest", "req_1")
    draft = make(user("u1"), sender="u2", dedup=("scope", "key"), origin=origin)
    assert (draft.stream, draft.sender, draft.dedup) == ("user:u1", "u2", ("scope", "key"))
    assert read_origin(draft.origin) == origin
    assert make().origin == "{}"


def test_its_key_can_be_stored_anywhere() -> None:
    keys = [make(dedup=("user u1", key)).dedup for key in ("a\0b", "a\0c", "a")]
    assert keys == [("user u1", "a\\0b"), ("user u1", "a\\0c"), ("user u1", "a")]
    assert make().dedup is None


def test_its_audience_is_kept_too() -> None:
    assert make().readers is None
    assert make().audience is None
    assert make(session("s1"), with_unaffiliated=True).readers is None
    draft = make(
        session("s1"),
        organization_id="acme",
        with_unaffiliated=True,
        role="user",
        exclude_users=frozenset({"u1"}),
    )
    assert draft.readers == Audience("acme", True, "user", frozenset({"u1"}))
    assert read_audience(draft.audience) == draft.readers
