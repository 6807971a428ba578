"""§3 to §5: commands on the three endpoints, and their replies."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from tests.acceptance.conftest import Connect
from tests.support.websocket_clients import V1, Client

ENDPOINTS = {
    "chat": "/ws/chat",
    "session": "/ws/chat/session/bound",
    "monitor": "/ws/admin/monitor",
}


SINCE = '{"type":"join_session","session_id":"s","since":{"epoch":"e","offset":%s}}'


@pytest.fixture
def session() -> str:
    """A session that no other test uses."""
    return f"s-{uuid.uuid4().hex}"


@pytest.mark.parametrize("v1", [True, False], ids=["v1", "plain"])
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_the_greeting_says_who_where_and_how(connect: Connect, endpoint: str, v1: bool) -> None:
    client = connect("u1", ENDPOINTS[endpoint], v1=v1, role="admin", sessions="*")
    greeting = client.established
    assert greeting["connection_id"].startswith("conn_")
    assert greeting["user_id"] == "u1"
    assert greeting["session_id"] == ("bound" if endpoint == "session" else None)
    assert (greeting["heartbeat_interval"], greeting["heartbeat_timeout"]) == (30, 60)
    assert greeting["server_time"].endswith("Z")
    assert greeting["inbox"]["pending"] == 0
    assert greeting["inbox"]["offset"] == 0
    assert greeting["inbox"]["epoch"]
    assert greeting["protocol"] == (V1 if v1 else "plain")
    assert client.socket.subprotocol == (V1 if v1 else None)
    if endpoint == "session":
        joined = client.push("session_joined")
        assert joined["session_id"] == "bound"
        assert joined["user_id"] == "u1"
        assert set(joined) >= {"epoch", "offset", "recovered", "messages", "users"}
        (user,) = joined["users"]
        assert user.pop("read_offset") <= joined["offset"]
        assert user == {"user_id": "u1", "username": None, "connections": 1}


@pytest.mark.parametrize("v1", [True, False], ids=["v1", "plain"])
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_every_endpoint_takes_every_chat_command(
    connect: Connect, session: str, endpoint: str, v1: bool
) -> None:
    client = connect("u1", ENDPOINTS[endpoint], v1=v1, role="admin", sessions="*", username="U")
    if endpoint == "session":
        session = client.push("session_joined")["session_id"]
    joined = client.join(session)
    assert joined["user_id"] == "u1"
    assert set(joined) >= {"epoch", "offset", "recovered", "messages", "users"}
    pong = client.call("ping", data={"a": [1, None]})
    assert pong["type"] == "pong"
    assert pong["data"] == {"a": [1, None]}
    assert pong["server_time"].endswith("Z")
    assert client.call("typing", session_id=session, is_typing=True)["type"] == "ack"
    presence = client.call("presence", session_id=session)
    assert presence["type"] == "presence"
    (user,) = presence["users"]
    assert user.pop("read_offset") <= joined["offset"]
    assert user == {"user_id": "u1", "username": "U", "connections": 1}
    ack = client.call("send_message", session_id=session, content={"any": "thing"})
    assert ack["type"] == "ack"
    own = client.await_push("new_message")
    assert own["message"]["id"] == own["id"] == ack["message_id"]
    client.send("pong", id="unknown")  # the one command without a reply
    if endpoint == "session":
        assert client.code("leave_session", session_id=session) == "session_bound"
        assert client.code("join_session", session_id="another") == "session_bound"
    else:
        left = client.call("leave_session", session_id=session)
        assert (left["type"], left["session_id"], left["user_id"]) == (
            "session_left",
            session,
            "u1",
        )
        assert client.call("leave_session", session_id=session)["type"] == "session_left"


def test_a_connection_joins_many_sessions_and_hears_each(connect: Connect, session: str) -> None:
    listener, speaker = connect("u1", sessions="*"), connect("u2", sessions="*")
    sessions = [f"{session}.{number}" for number in range(20)]
    for one in sessions:
        listener.join(one)
    for one in sessions:
        speaker.join(one)
        speaker.call("send_message", session_id=one, content=one)
    heard = [push for push in listener.rest() if push["type"] == "new_message"]
    assert [push["session_id"] for push in heard] == sessions


def test_a_message_is_what_the_contract_says(connect: Connect, session: str) -> None:
    alice = connect("alice", sessions=[session], username="爱丽丝", role="manager")
    phone = connect("alice", sessions=[session])
    bob = connect("bob", v1=False, sessions=[session])
    for client in (alice, phone, bob):
        client.join(session)
    ack = alice.call(
        "send_message",
        session_id=session,
        content="你好",
        content_type="text/markdown",
        client_message_id="c-1",
    )
    for client in (alice, phone, bob):  # the sender's own devices too
        push = client.await_push("new_message")
        assert push["id"] == ack["message_id"]
        assert push["session_id"] == session
        message = push["message"]
        assert message.pop("created_at").endswith("Z")
        assert message == {
            "id": ack["message_id"],
            "session_id": session,
            "sender": {"user_id": "alice", "username": "爱丽丝", "role": "manager"},
            "content": "你好",
            "content_type": "text/markdown",
            "client_message_id": "c-1",
        }


def test_the_same_client_message_id_is_one_message(connect: Connect, session: str) -> None:
    first, second = connect("u1", sessions=[session]), connect("u1", sessions=[session])
    other = connect("u2", sessions=[session])
    for client in (first, second, other):
        client.join(session)
    said = {"session_id": session, "content": "once", "client_message_id": "same"}
    answers = [client.call("send_message", **said)["message_id"] for client in (first, second)]
    again = first.call("send_message", **said)["message_id"]
    assert answers == [again, again]
    assert other.call("send_message", **said)["message_id"] != again  # another user's
    heard = [push for push in other.rest() if push["type"] == "new_message"]
    assert [push["message"]["sender"]["user_id"] for push in heard] == ["u1", "u2"]


def test_typing_reaches_the_others_and_never_the_sender(connect: Connect, session: str) -> None:
    typist = connect("u1", sessions=[session], username="One")
    own_phone, other = connect("u1", sessions=[session]), connect("u2", sessions=[session])
    for client in (typist, own_phone, other):
        client.join(session)
    outsider = connect("u3", sessions=[session])
    typist.call("typing", session_id=session, is_typing=True)
    push = other.await_push("typing")
    assert push["session_id"] == session
    assert (push["user_id"], push["username"], push["is_typing"]) == ("u1", "One", True)
    for client in (typist, own_phone, outsider):
        assert "typing" not in {push["type"] for push in client.rest()}


@pytest.mark.parametrize("ref", ["c7", "", "x" * 64, "引用", 0, -1, 7, 2**62, 10**30])
def test_a_ref_comes_back_as_it_was(connect: Connect, ref: Any) -> None:
    client = connect()
    client.send("ping", ref=ref)
    assert client.reply()["ref"] == ref
    client.send("nonsense", ref=ref)
    assert client.reply()["ref"] == ref


@pytest.mark.parametrize("ref", [True, None, 1.5, [], {}, "x" * 65])
def test_a_bad_ref_is_not_echoed(connect: Connect, ref: Any) -> None:
    client = connect()
    client.send("ping", ref=ref)
    reply = client.reply()
    assert "ref" not in reply
    assert reply["error"]["code"] == "bad_request"
    assert reply["error"]["field"] == "ref"
    assert "ref" in reply["error"]["message"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "bad_json"),
        ("{", "bad_json"),
        ("nonsense", "bad_json"),
        ('{"type":"ping","data":NaN}', "bad_json"),
        ('{"type":"ping","data":1e400}', "bad_json"),
        ('{"type":"ping","data":' + "1" * 5000 + "}", "bad_json"),
        ('\ufeff{"type":"ping"}', "bad_json"),
        ('{"type":"ping"}{"type":"ping"}', "bad_json"),
        ('{"type":"ping","type":"ping"}', "bad_json"),
        ('{"type":"ping","data":{"a":1,"\\u0061":2}}', "bad_json"),
        ('{"type":"ping","data":"\\ud800"}', "bad_unicode"),
        ('{"type":"ping","data":' + "[" * 32 + "]" * 32 + "}", "too_deep"),
        ("[" * 60_000, "too_deep"),
        ("[]", "bad_request"),
        ('"ping"', "bad_request"),
        ("null", "bad_request"),
        ("{}", "bad_request"),
        ('{"type":7}', "bad_request"),
        ('{"type":"nonsense"}', "unknown_type"),
        ('{"type":"get_stats"}', "unknown_type"),  # a monitor's
        ('{"type":"ping","extra":1}', "unknown_field"),
        ('{"type":"ping","id":"x"}', "unknown_field"),
        ('{"type":"join_session"}', "bad_request"),
        ('{"type":"join_session","session_id":5}', "bad_request"),
        ('{"type":"join_session","session_id":""}', "bad_request"),
        ('{"type":"join_session","session_id":"a b"}', "bad_request"),
        ('{"type":"join_session","session_id":"١٢"}', "bad_request"),
        ('{"type":"join_session","session_id":"s1\\n"}', "bad_request"),
        ('{"type":"join_session","session_id":"' + "x" * 129 + '"}', "bad_request"),
        (SINCE % '-1', "bad_request"),
        (SINCE % '1.5', "bad_request"),
        (SINCE % '"5"', "bad_request"),
        (SINCE % 'true', "bad_request"),
        ('{"type":"typing","session_id":"s","is_typing":"yes"}', "bad_request"),
        ('{"type":"send_message","session_id":"s"}', "bad_request"),
        ('{"type":"send_message","session_id":"s","content":5}', "bad_request"),
        ('{"type":"send_message","session_id":"s","content":"x"}', "not_joined"),
        ('{"type":"typing","session_id":"s","is_typing":true}', "not_joined"),
        ('{"type":"presence","session_id":"s"}', "not_joined"),
        ('{"type":"join_session","session_id":"elsewhere"}', "forbidden"),
        ('{"type":"refresh_token","token":"x"}', "token_invalid"),
    ],
)  # fmt: skip
def test_a_bad_command_gets_its_code_and_the_connection_stays(
    connect: Connect, text: str, code: str
) -> None:
    client = connect("u1", sessions=["s"])
    reply = client.say(text)
    assert reply["type"] == "error"
    assert reply["error"]["code"] == code
    assert reply["error"]["temporary"] is False
    assert client.call("ping")["type"] == "pong"


def test_depth_32_is_fine(connect: Connect) -> None:
    nested = "[" * 31 + "]" * 31  # the envelope itself is the first level
    reply = connect().say('{"type":"ping","data":' + nested + "}")
    assert reply["data"] == json.loads(nested)


def test_no_difference_between_a_session_that_exists_and_one_that_does_not(
    connect: Connect, session: str
) -> None:
    insider: Client = connect("u1", sessions=[session])
    insider.join(session)
    outsider = connect("u2")
    there = outsider.error("join_session", session_id=session)
    absent = outsider.error("join_session", session_id="s-absent")
    assert there["code"] == absent["code"] == "forbidden"
    assert there["message"].replace(session, "") == absent["message"].replace("s-absent", "")
