"""GeWe's callbacks in both forms, hostile ones too, and the sessions of contacts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsserver.extensions.accounts import gewe, plain
from wsserver.extensions.accounts.incoming import (
    AccountStatus,
    MalformedReport,
    Nothing,
    Received,
    session_of,
)
from wsserver.identity.ids import is_id

NEW_ID = 5271007655758710001


def nested(kind: Any = 1, content: str = "hi", sender: str = "wxid_ann", **data: Any) -> Any:
    return {
        "TypeName": "AddMsg",
        "Appid": "wx_a1",
        "Wxid": "wxid_me",
        "Data": {
            "MsgId": 1001,
            "FromUserName": {"string": sender},
            "ToUserName": {"string": "wxid_me"},
            "MsgType": kind,
            "Content": {"string": content},
            "NewMsgId": NEW_ID,
            **data,
        },
    }


def flat(kind: str = "TEXT", content: str = "hi", **members: Any) -> Any:
    return {
        "appid": "wx_a1", "wxid": "wxid_me", "msgType": kind, "fromUser": "wxid_ann",
        "toUser": "wxid_me", "content": content, "newMsgId": NEW_ID, "isSelf": False, **members,
    }  # fmt: skip


def app(kind: int, title: str = "T", more: str = "") -> str:
    return f"<msg><appmsg><title>{title}</title><type>{kind}</type>{more}</appmsg></msg>"


@pytest.mark.parametrize("body", [nested(), flat()])
def test_a_text(body: Any) -> None:
    assert gewe.read_callback(body) == Received(str(NEW_ID), "wxid_ann", "wxid_ann", "hi")
    assert gewe.app_of(body) == "wx_a1"


def test_a_group_names_the_speaker() -> None:
    told = gewe.read_callback(nested(content="wxid_ann:\nhello", sender="7@chatroom"))
    assert told == Received(str(NEW_ID), "7@chatroom", "wxid_ann", "hello")
    told = gewe.read_callback(flat(fromGroup="7@chatroom", content="hello"))
    assert told == Received(str(NEW_ID), "7@chatroom", "wxid_ann", "hello")


def test_what_was_typed_on_the_phone_is_of_the_account() -> None:
    body = nested(sender="wxid_me", ToUserName={"string": "wxid_ann"})
    assert gewe.read_callback(body) == Received(
        str(NEW_ID), "wxid_ann", "wxid_me", "hi", is_own=True
    )
    assert gewe.read_callback(flat(isSelf=True, fromUser="wxid_me", toUser="wxid_ann")) == Received(
        str(NEW_ID), "wxid_ann", "wxid_me", "hi", is_own=True
    )


def test_media_are_references() -> None:
    told = gewe.read_callback(nested(3, "<msg/>", ImgBuf={"iLen": 2, "buffer": "AAAA"}))
    assert isinstance(told, Received)
    assert told.content == {"type": "image", "provider_id": str(NEW_ID), "xml": "<msg/>"}
    assert told.content_type == "application/json"


def test_a_file_and_a_quote() -> None:
    told = gewe.read_callback(nested(49, app(6, "a & b.pdf")))
    assert isinstance(told, Received)
    assert (told.content["type"], told.content["name"]) == ("file", "a & b.pdf")
    assert gewe.read_callback(nested(49, app(74))) == Nothing("a file that is still being uploaded")
    more = (
        "<refermsg><svrid>77</svrid><displayname>Me</displayname><content>old</content></refermsg>"
    )
    told = gewe.read_callback(nested(49, app(57, "new", more)))
    assert isinstance(told, Received)
    assert told.quotes == "77"
    assert told.content == {
        "type": "quote",
        "text": "new",
        "quoted": {"provider_id": "77", "name": "Me", "text": "old"},
    }


def test_entities_are_not_expanded() -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa">]>' + app(57, "&a;&a;")
    told = gewe.read_callback(nested(49, bomb))
    assert isinstance(told, Received)
    assert told.content_type == gewe.RAW_TYPE


def test_large_xml_is_kept_as_it_is() -> None:
    """The loop is not held: parsing has a limit."""
    for size, content_type in ((0, gewe.JSON_TYPE), (gewe.XML_LIMIT, gewe.RAW_TYPE)):
        received = gewe.read_callback(nested(49, app(57, "new", "<a/>" * (size // 4))))
        assert isinstance(received, Received)
        assert received.content_type == content_type


def test_unknown_types_are_kept_as_they_are() -> None:
    body = nested(9999, "?")
    told = gewe.read_callback(body)
    assert isinstance(told, Received)
    assert (told.content, told.content_type) == (body, gewe.RAW_TYPE)
    assert isinstance(gewe.read_callback(nested(51)), Nothing)


def test_an_id_that_is_a_time_is_replaced_by_a_digest() -> None:
    first, second = (
        gewe.read_callback(nested(content=text, NewMsgId=1764400000)) for text in ("a", "b")
    )
    assert isinstance(first, Received)
    assert isinstance(second, Received)
    assert first.provider_id.startswith("sha256-")
    assert first.provider_id != second.provider_id


def test_an_endless_id_is_replaced_by_a_digest() -> None:
    told = gewe.read_callback(nested(NewMsgId="1" * 100_000))
    assert isinstance(told, Received)
    assert told.provider_id.startswith("sha256-")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"TypeName": "Offline", "Appid": "wx_a1", "Wxid": "wxid_me"}, "offline"),
        ({"msgType": "LOGIN_SUCCESS"}, "online"),
        ({"TypeName": "RECONNECT_FAILED"}, "offline"),
        ({"TypeName": "LOGIN_ERROR"}, "login_failed"),
    ],
)
def test_statuses_of_the_account(body: Any, status: str) -> None:
    assert gewe.read_callback(body) == AccountStatus(status)


@pytest.mark.parametrize(
    "body",
    [
        None, [], "x", 7, {}, {"TypeName": "AddMsg"}, {"TypeName": "AddMsg", "Data": []},
        {"TypeName": ["AddMsg"], "Data": {}}, nested(sender=""), flat(fromUser=None),
    ],
)  # fmt: skip
def test_what_is_no_callback_is_refused_or_ignored(body: Any) -> None:
    try:
        told = gewe.read_callback(body)
    except MalformedReport:
        return
    assert isinstance(told, Nothing)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON, st.sampled_from(["TypeName", "msgType", "Data", "Content", "MsgType"]), JSON)
def test_no_body_is_an_error_of_ours(body: Any, name: str, value: Any) -> None:
    for each in body, nested(**{name: value}), flat(**{name: value}), {**nested(), name: value}:
        try:
            gewe.read_callback(each)
        except MalformedReport:
            pass


# -- sessions


@given(st.lists(st.text(min_size=1), unique=True, min_size=2, max_size=5))
def test_contacts_have_sessions_of_their_own(contacts: list[str]) -> None:
    sessions = {session_of("gewe", "main", contact) for contact in contacts}
    assert len(sessions) == len(contacts)
    assert all(is_id(each) for each in sessions)


def test_a_plain_contact_is_readable() -> None:
    assert session_of("gewe", "main", "wxid_ann") == "gewe:main:wxid_ann"
    assert session_of("gewe", "main", "7@chatroom") == "gewe:main:7@chatroom"
    assert session_of("gewe", "main", "a b").startswith("gewe:main:a-b-")


# -- requests


def test_requests() -> None:
    path, body = gewe.request_of("wx_a1", "wxid_ann", "hi")
    assert (path, body["content"], body["toWxid"]) == ("/message/postText", "hi", "wxid_ann")
    file = {"type": "file", "url": "https://example.com/a.pdf"}
    path, body = gewe.request_of("wx_a1", "wxid_ann", file)
    assert (path, body["fileName"]) == ("/message/postFile", "a.pdf")
    path, body = gewe.request_of("wx_a1", "wxid_ann", {"n": 1})
    assert (path, json.loads(body["content"])) == ("/message/postText", {"n": 1})


def test_outcomes() -> None:
    assert gewe.outcome_of({"ret": 200, "data": {"newMsgId": 7}}) == ("7", "")
    assert gewe.outcome_of({"ret": 500, "msg": "x", "data": {"msg": "offline"}}) == (
        None,
        "ret 500: offline",
    )
    unreadable: Any
    for unreadable in None, [], {}, {"ret": None}:
        with pytest.raises(gewe.UnknownOutcome):
            gewe.outcome_of(unreadable)


def test_the_plain_kind() -> None:
    told = plain.read_callback({"type": "message", "id": "m1", "contact": "ann", "content": "hi"})
    assert told == Received("m1", "ann", "ann", "hi")
    assert plain.read_callback({"type": "status", "status": "offline"}) == AccountStatus("offline")
    with pytest.raises(MalformedReport, match="contact"):
        plain.read_callback({"type": "message", "id": "m1", "content": "hi"})
