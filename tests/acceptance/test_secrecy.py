"""§2: a token, ticket or secret is in no log, no answer, no figure, no audit row, no process list.

Canaries go through success, 401, 403 and 500, in every place that takes a credential.
"""

from __future__ import annotations

import base64
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from tests.acceptance.conftest import OpenRaw
from tests.support.running_server import API, RunningServer, Start
from tests.support.tokens import SECRET, token
from tests.support.websocket_clients import V1, open_client

CANARY = "canary7f3a"


def canary(sub: str = "u1", **claims: Any) -> str:
    """A token; its signature alone is searched for as well."""
    return token(sub, jti=f"{CANARY}-{sub}", **claims)


def through_every_door(server: RunningServer, bearer: str, path: str) -> list[str]:
    """Knock with a token wherever one is taken; returns what was answered."""
    answers = []
    for url, given, offers in (
        (path, bearer, (V1,)),
        (path, bearer, ()),
        (path, None, (V1, f"bearer.{bearer}")),
        (path, None, (f"bearer.{bearer}",)),
        (f"{path}?token={bearer}", None, (V1,)),
        (f"{path}?token={bearer}", None, ()),
        (f"{path}?%74oken={bearer}", None, (V1,)),
        (f"{path}?ticket={bearer}", None, (V1,)),
        (f"{path}?ticket={bearer}&token={bearer}", bearer, (V1,)),
        (f"{path}?other={bearer}", None, (V1,)),
    ):
        try:
            client = open_client(server, url, bearer=given, offers=offers)
        except InvalidStatus as refusal:
            answers.append(str(refusal.response.headers) + str(bytes(refusal.response.body)))
        except InvalidHandshake as refusal:
            answers.append(str(refusal))
        else:
            try:
                for type_, field in (
                    ("refresh_token", bearer[:-3]),
                    ("refresh_token", bearer),
                    ("join_session", bearer),
                    ("nonsense", bearer),
                ):
                    name = "session_id" if type_ == "join_session" else "token"
                    answers.append(str(client.call(type_, **{name: field})))
            except ConnectionClosed as end:
                answers.append(str(end))
            client.close()
    for method, url, body in (
        ("GET", f"{API}/stats", None),
        ("POST", f"{API}/tickets", {}),
        ("POST", f"{API}/tickets", {"token": bearer}),
        ("GET", f"{API}/connections?token={bearer}", None),
        ("GET", f"{API}/connections/{bearer}", None),
        ("GET", f"{API}/nowhere?token={bearer}", None),
        ("GET", f"{path}?token={bearer}", None),
        ("POST", f"{API}/messages", {"type": "news", "token": bearer}),
    ):
        answer = server.request(method, url, body, bearer=bearer)
        answers.append(str(answer.headers) + answer.body.decode())
        answer = server.request(method, url, body, headers={"Authorization": f"Basic {bearer}"})
        answers.append(str(answer.headers) + answer.body.decode())
    return answers


def everything_stored(database: Path) -> str:
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        tables = [
            name
            for (name,) in connection.execute(
                "SELECT name FROM sqlite_master WHERE type='table'"
                " AND sql NOT LIKE '%USING fts5%'"  # without content: it cannot be read
            )
        ]
        rows = [connection.execute(f'SELECT * FROM "{name}"').fetchall() for name in tables]
    connection.close()
    return str(rows)


@pytest.mark.parametrize("log_format", ["json", pytest.param("text", marks=pytest.mark.long)])
def test_no_token_is_ever_given_away(start: Start, raw: OpenRaw, log_format: str) -> None:
    server = start(
        plugins=["tests.support.failing_plugin:install"],
        log_format=log_format,
        log_level="debug",
        max_connections_per_user=100,
        has_own_command=True,
    )
    server.expects_faults = True
    good = canary("boss", role="admin", sessions="*")
    bad = {
        "good": good,
        "user": canary("u1"),
        "expired": canary("u1", exp_in=-5),
        "forged": canary("u1", key="another secret of 32 bytes and more"),
        "unsigned": canary("u1", key=None, algorithm="none"),
        "broken": good[:-10],
    }
    answers = []
    for bearer in bad.values():
        for path in ("/ws/chat", "/ws/chat/session/s1", "/ws/chat/session/broken"):
            answers += through_every_door(server, bearer, path)
    ticket = server.post("/tickets", {}, good).ok["ticket"]
    for path in (f"/ws/chat?ticket={ticket}", f"/ws/chat?ticket={ticket}"):
        client = open_client(server, path)
        client.close()
    assert server.get("/diagnostics", good).problem == (500, "internal_error")
    assert server.get("/diagnostics", good).json()["detail"] == "Internal error"
    half = raw(to=server)  # a request that is cut off in the middle of its header
    half.socket.sendall(f"GET /ws/chat?token={good} HTTP/1.1\r\nAuthorization: {good}".encode())
    half.close()
    junk = raw(to=server)
    junk.socket.sendall(f"{good}\r\n{good}: \0\r\n\r\n".encode())
    junk.close()
    metrics = server.request("GET", "/metrics").body.decode()
    log = server.lines
    assert any("broken on purpose" in line for line in log)
    command_line = Path(f"/proc/{server.process.pid}/cmdline").read_text()
    server.stop()

    places = {
        "log": "\n".join(log),
        "answers": "\n".join(answers),
        "metrics": metrics,
        "database": everything_stored(server.database),
        "process list": command_line,
    }
    secrets = {name: bearer.split(".")[-1] or bearer for name, bearer in bad.items()}
    secrets["payload"] = good.split(".")[1]
    secrets |= {"ticket": ticket, "secret": SECRET}
    secrets["encoded"] = base64.b64encode(SECRET.encode()).decode()
    for place, text in places.items():
        for name, secret in secrets.items():
            assert secret not in text, (place, name, _around(text, secret))
        if place != "database":  # the audit trail names who was revoked, by jti
            assert CANARY not in text, (place, _around(text, CANARY))


def _around(text: str, what: str) -> str:
    at = text.index(what)
    return text[max(0, at - 200) : at + 100]


def test_internal_errors_are_answered_logged_and_survived(start: Start, raw: OpenRaw) -> None:
    server = start(plugins=["tests.support.failing_plugin:install"])
    server.expects_faults = True
    bearer = token("u1", sessions="*")
    client = open_client(server, bearer=bearer)
    client.push("connection_established")
    error = client.error("join_session", session_id="broken")
    assert (error["code"], error["temporary"]) == ("internal_error", True)
    assert "purpose" not in error["message"]
    client.join("fine")
    client.call("leave_session", session_id="fine")  # its event handler fails
    assert client.call("ping")["type"] == "pong"
    with pytest.raises(InvalidStatus) as refusal:
        open_client(server, "/ws/chat/session/broken", bearer=bearer, offers=())
    assert refusal.value.response.status_code == 500
    assert json.loads(refusal.value.response.body)["code"] == "internal_error"
    assert open_client(server, "/ws/chat/session/broken", bearer=bearer).closed()[0] == 1011
    client.close()
    health = server.health()
    assert health["status"] in ("ok", "degraded")
