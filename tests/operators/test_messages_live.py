"""Where messages went, would go, and what was said, asked of a real server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.operators.conftest import Run
from tests.support.server_process import ServerProcess
from tests.support.waiting import PATIENCE_S, poll
from wsctl.client_report import LARGEST_BYTES


def send(ctl: Run, *args: str) -> dict[str, Any]:
    result = ctl("send", *args, "-o", "json")
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def test_the_story_of_a_message_from_waiting_to_read(ctl: Run, server: ServerProcess) -> None:
    sent = send(ctl, "--user", "zoe", "--keep", "--ttl", "1h", "请回电")
    assert (sent["stream"], sent["offset"], sent["matched"]) == ("user:zoe", 1, 0)
    story = ctl("trace", sent["message_id"]).stdout
    assert f"{sent['message_id']}  announcement (kept) to user zoe" in story
    assert "kept in   user:zoe, offset 1 of epoch_" in story
    assert "1 recipient: 1 pending" in story
    with connect(server.websocket("/ws/chat", server.token("zoe", "user"))) as zoe:
        while json.loads(zoe.recv(timeout=PATIENCE_S))["type"] != "announcement":
            pass
        zoe.send(json.dumps({"type": "read", "ref": 1, "ids": [sent["message_id"]]}))
        while json.loads(zoe.recv(timeout=PATIENCE_S)).get("ref") != 1:
            pass
    lines = ctl("trace", sent["message_id"]).stdout.splitlines()
    rows = [line.split() for line in lines if " zoe " in line and "+" in line]
    assert rows, lines
    assert rows[-1][-1] == "read"
    assert all(row[1].startswith("+") and row[2] == "ms" for row in rows)
    document = json.loads(ctl("trace", sent["message_id"], "-o", "json").stdout)
    assert document["summary"]["read"] == 1


def test_an_unknown_message(ctl: Run) -> None:
    result = ctl("trace", "msg_never")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "not_found" in result.stderr


def test_a_trace_with_a_file_that_is_no_report(ctl: Run, tmp_path: Path) -> None:
    for name, content in (("text", b"\xff\xfe"), ("large", b" " * (LARGEST_BYTES + 1))):
        (tmp_path / name).write_bytes(content)
    for name, fault in (
        ("none", "cannot read"),
        ("text", "no report of a client: it is not JSON"),
        ("large", "it is too large"),
        (".", "cannot read"),
    ):
        result = ctl("trace", "msg_1", "--with", str(tmp_path / name))
        assert (result.exit_code, result.stdout) == (2, "")
        assert fault in " ".join(result.stderr.split())


def test_who_would_get_it(ctl: Run, server: ServerProcess) -> None:
    url = server.websocket("/ws/chat/session/s7", server.token("amy", "user", sessions=["s7"]))
    with connect(url) as amy:
        amy.recv(timeout=PATIENCE_S)
        amy.recv(timeout=PATIENCE_S)
        shown = ctl("explain", "--session", "s7", "--type", "new_message")
        row = shown.stdout.splitlines()[1].split()
        assert (row[0], row[2]) == ("amy", "yes")
        assert "1 connection would receive it" in shown.stderr
        shown = ctl("explain", "--broadcast", "--exclude", "amy")
        assert "excluded" in shown.stdout
        answer = json.loads(ctl("explain", "--user", "amy", "-o", "json").stdout)
        assert (answer["matched"], answer["recipients"][0]["user_id"]) == (1, "amy")
    assert "offline" in ctl("explain", "--user", "nobody").stdout


@pytest.mark.parametrize(
    "args", [[], ["--user", "u", "--session", "s"], ["--user", "u", "--broadcast"]]
)
def test_explain_is_about_one_target(ctl: Run, args: list[str]) -> None:
    assert ctl("explain", *args).exit_code == 2


def test_what_was_said_in_a_session_page_by_page(ctl: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 6):
        send(ctl, "--session", "s8", "--type", "new_message", f"第{number}句")
    send(ctl, "--session", "s8", "--type", "order.shipped", "--data", '{"n": 1}', "--keep")
    table = ctl("history", "s8").stdout
    assert "第1句" in table
    assert '[order.shipped] {"n": 1}' in table
    monkeypatch.setattr("wsctl.commands.messages.PAGE", 2)

    def offsets(*args: str) -> list[int]:
        result = ctl("history", "s8", *args, "-o", "json")
        return [message["offset"] for message in json.loads(result.stdout)]

    assert offsets() == [1, 2, 3, 4, 5, 6]
    assert offsets("--limit", "5") == [2, 3, 4, 5, 6]
    assert offsets("--after", "1", "--limit", "3") == [2, 3, 4]
    assert offsets("--before", "5", "--limit", "3") == [2, 3, 4]
    assert offsets("--after", "1", "--before", "6", "--limit", "3") == [3, 4, 5]
    written = json.loads(ctl("history", "s8", "-o", "json").stdout)
    since, until = written[1]["timestamp"], written[4]["timestamp"]
    between = [each["offset"] for each in written if since <= each["timestamp"] < until]
    assert offsets("--since", since, "--until", until) == between
    assert offsets("--since", "1h", "--limit", "3") == [4, 5, 6]
    assert offsets("--until", "1h") == []
    assert ctl("history", "s8", "--since", "1h", "--until", "2h").exit_code == 2
    nothing = ctl("history", "never")
    assert (nothing.exit_code, nothing.stdout) == (0, "")
    assert "no kept messages in session never" in nothing.stderr


def test_messages_are_found_by_their_text(ctl: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsctl.commands.search.PAGE", 2)
    for number in range(5):
        send(ctl, "--session", "s9", "--type", "new_message", f"需要退款 number {number}")

    def found(*args: str) -> list[str]:
        shown = json.loads(ctl("search", "退款", *args, "-o", "json").stdout)
        return [message["message"]["content"] for message in shown]

    newest = [f"需要退款 number {number}" for number in range(4, -1, -1)]
    assert poll(found, lambda texts: len(texts) == 5) == newest
    assert found("--limit", "3") == newest[:3]
    assert found("--session", "s8") == []
    table = ctl("search", "NUMBER 退款", "--limit", "1").stdout.splitlines()
    assert len(table) == 2
    assert "需要退款 number 4" in table[1]
    assert "s9" in table[1]
    nothing = ctl("search", "absent")
    assert (nothing.exit_code, nothing.stdout) == (0, "")
    assert "no message with 'absent'" in nothing.stderr
    assert ctl("search", "x").exit_code == 1


def test_what_is_kept_for_an_organization_is_said_and_traced(ctl: Run) -> None:
    kept = ("--organization", "acme", "--keep", "Moved to gate 7")
    would = ctl("broadcast", "--dry-run", *kept)
    assert "it would be kept in organization:acme" in would.stderr
    shown = ctl("broadcast", *kept)
    assert "kept in organization:acme as 1" in shown.stdout
    story = ctl("trace", shown.stdout.split()[0]).stdout
    assert "kept in   organization:acme, offset 1 of epoch_" in story
    assert "(kept) to all users of organization acme\n" in story
