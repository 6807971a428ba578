"""A small server that answers as the protocol says, on a real socket; and a way to call wsctl."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from click.testing import CliRunner, Result
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

from wsctl.cli import wsctl

API = "/api/v1/websocket"
ADMIN, NOBODY = "admin-token", "nobody-token"

STATS = {
    "total_connections": 12, "active_connections": 11, "messages_sent": 34567,
    "messages_received": 890, "disconnections": 5, "errors": 1, "active_users": 7,
    "active_sessions": 3, "total_user_connections": 12, "total_session_connections": 9,
    "uptime_s": 11111.5, "messages_sent_per_second": 45.25,
    "delivery_latency_ms": {"p50": 0.4, "p99": 3.25}, "node": "n1",
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
            return 200, {"status": "ok", "checks": {"database": "ok"}}
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


class _Handler(BaseHTTPRequestHandler):
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
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """A running server; ``server.asked`` has what it was asked."""
    fake = FakeServer()
    handler = type("Handler", (_Handler,), {"fake": fake})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        http.daemon_threads = True
        fake.url = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield fake
        http.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder and configuration, and no settings from outside."""
    for name in ("WSCTL_URL", "WSCTL_TOKEN", "WSSERVER_JWT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    """Call wsctl in this process: ``run("stats", "-o", "json")``."""

    def call(*args: str, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(wsctl, args, input=stdin, prog_name="wsctl")
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


@pytest.fixture
def ctl(run: Run, server: FakeServer) -> Run:
    """As ``run``, against the running server as an administrator."""

    def call(*args: str, stdin: str | None = None) -> Result:
        return run("--url", server.url, "--token", ADMIN, *args, stdin=stdin)

    return call


Script = Callable[[ServerConnection], None]


@pytest.fixture
def monitor_server() -> Iterator[Callable[..., str]]:
    """Starts a monitor endpoint that runs one script for each connection; gives its address."""
    with contextlib.ExitStack() as stack:

        def start(*scripts: Script) -> str:
            remaining = list(scripts)

            def handle(socket: ServerConnection) -> None:
                with contextlib.suppress(ConnectionClosed):
                    remaining.pop(0)(socket)

            server: Server = serve(
                handle, "127.0.0.1", 0, subprotocols=["wsserver.v1"]  # type: ignore[list-item]
            )  # fmt: skip
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return f"http://127.0.0.1:{server.socket.getsockname()[1]}"

        yield start
