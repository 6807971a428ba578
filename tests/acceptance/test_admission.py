"""§2: refused handshakes: close codes, HTTP statuses, answers to probes."""

from __future__ import annotations

from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from tests.acceptance.conftest import Connect, OpenRaw
from tests.support.http_response import Response
from tests.support.running_server import RunningServer, Start
from tests.support.tokens import token
from tests.support.waiting import poll
from tests.support.websocket_clients import V1, open_client

SETTINGS = {"max_connections_per_user": 3}
MANAGER = {"role": "manager", "organization_id": "o"}
BAD, FORBIDDEN = (400, "bad_request"), (403, "forbidden")


def refused_plain(server: RunningServer, path: str, **options: Any) -> tuple[int, str]:
    """Status and code that a client without the subprotocol gets."""
    with pytest.raises(InvalidStatus) as refusal:
        open_client(server, path, offers=(), **options)
    answer = refusal.value.response
    headers = {name.lower(): value for name, value in answer.headers.raw_items()}
    return Response(answer.status_code, headers, bytes(answer.body)).problem


@pytest.mark.parametrize(
    ("path", "claims", "http", "close", "words"),
    [
        ("/ws/chat", None, (401, "token_missing"), 4500, "oken"),
        ("/ws/chat", "nonsense", (401, "token_invalid"), 4500, "oken"),
        ("/ws/chat", {"exp_in": -60}, (401, "token_expired"), 4500, "expired"),
        ("/ws/chat/session/s1", {"sessions": ["s2"]}, FORBIDDEN, 4503, "access"),
        ("/ws/chat/session/s1", {}, FORBIDDEN, 4503, "access"),
        ("/ws/admin/monitor", {"role": "user"}, FORBIDDEN, 4503, "monitor"),
        ("/ws/admin/monitor", MANAGER, FORBIDDEN, 4503, "monitor"),
        ("/ws/admin/monitor", {"role": "admin", "permissions": []}, FORBIDDEN, 4503, "monitor"),
        ("/ws/chat/session/%00", {"sessions": "*"}, BAD, 4501, "session_id"),
        ("/ws/chat/session/..%2f", {"sessions": "*"}, BAD, 4501, "session_id"),
        ("/ws/chat/session/" + "x" * 300, {"sessions": "*"}, BAD, 4501, "session_id"),
        ("/ws/chat/session/%D9%A1%D9%A2", {"sessions": "*"}, BAD, 4501, "session_id"),
        ("/ws/chat/session/", {"sessions": "*"}, BAD, 4501, "session_id"),
        ("/ws/chat?colour=red", {}, BAD, 4501, "query"),
        ("/ws/chat?token=%zz", None, BAD, 4501, "query"),
        ("/ws/chat?ticket=unknown", None, (401, "token_invalid"), 4500, "ticket"),
    ],
)  # fmt: skip
def test_a_refusal_is_the_same_on_all_three_ways(
    server: RunningServer, path: str, claims: Any, http: tuple[int, str], close: int, words: str
) -> None:
    bearer = token("u1", **claims) if isinstance(claims, dict) else claims
    assert refused_plain(server, path, bearer=bearer) == http
    code, reason = open_client(server, path, bearer=bearer).closed()
    assert code == close
    assert words in reason
    assert len(reason.encode()) <= 123
    headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
    assert server.request("GET", path, headers=headers).problem == http


@pytest.mark.parametrize(
    ("path", "claims"),
    [
        ("/ws/chat", {}),
        ("/ws/chat/session/s1", {"sessions": ["s1"]}),
        ("/ws/admin/monitor", {"role": "service"}),
    ],
)
def test_a_probe_that_would_be_let_in_gets_426(
    server: RunningServer, path: str, claims: dict[str, Any]
) -> None:
    answer = server.request("GET", path, bearer=token("u1", **claims))
    assert answer.problem == (426, "upgrade_required")
    assert answer.headers["upgrade"] == "websocket"
    assert answer.headers["sec-websocket-version"] == "13"
    assert server.request("HEAD", path, bearer=token("u1", **claims)).status == 426
    posted = server.request("POST", path, {}, bearer=token("u1", **claims))
    assert posted.problem == (405, "method_not_allowed")
    assert "GET" in posted.headers["allow"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-WebSocket-Version": "8"},
        {"Sec-WebSocket-Version": None},
        {"Sec-WebSocket-Key": None},
        {"Sec-WebSocket-Key": "short"},
        {"Connection": "keep-alive"},
    ],
    ids=str,
)
def test_a_broken_upgrade_is_a_bad_request_or_an_invitation(
    raw: OpenRaw, headers: dict[str, str | None]
) -> None:
    answer = raw().upgrade("/ws/chat", {"Authorization": f"Bearer {token()}", **headers})
    assert answer.problem[0] in (400, 426)
    if headers.get("Sec-WebSocket-Version") == "8":
        assert answer.status == 426
        assert answer.headers["sec-websocket-version"] == "13"


@pytest.mark.parametrize(
    "origin",
    ["null", "https://evil.example", "http://127.0.0.1.evil", "http://127.0.0.1:1", "file://", "x"],
)
def test_pages_of_other_origins_are_refused_whatever_they_offer(
    server: RunningServer, raw: OpenRaw, origin: str
) -> None:
    for offers in ({}, {"Sec-WebSocket-Protocol": V1}):
        for path in (f"/ws/chat?token={token()}", "/ws/chat"):
            headers = {"Origin": origin, "Sec-Fetch-Site": "same-origin", **offers}
            assert raw().upgrade(path, headers).problem == (403, "origin_forbidden")
    answer = server.get("/stats", headers={"Origin": origin})
    assert answer.problem == (403, "origin_forbidden")


def test_our_own_pages_and_no_pages_are_let_in(server: RunningServer) -> None:
    for origin in (f"http://127.0.0.1:{server.port}", None):
        client = open_client(server, bearer=token(), origin=origin)
        client.push("connection_established")
        client.close()


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil", "evil.example:80", ""])
def test_foreign_hosts_are_refused_but_for_health_and_metrics(
    server: RunningServer, raw: OpenRaw, host: str
) -> None:
    bearer = {"Authorization": f"Bearer {token()}"}
    same_origin = {"Origin": f"http://{host}"}
    for headers in ({}, {"Sec-WebSocket-Protocol": V1}, same_origin):
        answer = raw().upgrade("/ws/chat", {"Host": host or None, **bearer, **headers})
        assert answer.status in (400, 403)
        if host:
            assert answer.problem == (403, "host_forbidden")
    if host:
        assert server.get("/stats", headers={"Host": host}).problem == (403, "host_forbidden")
        for path in ("/api/v1/websocket/health", "/metrics"):
            assert server.request("GET", path, headers={"Host": host}).status == 200


def test_configured_origins_and_hosts_are_exact(start: Start, raw: OpenRaw) -> None:
    server = start(
        allowed_origins=["https://app.example.com"], allowed_hosts=["chat.example.com", "127.0.0.1"]
    )
    bearer = {"Authorization": f"Bearer {token()}"}
    good = {"Host": "chat.example.com", "Origin": "https://app.example.com"}
    assert raw(to=server).upgrade("/ws/chat", {**bearer, **good}).status == 101
    for origin in ("https://app.example.com.evil", "http://app.example.com", "https://example.com"):
        answer = raw(to=server).upgrade("/ws/chat", {**bearer, **good, "Origin": origin})
        assert answer.problem == (403, "origin_forbidden")
    own = {**good, "Origin": "https://chat.example.com"}  # the console's, beside those of the list
    assert raw(to=server).upgrade("/ws/chat", {**bearer, **own}).status == 101
    answer = raw(to=server).upgrade("/ws/chat", {**bearer, "Host": "chat.example.org"})
    assert answer.problem == (403, "host_forbidden")


def test_a_program_on_this_machine_is_let_in_by_a_loopback_host(start: Start, raw: OpenRaw) -> None:
    server = start(allowed_hosts=["chat.example.com"])
    bearer = {"Authorization": f"Bearer {token()}"}
    for host in ("localhost", "127.0.0.1:8765", "[::1]:1"):
        assert raw(to=server).upgrade("/ws/chat", {**bearer, "Host": host}).status == 101
        assert server.get("/stats", headers={"Host": host}).status == 200
        # A proxy on this machine passes on whatever a client has written there.
        forwarded = {"Host": host, "X-Forwarded-For": "203.0.113.9"}
        answer = raw(to=server).upgrade("/ws/chat", {**bearer, **forwarded})
        assert answer.problem == (403, "host_forbidden")
        assert server.get("/stats", headers=forwarded).problem == (403, "host_forbidden")
        # A page of elsewhere, in a browser on this machine.
        foreign = {"Host": host, "Origin": "https://evil.example"}
        answer = raw(to=server).upgrade("/ws/chat", {**bearer, **foreign})
        assert answer.problem == (403, "origin_forbidden")


def test_loopback_hosts_can_be_left_to_the_list(start: Start, raw: OpenRaw) -> None:
    server = start(allowed_hosts=["chat.example.com", "localhost"], allow_loopback_hosts=False)
    bearer = {"Authorization": f"Bearer {token()}"}
    for host, status in (("localhost:8765", 101), ("127.0.0.1:8765", 403)):
        assert raw(to=server).upgrade("/ws/chat", {**bearer, "Host": host}).status == status
    refused = server.get("/stats", headers={"Host": "127.0.0.1"})
    assert refused.problem == (403, "host_forbidden")


# Sessions


@pytest.mark.parametrize("v1", [True, False], ids=["v1", "plain"])
def test_a_session_is_entered_by_claim_by_star_by_list_or_by_permission(
    server: RunningServer, connect: Connect, v1: bool
) -> None:
    server.put("/sessions/listed/members", {"user_ids": ["member"]})
    for sub, claims in (
        ("named", {"sessions": ["x", "listed"]}),
        ("star", {"sessions": "*"}),
        ("member", {}),
        ("boss", {"role": "admin"}),
    ):
        client = connect(sub, "/ws/chat/session/listed", v1=v1, **claims)
        assert client.push("session_joined")["session_id"] == "listed"
        assert connect(sub, v1=v1, **claims).join("listed")["user_id"] == sub


def test_existing_and_absent_sessions_look_alike(server: RunningServer, connect: Connect) -> None:
    connect("u1", sessions=["s-here"]).join("s-here")
    outsider = token("u2", sessions=["other"])
    answers = []
    for session in ("s-here", "s-gone"):
        path = f"/ws/chat/session/{session}"
        closed = open_client(server, path, bearer=outsider).closed()
        answer = server.request("GET", path, bearer=outsider)
        document = answer.json()
        document.pop("request_id")
        texts = (str(closed), str(document), str(refused_plain(server, path, bearer=outsider)))
        answers.append([text.replace(session, "S") for text in texts])
    assert answers[0] == answers[1]


# Limits


def test_one_connection_too_many_is_rejected(server: RunningServer, connect: Connect) -> None:
    held = [connect("busy") for _ in range(3)]
    bearer = token("busy")
    code, reason = open_client(server, bearer=bearer).closed()
    assert code == 4504
    assert "3" in reason
    assert refused_plain(server, "/ws/chat", bearer=bearer) == (429, "connection_limit")
    probe = server.request("GET", "/ws/chat", bearer=bearer)
    assert probe.problem == (429, "connection_limit")
    for client in held:
        assert client.call("ping")["type"] == "pong"
    connect("somebody-else")
    held[0].close()
    poll(lambda: server.get("/users/busy/connections").ok["total"], lambda total: total == 2)
    connect("busy")


def test_or_the_oldest_makes_room(start: Start, connect: Connect) -> None:
    server = start(max_connections_per_user=2, connection_limit_policy="evict_oldest")
    oldest, older, newest = (connect("busy", to=server) for _ in range(3))
    assert oldest.closed()[0] == 4504
    for client in (older, newest):
        assert client.call("ping")["type"] == "pong"
    assert server.get("/users/busy/connections").ok["total"] == 2


def test_a_full_server_says_when_to_come_again(start: Start, connect: Connect) -> None:
    server = start(max_connections=2)
    held = [connect(f"u{number}", to=server) for number in range(2)]
    bearer = token("u3")
    assert open_client(server, bearer=bearer).closed()[0] == 1013
    assert refused_plain(server, "/ws/chat", bearer=bearer) == (503, "server_full")
    answer = server.request("GET", "/ws/chat", bearer=bearer)
    assert answer.problem == (503, "server_full")
    assert int(answer.headers["retry-after"]) > 0
    health = server.health()
    assert health["status"] == "degraded"
    assert health["checks"]["connections"] == {"ok": False, "open": 2, "limit": 2}
    assert held[0].call("ping")["type"] == "pong"
    held[0].close()
    poll(lambda: server.health()["status"], lambda status: status == "ok")
    connect("u3", to=server)
