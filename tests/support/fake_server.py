"""A fake REST server for wsctl with example data; ``tests/wsctl/conftest.py`` starts it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from click.testing import Result
from websockets.sync.server import ServerConnection

API = "/api/v1/websocket"
ADMIN, NOBODY = "admin-token", "nobody-token"

Run = Callable[..., Result]
"""Calls wsctl: ``run("stats", "-o", "json")``."""
Script = Callable[[ServerConnection], None]
"""What a monitor endpoint does with one connection."""

STATS = {
    "total_connections": 12, "active_connections": 11, "messages_sent": 34567,
    "messages_received": 890, "disconnections": 5, "errors": 1, "active_users": 7,
    "active_sessions": 3, "total_user_connections": 12, "total_session_connections": 9,
    "uptime_s": 11111.5, "queued_bytes": 148_328, "rates": {"messages_sent_per_s": 45.25},
    "deliver_ms": {"p50": 0.4, "p99": 3.25}, "rtt_ms": {"p50": None, "p99": None}, "node": "n1",
    "notifications": {
        "websocket": {"sent": 1200, "retried": 0, "failed": 0, "expired": 3,
                      "acknowledged": 9, "acknowledged_ms": {"p50": 950.0, "p99": None}},
        "email": {"sent": 0, "retried": 0, "failed": 0, "expired": 0,
                  "acknowledged": 0, "acknowledged_ms": {"p50": None, "p99": None}},
    },
}  # fmt: skip


def connection(number: int) -> dict[str, Any]:
    return {
        "connection_id": f"conn_{number:04}",
        "user_id": f"u{number % 3}",
        "session_id": "s1",
        "connected_at": "2024-01-15T14:30:00Z",
        "last_ping": None,
        "last_pong": None,
        "is_alive": True,
        "metadata": {"username": "张三", "role": "user", "organization_id": "o1"},
        "remote_ip": "127.0.0.1",
        "user_agent": "=cmd()",
        "endpoint": "chat",
        "rtt_ms": 1.25,
        "queued_bytes": 0,
    }


@dataclass
class Asked:
    """A request as the server saw it."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    token: str | None


@dataclass
class FakeServer:
    """Answers in ``answers`` replace the usual ones: (method, path) → (status, body)."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    answers: dict[tuple[str, str], tuple[int, Any]] = field(default_factory=dict)
    connections: list[dict[str, Any]] = field(default_factory=lambda: [*map(connection, range(3))])
    snapshots: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, asked: Asked) -> tuple[int, Any]:
        path = asked.path.removeprefix(API)
        if (asked.method, path) in self.answers:
            return self.answers[asked.method, path]
        if path == "/health":
            return 200, {"status": "ok", "checks": {"database": {"ok": True, "queued": 0}}}
        if asked.token is None:
            return 401, problem(401, "token_missing", "no token")
        if asked.token == NOBODY:
            return 403, problem(403, "forbidden", "not permitted")
        if asked.token != ADMIN and asked.token.count(".") != 2:
            return 401, problem(401, "token_invalid", "not a token")
        return self._known(asked, path)

    def _known(self, asked: Asked, path: str) -> tuple[int, Any]:
        listed = {
            "/connections": ("connections", self.connections),
            "/stats/history": ("snapshots", self.snapshots),
            "/online-users": ("users", [
                {"user_id": "u1", "connections": 2, "online_since": "2024-01-15T14:30:00Z",
                 "metadata": {"username": "张三", "role": "user"}}]),
            "/sessions": ("sessions", [
                {"session_id": "s1", "connections": 3, "epoch": "e", "offset": 9,
                 "users": [{"user_id": "u1", "username": "张三", "connections": 3}]}]),
        }  # fmt: skip
        if asked.method == "GET" and path in listed:
            return 200, page(*listed[path], asked.query)
        if path == "/stats":
            return 200, STATS
        if path == "/users/disconnect":
            return 200, {"disconnected": 2}
        if path.startswith("/ping/"):
            reached = [{"connection_id": "conn_1", "alive": True, "rtt_ms": 1.5}]
            is_online = path != "/ping/nobody"
            return 200, {"user_id": "u1", "online": is_online,
                         "connections": reached if is_online else []}  # fmt: skip
        if asked.method == "POST":
            return 200, {"message_id": "msg_1", "matched": 3, "sent": 2, "failed": 1}
        return 404, problem(404, "not_found", f"no {path}")


def page(key: str, rows: list[Any], query: dict[str, str]) -> dict[str, Any]:
    start, limit = int(query.get("cursor", 0)), int(query.get("limit", 100))
    end = start + limit
    following = str(end) if end < len(rows) else None
    return {key: rows[start:end], "total": len(rows), "next_cursor": following}


def problem(status: int, code: str, detail: str) -> dict[str, Any]:
    return {"type": "about:blank", "title": "Refused", "status": status, "detail": detail,
            "code": code, "request_id": "req_7"}  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeServer

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        token = self.headers.get("Authorization")
        asked = Asked(
            self.command,
            unquote(parts.path),
            dict(parse_qsl(parts.query)),
            json.loads(raw) if raw else None,
            token.removeprefix("Bearer ") if token else None,
        )
        self.fake.asked.append(asked)
        status, answer = self.fake.answer(asked)
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        if isinstance(answer, bytes):
            self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


MEMBERS = "/sessions/s1/members"
CONTACTS = "/users/u1/contacts"
CONTACT = {"user_id": "u1", "organization_id": "o1", "email": "a@b.cn", "phone": None,
           "locale": None,
           "push": [{"endpoint": "https://push.example.com/secret", "keys": {}}],
           "devices": [{"platform": "fcm", "token": "secret-1", "app": None},
                       {"platform": "apns", "token": "secret-2", "app": "shop"}],
           "quiet_hours": {"start": "22:00", "end": "08:00", "time_zone": "UTC"}}  # fmt: skip
ENTRIES: list[dict[str, Any]] = [
    {"id": number, "at": f"2024-01-15T14:30:{number:02}.000Z", "actor": "运维", "role": "admin",
     "action": "disconnect", "target": "user:u1", "request_id": "req_1",
     "detail": {"connections": ["conn_1", "conn_2"], "reason": ""}, "remote_ip": "10.0.0.1",
     "outcome": "ok" if number else "forbidden"}
    for number in range(3)
]  # fmt: skip


def add_example_data(server: FakeServer) -> FakeServer:
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
