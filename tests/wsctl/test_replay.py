"""Replays: the plan of a recording, and the translation of ids and positions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_server import Run
from wsctl.replay.plan import NotARecording, Plan, publication, read_plan
from wsctl.replay.run import outcome
from wsctl.replay.translation import Translation


def connection(number: int, user: str = "alice", **more: Any) -> dict[str, Any]:
    return {
        "connection_id": f"conn_{number}",
        "user_id": user,
        "role": "user",
        "endpoint": "chat",
        "protocol": "wsserver.v1",
        **more,
    }


def event(second: float, direction: str, type_: str, number: int = 1, **frame: Any) -> Any:
    whole, millis = divmod(round(second * 1000), 1000)
    found = {
        "at": f"2024-01-15T14:30:{whole:02}.{millis:03}Z",
        "dir": direction,
        "connection": f"conn_{number}",
        "type": type_,
    }
    return found | ({"frame": {"type": type_, **frame}} if direction != "client" else frame)


def plan(*events: Any, connections: Any = None, **options: Any) -> Plan:
    document = {
        "kind": "wsserver-recording",
        "format": 1,
        "connections": connections or [connection(1)],
        "events": list(events),
    }
    return read_plan(document, **options)


def said(by: str, id_: str = "msg_1", **more: Any) -> dict[str, Any]:
    message = {"id": id_, "sender": {"user_id": by, "username": "N"}, "content": "Hi", **more}
    return {"session_id": "s1", "id": id_, "message": message}


def test_commands_are_sent_at_their_times() -> None:
    found = plan(
        event(1, "client", "connect"),
        event(1.01, "in", "connection_established", user_id="alice"),
        event(1.5, "out", "join_session", session_id="s1", ref=1),
        event(1.6, "in", "session_joined", ref=1),
        event(9, "out", "pong", id="p1"),
        event(9, "out", "refresh_token", token="[redacted]", ref=2),
        event(11, "client", "close", code=1000),
    )
    assert [(step.action, round(step.at_s, 3)) for step in found.steps] == [
        ("connect", 0.0),
        ("send", 0.5),
        ("reply", 0.6),
        ("close", 10.0),
    ]
    assert found.replies["conn_1", 1]["type"] == "session_joined"
    assert found.lasts_s == 10.0


def test_long_pauses_are_cut() -> None:
    events = [event(second, "out", "ping", ref=second) for second in (1, 2, 30, 31)]
    found = plan(*events, longest_pause_s=3.0)
    assert [step.at_s for step in found.steps] == [0, 0, 1, 4, 5]


def test_what_others_sent_is_published_once_whoever_got_it() -> None:
    connections = [connection(1), connection(2, "bob")]
    events = [
        event(1, "in", "new_message", 1, **said("carol")),
        event(1.1, "in", "new_message", 2, **said("carol")),
        event(2, "in", "new_message", 1, **said("bob", "msg_2")),
        event(
            3, "in", "typing", 1, session_id="s1", user_id="carol", is_typing=True, timestamp="t"
        ),
        event(4, "in", "order.placed", 1, data={"n": 1}, id="msg_3", offset=4),
        event(5, "in", "unread_changed", 1, session_id="s1", unread=1),
    ]
    found = plan(*events, connections=connections)
    published = [publication(step, "alice") for step in found.steps if step.action == "publish"]
    assert published == [
        ("/sessions/s1/messages", {"type": "new_message", "content": "Hi",
                                   "sender": {"user_id": "carol", "username": "N"}}),
        ("/sessions/s1/messages", {"type": "typing", "user_id": "carol", "is_typing": True}),
        ("/users/alice/messages", {"type": "order.placed", "data": {"n": 1}, "keep": True}),
    ]  # fmt: skip
    alone = plan(*events, connections=connections, publish=False)
    assert "publish" not in {step.action for step in alone.steps}


@pytest.mark.parametrize(
    "document", [[], {}, {"kind": "wsserver-client-report"}, {"kind": "wsserver-recording"}]
)
def test_other_files_are_refused(document: Any) -> None:
    with pytest.raises(NotARecording):
        read_plan(document)


def test_what_is_broken_in_a_recording_is_left_out() -> None:
    found = plan({"at": "x", "connection": "conn_1"}, {"connection": "conn_9"}, 5, {"dir": "out"})
    assert found.steps == []


def test_ids_and_positions_are_those_of_now() -> None:
    translation = Translation("~x")
    translation.learn(
        {"type": "ack", "message_id": "msg_1", "stream": "session:s1", "epoch": "e", "offset": 41},
        {"type": "ack", "message_id": "msg_9", "stream": "session:s1", "epoch": "f", "offset": 3},
    )
    translation.learn(
        {"streams": {"session:s2": {"epoch": "g", "offset": 7}}},
        {"streams": {"session:s2": {"epoch": "h", "offset": 1}}},
    )
    command = translation.command
    assert command({"type": "edit_message", "message_id": "msg_1", "content": "msg"}) == {
        "type": "edit_message", "message_id": "msg_9", "content": "msg"
    }  # fmt: skip
    assert command({"type": "ack", "ids": ["msg_1", "msg_2"]})["ids"] == ["msg_9", "msg_2"]
    assert command({"type": "mark_read", "session_id": "s1", "offset": 41})["offset"] == 3
    assert command({"type": "mark_read", "session_id": "s1", "offset": 50})["offset"] == 3
    assert command({"type": "mark_read", "session_id": "s1", "offset": 9})["offset"] == 0
    since = {"epoch": "e", "offset": 41}
    assert command({"type": "join_session", "session_id": "s1", "since": since})["since"] == {
        "epoch": "f", "offset": 3
    }  # fmt: skip
    streams = {"session:s2": {"epoch": "g", "offset": 7}, "broadcast": {"epoch": "b", "offset": 1}}
    assert command({"type": "resume", "streams": streams})["streams"] == {
        "session:s2": {"epoch": "h", "offset": 1},
        "broadcast": {"epoch": "b", "offset": 1},
    }
    assert command({"type": "send_message", "client_message_id": "c1"}) == {
        "type": "send_message", "client_message_id": "c1~x"
    }  # fmt: skip


def test_replies_are_compared_by_type_and_error() -> None:
    assert outcome({"type": "ack", "offset": 3}) == "ack"
    assert outcome({"type": "error", "error": {"code": "forbidden"}}) == "error forbidden"


def test_a_replay_is_kept_to_this_machine(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "flight.json"
    file.write_text(json.dumps({"kind": "wsserver-recording", "format": 1}))
    result = run("--url", "https://chat.example.com", "replay", str(file))
    assert (result.exit_code, "--anywhere" in result.stderr) == (2, True)
    file.write_text("{}")
    result = run("replay", str(file))
    assert (result.exit_code, "is no recording" in result.stderr) == (2, True)
