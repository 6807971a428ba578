"""Shutdown: every client is notified, in order and in time, whatever it does."""

from __future__ import annotations

import json
import re
import signal

import pytest
from websockets.exceptions import InvalidStatus

from tests.acceptance.conftest import Connect, OpenRaw
from tests.support.frames import CLOSE, TEXT
from tests.support.running_server import API, RunningServer, Start
from tests.support.tokens import token
from tests.support.waiting import PATIENCE_S, poll
from tests.support.websocket_clients import V1, RawClient, open_client

FOREVER_S = 20 * PATIENCE_S
"""Time to drain of a server that ends before, as all clients have answered or it is hurried."""


def crowd(server: RunningServer, raw: OpenRaw, count: int, path: str) -> list[RawClient]:
    clients = []
    for number in range(count):
        client = raw(to=server)
        client.open(token(f"u{number % 50}", sessions="*"), path)
        clients.append(client)
    return clients


def test_two_hundred_clients_get_different_reconnect_delays(start: Start, raw: OpenRaw) -> None:
    server = start(drain_timeout_s=FOREVER_S)
    clients = crowd(server, raw, 200, "/ws/chat/session/s1")
    server.send_signal(signal.SIGTERM)
    delays = []
    others = ("session_joined", "user_status_update", "ping")
    for client in clients:
        while (notice := client.message())["type"] in others:
            assert notice.get("status") != "offline"  # no notices of the others' disconnects
        assert notice["type"] == "server_draining"
        assert notice["timestamp"]
        delays.append(notice["reconnect_after_ms"])
        opcode, payload = client.frame()
        assert opcode == CLOSE
        assert int.from_bytes(payload[:2], "big") == 1012
        assert f"reconnect_after_ms={delays[-1]}" in payload[2:].decode()
        client.send_frame(CLOSE, payload[:2])
        client.close()
    assert len(set(delays)) == 200
    assert max(delays) - min(delays) > 1000
    assert server.wait() == 0  # all have answered


def test_a_draining_server_refuses_connections_and_says_so(start: Start, raw: OpenRaw) -> None:
    server = start(drain_timeout_s=FOREVER_S)
    bearer = token("latecomer")
    (holder,) = crowd(server, raw, 1, "/ws/chat")  # does not answer the close frame
    server.send_signal(signal.SIGTERM)
    poll(lambda: server.health()["status"], lambda status: status == "draining")
    health = server.request("GET", f"{API}/health")
    assert health.status == 503
    with pytest.raises(InvalidStatus) as refusal:
        open_client(server, bearer=bearer, offers=())
    assert refusal.value.response.status_code == 503
    assert json.loads(refusal.value.response.body)["code"] == "draining"
    assert int(refusal.value.response.headers["Retry-After"]) > 0
    probe = server.request("GET", "/ws/chat", bearer=bearer)
    assert probe.problem == (503, "draining")
    code, reason = open_client(server, bearer=bearer).closed()
    assert code == 1013
    assert reason
    assert server.get("/stats").status == 200  # asked and answered until the end
    assert holder.message("server_draining")
    holder.close()
    assert server.wait() == 0


def test_clients_that_never_read_or_never_stop_do_not_hold_it(start: Start, raw: OpenRaw) -> None:
    server = start(drain_timeout_s=1)
    for number in range(5):
        raw(to=server, receive_buffer=4096).open(token(f"deaf{number}"))
    talker = raw(to=server)
    talker.open(token("talker"))
    text = {"type": "filler", "data": "x" * 300_000, "exclude_users": ["talker"]}
    while server.get("/stats").ok["queued_bytes"] == 0:  # the kernel takes the first megabytes
        assert server.post("/broadcast", text).ok["matched"] == 5
    server.send_signal(signal.SIGTERM)
    with pytest.raises(OSError, match=r"reset|pipe"):
        _talk_for_ever(talker)
    assert server.wait() == 0


def _talk_for_ever(client: RawClient) -> None:
    while True:
        client.send_frame(TEXT, b'{"type":"pong","id":"' + b"x" * 10_000 + b'"}')


def test_what_is_queued_is_flushed_first(start: Start, raw: OpenRaw) -> None:
    server = start()
    client = raw(to=server, receive_buffer=4096)
    client.open(token("reader"))
    for number in range(3):
        server.post("/broadcast", {"type": "filler", "data": [number, "x" * 250_000]})
    server.send_signal(signal.SIGTERM)
    server.wait_for("stopping")
    received = [client.message()["type"] for _ in range(4)]
    assert received == ["filler", "filler", "filler", "server_draining"]
    assert client.closed()[0] == 1012
    assert server.wait() == 0


def test_a_second_signal_stops_it_immediately(start: Start, raw: OpenRaw) -> None:
    server = start(drain_timeout_s=FOREVER_S)
    crowd(server, raw, 3, "/ws/chat")  # none of which answers
    server.send_signal(signal.SIGTERM)
    server.wait_for("stopping")
    server.send_signal(signal.SIGTERM)
    server.wait()


def test_clients_of_a_library_see_1012(start: Start, connect: Connect) -> None:
    server = start()
    clients = [
        connect("u1", to=server, v1=True),
        connect("u2", to=server, v1=False),
        connect("u3", "/ws/admin/monitor", to=server, role="admin"),
    ]
    server.send_signal(signal.SIGINT)
    for client in clients:
        code, reason = client.closed()
        assert code == 1012
        assert re.search(r"reconnect_after_ms=\d+", reason)
        assert client.pushes[-1]["type"] == "server_draining"
        assert client.socket.subprotocol in (V1, None)
    assert server.wait() == 0


def test_requests_under_way_are_finished(start: Start, raw: OpenRaw) -> None:
    server = start()
    client = raw(to=server)  # speaks HTTP only, slowly
    head = f"POST {API}/broadcast HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    bearer = token("admin", role="admin")
    body = b'{"type": "news"}'
    client.socket.sendall(
        f"{head}Authorization: Bearer {bearer}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    )
    holder = raw(to=server)
    holder.open(token())
    server.send_signal(signal.SIGTERM)
    holder.message("server_draining")
    client.socket.sendall(body)
    assert client.response().ok["matched"] == 0
    assert holder.closed()[0] == 1012
    assert server.wait() == 0
