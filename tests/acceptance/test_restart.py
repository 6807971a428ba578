"""Data across restarts: member lists, idempotency keys, the audit trail."""

from __future__ import annotations

import signal

import pytest

from tests.acceptance.conftest import Connect
from tests.support.running_server import Start


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["term", "kill"])
def test_what_was_answered_is_still_true_after_a_restart(
    start: Start, connect: Connect, number: int
) -> None:
    server = start()
    server.put("/sessions/s1/members", {"user_ids": ["member", "leaver"]})
    server.put("/sessions/s1/members", {"user_ids": ["member"]})
    server.post("/tokens/revoke", {"jti": "gone"})
    key = {"Idempotency-Key": "across"}
    first = server.post("/broadcast", {"type": "news", "data": 1}, headers=key)
    entries = server.get("/audit").ok["entries"]
    assert [entry["action"] for entry in entries] == ["broadcast", "revoke", "members", "members"]
    server.send_signal(number)
    assert server.wait() == (0 if number == signal.SIGTERM else -number)

    again = start(folder=server.folder)
    assert again.get("/sessions/s1/members").ok["user_ids"] == ["member"]
    assert connect("member", to=again).join("s1")["user_id"] == "member"
    assert connect("leaver", to=again).code("join_session", session_id="s1") == "forbidden"
    reader = connect("reader", to=again)
    repeated = again.post("/broadcast", {"type": "news", "data": 1}, headers=key)
    assert repeated.ok == first.ok
    assert reader.rest() == []
    other = again.post("/broadcast", {"type": "news", "data": 2}, headers=key)
    assert other.problem == (409, "idempotency_conflict")
    assert again.get("/audit").ok["entries"] == entries
    again.stop()
