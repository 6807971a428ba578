"""``wsctl replay`` against a running server, with what a recording of it has."""

from __future__ import annotations

import json
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.operators.conftest import Run
from tests.support.server_process import ServerProcess
from tests.support.waiting import PATIENCE_S

MESSAGE = {
    "id": "msg_old2",
    "sender": {"user_id": "carol", "username": "Carol", "role": "user"},
    "content": "And I am Carol",
    "content_type": "text/plain",
}
EVENTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("client", "connect", {}),
    ("out", "join_session", {"session_id": "r1", "ref": 1}),
    ("in", "session_joined", {"session_id": "r1", "epoch": "old", "offset": 40, "ref": 1}),
    ("out", "send_message", {"session_id": "r1", "content": "Hello", "ref": 2}),
    ("in", "ack", {"message_id": "msg_old1", "stream": "session:r1", "epoch": "old",
                   "offset": 41, "ref": 2}),
    ("out", "edit_message", {"message_id": "msg_old1", "content": "Hello!", "ref": 3}),
    ("in", "ack", {"offset": 42, "ref": 3}),
    ("in", "new_message", {"session_id": "r1", "id": "msg_old2", "message": MESSAGE}),
    ("out", "mark_read", {"session_id": "r1", "offset": 43, "ref": 4}),
    ("in", "error", {"error": {"code": "forbidden"}, "ref": 4}),
    ("client", "close", {"code": 1000}),
)  # fmt: skip


def recording() -> dict[str, Any]:
    events = [
        {
            "at": f"2024-01-15T14:30:00.{number:02}0Z",
            "dir": direction,
            "connection": "conn_old",
            "type": type_,
            **({} if direction == "client" else {"frame": {"type": type_, **frame}}),
        }
        for number, (direction, type_, frame) in enumerate(EVENTS)
    ]
    connection = {
        "connection_id": "conn_old",
        "user_id": "alice",
        "role": "user",
        "endpoint": "chat",
        "protocol": "wsserver.v1",
    }
    return {
        "kind": "wsserver-recording",
        "format": 1,
        "connections": [connection],
        "events": events,
    }


def seen_by(page: ClientConnection, type_: str) -> dict[str, Any]:
    while True:
        push: dict[str, Any] = json.loads(page.recv(timeout=PATIENCE_S))
        if push["type"] == type_:
            return push


def test_a_page_sees_what_was_seen_then(ctl: Run, server: ServerProcess) -> None:
    (server.folder / "recorded.json").write_text(json.dumps(recording()))
    watcher = server.token("dave", "user", sessions=["r1"])
    with connect(server.websocket("/ws/chat/session/r1", watcher)) as page:
        seen_by(page, "session_joined")
        result = ctl("replay", "recorded.json", "--speed", "2", "-o", "json")
        first = seen_by(page, "new_message")["message"]
        assert (first["sender"]["user_id"], first["content"]) == ("alice", "Hello")
        changed = seen_by(page, "message_updated")["message"]
        assert (changed["id"], changed["content"]) == (first["id"], "Hello!")
        second = seen_by(page, "new_message")["message"]
        assert (second["sender"]["user_id"], second["content"]) == ("carol", "And I am Carol")
    played = json.loads(result.stdout)
    assert (played["commands"], played["replies"], played["published"]) == (4, 4, 1)
    assert played["different"] == [
        {"user_id": "alice", "what": "mark_read", "recorded": "error forbidden", "now": "ack"}
    ]
    assert result.exit_code == 1
