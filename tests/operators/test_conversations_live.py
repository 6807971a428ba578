"""Conversations on the command line, asked of a real server."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.operators.conftest import Run
from tests.support.server_process import ServerProcess
from tests.support.waiting import PATIENCE_S, poll


@pytest.fixture
def session() -> str:
    """A session that no other test uses."""
    return f"s-{uuid.uuid4().hex[:8]}"


def call(socket: ClientConnection, **command: Any) -> Any:
    socket.send(json.dumps({"ref": 1, **command}))
    while (reply := json.loads(socket.recv(timeout=PATIENCE_S))).get("ref") != 1:
        pass
    return reply


def document(ctl: Run, *args: str) -> Any:
    result = ctl(*args, "-o", "json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_session_changes_hands(ctl: Run, session: str) -> None:
    assert ctl("members", session, "--add", "alice").exit_code == 0
    taken = ctl("take", session, "--user", "sales", "--expected-term", "0")
    assert taken.stdout == f"user sales holds {session} now, in term 1\n"
    late = ctl("take", session, "--expected-term", "0")
    assert late.exit_code == 1
    assert "term_changed" in late.stderr
    assert document(ctl, "take", session) == {
        "holder": {"type": "user", "id": "dev-admin"}, "term": 2
    }  # fmt: skip
    given = ctl("release", session, "--to", "fastgpt", "--expected-term", "2")
    assert given.stdout == f"ai fastgpt holds {session} now, in term 3\n"
    assert ctl("release", session).stdout == f"nobody holds {session} now, in term 4\n"
    shown = ctl("session", session).stdout
    assert "holder        -  (term 4)" in shown
    assert "members       alice" in shown
    assert ctl("session", f"{session}.none").exit_code == 1


def test_a_session_now_and_then(ctl: Run, server: ServerProcess, session: str) -> None:
    ctl("members", session, "--add", "zoe")
    with connect(server.websocket("/ws/chat", server.token("zoe", "user"))) as zoe:
        call(zoe, type="join_session", session_id=session)
        call(zoe, type="send_message", session_id=session, content="你好")
        shown = ctl("session", session).stdout
        for line in ("state         open", "here          zoe", "read          zoe 1"):
            assert line in shown
        assert "你好" in shown
        path = ["session", session, "--at", "1s"]

        def then() -> Any:
            result = ctl(*path, "-o", "json")
            return json.loads(result.stdout)["present"] if result.exit_code == 0 else []

        (visit,) = poll(then, bool)
        assert visit["user_id"] == "zoe"
    past = poll(lambda: ctl(*path).stdout, lambda text: "had read      zoe 1" in text)
    assert f"{session}  as of " in past
    assert "was here      zoe (from " in past
    assert "members by" in past
    assert "你好" in past
    early = ctl("session", session, "--at", "2020-01-01")
    assert early.exit_code == 1
    assert "it did not exist at 2020-01-01" in early.stderr
    found = document(ctl, "session", session, "--messages", "0")
    assert (found["messages"], found["offset"]) == ([], 1)


def test_conversations_of_a_user(ctl: Run, session: str) -> None:
    user = f"u-{session}"
    assert f"{user} has no conversations" in ctl("conversations", user).stderr
    for name in ("a", "b"):
        ctl("members", f"{session}.{name}", "--add", user)
        ctl("send", "--session", f"{session}.{name}", "--type", "new_message", "hello")
    listed = ctl("conversations", user)
    assert listed.stderr == "2 conversations, 2 unread in all\n"
    rows = [line.split() for line in listed.stdout.splitlines()]
    assert [row[0] for row in rows[-2:]] == [f"{session}.b", f"{session}.a"]
    assert ctl("take", f"{session}.b", "--user", "sales").exit_code == 0
    assert [row.split()[3:5] for row in ctl("conversations", user).stdout.splitlines()[-2:]] == [
        ["user", "sales"],
        ["-", "0/1"],
    ]
    held = ctl("sessions", "--holder", "user:sales").stdout.splitlines()
    assert [row.split()[:4] for row in held[-1:]] == [[f"{session}.b", "open", "user", "sales"]]
    one = ctl("conversations", user, "--limit", "1")
    assert one.stderr == "1 of 2 conversations, 2 unread in all\n"
    assert document(ctl, "conversations", user, "--state", "closed") == []
    assert [each["unread"] for each in document(ctl, "conversations", user)] == [1, 1]


def test_why_something_is_unread(ctl: Run, session: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsctl.commands.conversations.PAGE", 1)
    user = f"u-{session}"
    assert f"nothing is unread to {user}" in ctl("why-unread", user).stderr
    for name in ("a", "b"):
        ctl("members", f"{session}.{name}", "--add", user)
    for _ in range(3):
        ctl("send", "--session", f"{session}.a", "--type", "new_message", "hello")
    ctl("send", "--session", f"{session}.b", "--type", "new_message", "hello")
    shown = ctl("why-unread", user, "--messages", "2").stdout
    assert f"{session}.a: 3 messages unread, as {user} has read up to offset 0, since" in shown
    assert "and 1 more, or no longer stored" in shown
    assert f"{session}.b: 1 message unread" in shown
    found = document(ctl, "why-unread", user)
    assert [(each["session_id"], len(each["messages"])) for each in found] == [
        (f"{session}.b", 1), (f"{session}.a", 3)
    ]  # fmt: skip
    lines = ctl("why-unread", user, "-o", "csv").stdout.splitlines()
    assert len(lines) == 1 + 4
    assert ctl("why-unread", user, "--limit", "1").stderr == "1 of 2 sessions; more with --limit\n"
