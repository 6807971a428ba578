"""``wsctl answer``."""

from __future__ import annotations

import json
from typing import Any

from tests.support.fake_server import FakeServer, Run

ANSWER: dict[str, Any] = {
    "message_id": "msg_1",
    "session_id": "s1",
    "state": "cancelled",
    "reason": "thank you",
    "ended_by": "alice",
    "seq": 12,
    "term": 2,
    "length": 240,
    "content": "The sofa…",
    "started_at": "2024-01-15T14:30:00Z",
    "first_text_at": "2024-01-15T14:30:01Z",
    "ended_at": "2024-01-15T14:30:14Z",
    "stalls": [{"at": "2024-01-15T14:30:03Z", "ms": 3200}],
    "rate": 20.0,
    "watchers": [
        {"user_id": "alice", "from": "2024-01-15T14:30:00Z"},
        {"user_id": "bob", "from": "2024-01-15T14:30:02Z", "until": "2024-01-15T14:30:05Z"},
    ],
    "usage": {"total_tokens": 24},
}


def told(text: str) -> list[list[str]]:
    """The rows of the table, without the time of day."""
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("TIME"))
    return [line.split()[1:] for line in lines[start + 1 :]]


def test_an_answer_is_told_by_time(ctl: Run, server: FakeServer) -> None:
    server.answers["GET", "/answers/msg_1"] = (200, ANSWER)
    text = ctl("answer", "msg_1").stdout
    assert text.startswith("msg_1  answer in session s1: cancelled\n")
    assert "240 characters in 12 appends, 20 characters a second" in text
    assert '"total_tokens"' in text
    assert [" ".join(row) for row in told(text)] == [
        "+0.0 s begins",
        "+0.0 s alice watches",
        "+1.0 s first text",
        "+2.0 s bob watches",
        "+3.0 s no text for 3.2 s",
        "+5.0 s bob leaves",
        "+14 s alice cancelled: thank you",
    ]


def test_an_answer_that_still_grows_and_one_that_the_server_ended(
    ctl: Run, server: FakeServer
) -> None:
    ended = ("first_text_at", "ended_at", "reason", "ended_by", "usage")
    growing = {key: value for key, value in ANSWER.items() if key not in ended}
    growing |= {"state": "growing", "seq": 1, "length": 1, "rate": None}
    server.answers["GET", "/answers/msg_1"] = (200, growing)
    text = ctl("answer", "msg_1").stdout
    assert "session s1: still growing" in text
    assert "1 character in 1 append\n" in text
    taken = {**ANSWER, "state": "interrupted", "reason": "timeout", "ended_by": None}
    server.answers["GET", "/answers/msg_1"] = (200, taken)
    assert told(ctl("answer", "msg_1").stdout)[-1] == [
        *("+14", "s", "(server)", "interrupted:", "timeout"),
    ]


def test_an_answer_as_json_and_an_unknown_one(ctl: Run, server: FakeServer) -> None:
    server.answers["GET", "/answers/msg_1"] = (200, ANSWER)
    assert json.loads(ctl("answer", "msg_1", "-o", "json").stdout) == ANSWER
    unknown = {"status": 404, "code": "not_found", "title": "Not found", "detail": "no answer"}
    server.answers["GET", "/answers/msg_2"] = (404, unknown)
    result = ctl("answer", "msg_2")
    assert (result.exit_code, result.stdout) == (1, "")
