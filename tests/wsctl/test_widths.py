"""Eighty columns, without colours, in a pipe: what is shown fits, and is all said in words."""

from __future__ import annotations

import re

import pytest
from rich.cells import cell_len

from tests.support.fake_server import ADMIN, FakeServer, Run, add_example_data, page, problem
from tests.support.terminal import on_terminal, on_terminal_of

LONG = (
    "额度已经用完，请尽快充值，否则服务会在今天晚上二十四点暂停，届时所有的消息都不会再发送。" * 3
)


@pytest.fixture
def server(server: FakeServer) -> FakeServer:
    """One that knows of a session, a contact and what was done."""
    return add_example_data(server)


@pytest.mark.parametrize(
    "args",
    [
        ["health"], ["online"], ["connections"], ["sessions"], ["stats"], ["audit"],
        ["members", "s1"], ["contacts", "u1"], ["user", "u1"], ["ping", "u1", "-c", "1"],
        ["send", "--user", "u" * 60, "hi"], ["broadcast", "--dry-run", "x"],
        ["history", "s1"], ["trace", "msg_1"], ["notifications", "list"],
        ["notifications", "show", "notify_1"], ["disconnect", "u1", "--dry-run"],
        ["history", "missing"], ["bogus-command-with-a-name-that-is-long-enough-to-be-folded-x"],
        ["stats", "--bogus-option-with-a-name-that-is-long-enough-to-be-folded-somewhere"],
        ["session", "s1"], ["session", "s1", "--at", "14:03"], ["take", "s1"], ["release", "s1"],
        ["conversations", "u1"], ["why-unread", "u1"],
        ["context", "list"], ["--help"], [],
    ],
    ids=lambda args: " ".join(args)[:30],
)  # fmt: skip
def test_what_a_terminal_shows_fits_it(server: FakeServer, args: list[str]) -> None:
    user = "organization.department.team.someone-with-a-long-id@example.com"
    at = "2024-01-15T14:30:00Z"
    attempt = {"at": at, "outcome": "sent", "detail": LONG}
    delivery = {"channel": "websocket", "user_id": user, "state": "sent", "attempts": [attempt]}
    note = {
        "notification_id": "notify_01hk153x00h9v3t7n2c4c", "type": "urgent", "title": LONG,
        "message": LONG, "created_at": at, "expires_at": at, "states": {"pending": 1200},
        "deliveries": [delivery],
    }  # fmt: skip
    said = {"sender": {"username": "李四的微信工作号"}, "content": LONG}
    message = {"offset": 1, "timestamp": at, "type": "new_message", "message": said}
    step = {"state": "dropped", "at": at}
    for row in server.connections:
        row |= {"user_id": user, "connection_id": "conn_01hk153x00h9v3t7n2c4d"}
    state = {
        "session_id": "s1", "title": LONG, "state": "pending", "term": 3, "organization_id": user,
        "holder": {"type": "user", "id": user}, "metadata": {"note": LONG}, "offset": 42,
        "created_at": at, "updated_at": at, "members": [user] * 9, "active": [user] * 9,
    }  # fmt: skip
    position = {"user_id": user, "read_offset": 17, "is_exact": False}
    past = {
        **state, "at": at, "positions": [position] * 9,
        "present": [{"user_id": user, "since": at, "until": at}] * 9,
        "changes": [{"at": at, "by": user, "field": "metadata", "value": {}}] * 9,
    }  # fmt: skip
    listed = {**state, "unread": 1200, "read_offset": 17,
              "last_message": {**said, "created_at": at}}  # fmt: skip
    counted = {"offset": 18, "at": at, "sender": user, "message_id": "msg_01hk153x00h9v3t7n2c4d"}
    held = {"session_id": user, "unread": 1200, "read_offset": 17, "read_at": at,
            "messages": [counted] * 3}  # fmt: skip
    server.answers |= {
        ("GET", "/sessions/s1"): (200, {**state, "positions": [position] * 9}),
        ("GET", "/sessions/s1/past"): (200, past),
        ("GET", "/whoami"): (200, {"user_id": user}),
        ("POST", "/sessions/s1/holder"): (200, {"holder": state["holder"], "term": 4}),
        ("GET", "/users/u1/conversations"): (200, {
            "conversations": [listed], "unread_total": 1200, "total": 9, "next_cursor": None}),
        ("GET", "/users/u1/unread"): (200, {
            "sessions": [held], "unread_total": 1200, "total": 9, "next_cursor": None}),
        ("GET", "/users/u1/connections"): (200, {"connections": server.connections}),
        ("GET", "/sessions/s1/history"): (200, {"messages": [message], "has_more": False}),
        ("GET", "/sessions/missing/history"): (404, problem(404, "not_found", LONG)),
        ("GET", "/notifications"): (200, page("notifications", [note], {})),
        ("GET", "/notifications/notify_1"): (200, note),
        ("GET", "/messages/msg_1"): (200, {
            "message_id": "msg_1", "type": "new_message", "class": "kept", "target": {},
            "accepted_at": at, "stream": f"user:{user}", "offset": 1,
            "accepted_from": {"user_id": user, "via": "rest", "id": "req_1"}, "epoch": "epoch_1",
            "recipients": [{"user_id": user, "connection_id": "conn_01hk153x00h9v3t7n2c4d",
                            "state": "dropped", "reason": LONG, "history": [step]}]}),
        ("GET", "/health"): (200, {"status": "ok", "checks": {"database": {
            "ok": True, "last_error": LONG, **{f"figure_{n}": n for n in range(9)}}}}),
    }  # fmt: skip
    _, shown = on_terminal_of(server, *args)
    lines = shown.replace("\r", "").splitlines()
    assert lines
    assert [line for line in lines if cell_len(line) > 80] == []
    assert "\x1b" not in shown, "NO_COLOR"


@pytest.mark.parametrize(
    "args",
    [["audit"], ["health"], ["members", "s1"], ["user", "u1"], ["online"], ["stats"], ["bogus"]],
    ids=" ".join,
)
def test_colours_say_nothing_that_words_do_not(server: FakeServer, args: list[str]) -> None:
    server.answers["GET", "/users/u1/connections"] = (200, {"connections": server.connections})
    target = ("--url", server.url, "--token", ADMIN)
    shown = [
        on_terminal(*target, *args, env=env)[1].decode()
        for env in ({"NO_COLOR": ""}, {"NO_COLOR": "1"}, {"TERM": "dumb"})
    ]
    plain = [re.sub("\x1b\\[[0-9;]*m", "", text) for text in shown]
    # How long ago something was may have changed meanwhile, and blanks at the end are nothing.
    first, *others = (re.sub(r" +(?=\r)", "", re.sub(r"\d", "0", text)) for text in plain)
    assert others == [first, first]
    assert ("\x1b" in shown[0]) == (args != ["bogus"])


def test_a_pipe_gets_neither_colours_nor_rules(ctl: Run) -> None:
    for args in (["audit"], ["members", "s1"], ["online"], ["stats"], ["connections"]):
        text = ctl(*args).stdout
        assert not set("\x1b─│┤") & set(text)


def test_health_fits_80_columns_in_a_pipe_too(ctl: Run, server: FakeServer) -> None:
    figures = {f"figure_{number}": number for number in range(20)}
    checks = {"connections": {"ok": False, **figures}}
    server.answers["GET", "/health"] = (503, {"status": "degraded", "checks": checks})
    text = ctl("health").stdout
    assert max(map(cell_len, text.splitlines())) <= 80
    for number in range(20):
        assert f"figure {number} {number}" in text
