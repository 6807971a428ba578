"""A server of wsctl's tests with a session, a contact, an audit trail; and a terminal to see it."""

from __future__ import annotations

from typing import Any

from tests.wsctl.test_process import on_terminal
from tests.wsctl.wsctl_fakes import ADMIN, FakeServer, page

MEMBERS = "/sessions/s1/members"
CONTACTS = "/users/u1/contacts"
CONTACT = {"user_id": "u1", "organization_id": "o1", "email": "a@b.cn", "phone": None,
           "locale": None,
           "push": [{"endpoint": "https://push.example.com/secret", "keys": {}}],
           "quiet_hours": {"start": "22:00", "end": "08:00", "time_zone": "UTC"}}  # fmt: skip
ENTRIES: list[dict[str, Any]] = [
    {"id": number, "at": f"2024-01-15T14:30:{number:02}.000Z", "actor": "运维", "role": "admin",
     "action": "disconnect", "target": "user:u1", "request_id": "req_1",
     "detail": {"connections": ["conn_1", "conn_2"], "reason": ""}, "remote_ip": "10.0.0.1",
     "outcome": "ok" if number else "forbidden"}
    for number in range(3)
]  # fmt: skip


def furnish(server: FakeServer) -> FakeServer:
    """One with a session of two members, a contact, an audit trail, and explanations."""
    explanation = {
        "matched": 2,
        "recipients": [{"user_id": "u1", "connection_id": f"conn_{n:04}"} for n in (0, 1)],
        "excluded": [{"user_id": "u9", "reason": "offline", "will_be_kept": True}],
    }
    server.answers |= {
        ("GET", MEMBERS): (200, {"session_id": "s1", "user_ids": ["u1", "u2"]}),
        ("PUT", MEMBERS): (200, {"session_id": "s1", "user_ids": ["u1"]}),
        ("GET", "/sessions/s1"): (200, {"users": [
            {"user_id": "u7", "username": "张三", "connections": 2}]}),
        ("GET", CONTACTS): (200, CONTACT),
        ("PUT", CONTACTS): (200, CONTACT),
        ("GET", "/audit"): (200, page("entries", ENTRIES[::-1], {})),
        ("POST", "/messages/explain"): (200, explanation),
        ("POST", "/tokens/revoke"): (200, {"disconnected": 2}),
        ("GET", "/connections/conn_1"): (200, {"connection_id": "conn_1", "user_id": "u1"}),
    }  # fmt: skip
    return server


def on_terminal_of(server: FakeServer, *args: str, typed: bytes = b"") -> tuple[int, str]:
    """Run on an 80-column terminal without colours."""
    target = ("--url", server.url, "--token", ADMIN)
    code, shown = on_terminal(*target, *args, typed=typed, env={"NO_COLOR": "1"})
    return code, shown.decode()
