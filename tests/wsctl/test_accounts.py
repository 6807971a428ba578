"""``wsctl accounts``."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.fake_server import API, FakeServer, Run

ACCOUNT: dict[str, Any] = {
    "account": "main",
    "kind": "gewe",
    "status": "offline",
    "organization_id": "org_1",
    "pending": 2,
    "sent": 40,
    "failed": 1,
    "last_sent_at": "2024-01-14T14:30:00Z",
}
UNSENT = {
    "message_id": "msg_1",
    "session_id": "gewe:main:ann",
    "contact": "ann",
    "sender": "bob",
    "at": "2024-01-14T14:31:00Z",
    "state": "failed",
    "attempts": 8,
    "due_at": None,
    "detail": "ret 500: \x1b[31mbusy",
}


@pytest.fixture
def server(server: FakeServer) -> FakeServer:
    """One with two accounts."""
    other = {**ACCOUNT, "account": "other", "kind": "webhook", "last_sent_at": None}
    whole = {
        **ACCOUNT,
        "members": ["bob", "eve"],
        "default_holder": None,
        "rate_per_minute": 40.0,
        "unsent": [UNSENT],
    }
    server.answers["GET", "/accounts"] = (200, {"accounts": [ACCOUNT, other]})
    server.answers["GET", "/accounts/main"] = (200, whole)
    server.answers["GET", "/accounts/other"] = (200, {**whole, "unsent": []})
    server.answers["POST", "/accounts/main/retry"] = (200, {"retried": 1})
    return server


def test_accounts_are_listed(ctl: Run) -> None:
    lines = ctl("accounts").stdout.splitlines()
    assert lines[0].split()[:8] == [
        "ACCOUNT", "KIND", "STATUS", "PENDING", "SENT", "FAILED", "LAST", "SENT",
    ]  # fmt: skip
    assert lines[1].split()[:6] == ["main", "gewe", "offline", "2", "40", "1"]
    shown = json.loads(ctl("accounts", "-o", "json").stdout)
    assert [each["account"] for each in shown] == ["main", "other"]


def test_an_account_is_shown_with_what_it_has_not_sent(ctl: Run) -> None:
    text = ctl("accounts", "show", "main").stdout
    for part in "status: offline", "members: bob, eve", "rate_per_minute: 40", "outbox main":
        assert part in text
    assert "default_holder" not in text
    assert "outbox" not in ctl("accounts", "show", "other").stdout
    assert json.loads(ctl("accounts", "show", "main", "-o", "json").stdout)["unsent"] == [UNSENT]
    row = ctl("accounts", "outbox", "main").stdout.splitlines()[1]
    for part in "msg_1", "failed", "ann", "bob", "8", "ret 500":
        assert part in row
    assert "\x1b" not in row
    assert "everything is sent" in ctl("accounts", "outbox", "other").stderr


def test_what_was_given_up_is_sent_again(ctl: Run, server: FakeServer) -> None:
    assert "1 message sent again" in ctl("accounts", "retry", "main").stdout
    asked = server.asked[-1]
    assert (asked.method, asked.path) == ("POST", f"{API}/accounts/main/retry")


def test_an_unknown_account(ctl: Run, server: FakeServer) -> None:
    problem = {"code": "not_found", "detail": "no account x", "status": 404}
    server.answers["GET", "/accounts/x"] = (404, problem)
    assert "no account x" in ctl("accounts", "show", "x").stderr


def test_a_trace_says_whether_the_contact_has_a_message(ctl: Run, server: FakeServer) -> None:
    outside = {"by": "account main", "recipient": "ann", "attempts": 8}
    failed = {**outside, "state": "failed", "at": "2024-01-14T14:31:02Z", "reason": "ret 500"}
    waits = {**outside, "state": "pending", "due_at": "2024-01-14T14:32:00Z"}
    trace = {
        "message_id": "msg_1", "type": "new_message", "class": "kept",
        "target": {"type": "session", "id": "gewe:main:ann"}, "accepted_from": None,
        "accepted_at": "2024-01-14T14:31:00Z", "recipients": [], "truncated": False,
        "summary": {"total": 0}, "outside": [waits, failed],
    }  # fmt: skip
    server.answers["GET", "/messages/msg_1"] = (200, trace)
    rows = ctl("trace", "msg_1").stdout
    assert "failed by account main: ret 500" in rows
    assert "+2000 ms" in rows
    assert "pending by account main" in rows
