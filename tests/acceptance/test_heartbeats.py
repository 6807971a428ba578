"""§5: the heartbeat, with short intervals."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from tests.acceptance.conftest import Connect, OpenRaw
from tests.support.frames import CLOSE, CONTINUATION, PING, PONG, TEXT
from tests.support.running_server import RunningServer, Start
from tests.support.server_process import ROOT
from tests.support.tokens import token
from tests.support.websocket_clients import RawClient, together

SETTINGS = {"heartbeat_interval_s": 0.1, "heartbeat_timeout_s": 0.7}

SILENT_CLIENT = """
import sys, websockets.sync.client as client
with client.connect(sys.argv[1], ping_interval=None, proxy=None) as socket:
    print("connected", flush=True)
    for _ in socket: pass
"""


def next_pings(client: RawClient) -> tuple[str, bytes]:
    """The next JSON ping's id and the payload of the RFC 6455 ping that comes with it."""
    ping_id = client.message("ping")["id"]
    opcode, payload = client.frame()
    assert opcode == PING
    return ping_id, payload


def test_both_pings_come_together_every_interval(raw: OpenRaw) -> None:
    client = raw()
    greeting = client.open(token())
    assert (greeting["heartbeat_interval"], greeting["heartbeat_timeout"]) == (0.1, 0.7)
    next_pings(client)
    started = time.monotonic()
    seen = []
    for _ in range(5):
        ping_id, payload = next_pings(client)
        assert payload.decode() == ping_id
        seen.append(ping_id)
        client.send("pong", id=ping_id)
    assert len(set(seen)) == 5
    assert 0.3 < time.monotonic() - started < 3


def test_silence_is_closed_with_4001_and_forgotten(raw: OpenRaw, server: RunningServer) -> None:
    client = raw()
    client.open(token("silent"))
    started = time.monotonic()
    code, reason = client.closed()
    assert (code, reason) == (4001, "heartbeat timeout")
    assert 0.6 < time.monotonic() - started < 2
    assert server.get("/users/silent/connections").ok["connections"] == []


def test_any_frame_is_life(raw: OpenRaw) -> None:
    fragments = itertools.chain([TEXT], itertools.repeat(CONTINUATION))
    answers: list[Callable[[RawClient], None]] = [
        lambda client: client.send_frame(PONG, b"unasked"),
        lambda client: client.send_frame(PING, b""),
        lambda client: client.send("nonsense"),
        lambda client: client.send_frame(next(fragments), b" ", final=False),
    ]
    clients = [raw() for _ in answers]
    for number, client in enumerate(clients):
        client.open(token(f"lively{number}"))

    def live(number: int) -> int:
        """Answer pings for longer than the timeout; the last frame must be no close frame."""
        deadline = time.monotonic() + 1.2
        while time.monotonic() < deadline:
            opcode, _ = clients[number].frame()
            if opcode == PING:
                answers[number](clients[number])
            elif opcode == CLOSE:
                break
        return opcode

    assert CLOSE not in together(live, len(clients))


def test_round_trips_are_measured(raw: OpenRaw, server: RunningServer) -> None:
    client = raw()
    path = f"/connections/{client.open(token('measured'))['connection_id']}"
    before = server.get(path).ok
    assert before["last_ping"] >= before["connected_at"]
    while server.get(path).ok["rtt_ms"] is None:
        client.send_frame(PONG, next_pings(client)[1])
    after = server.get(path).ok
    assert after["last_pong"] > before["last_pong"]
    assert 0 < after["rtt_ms"] < 1000
    assert server.get("/stats").ok["rtt_ms"]["p50"] is not None


def test_a_server_that_was_suspended_closes_no_connection_for_it(
    connect: Connect, server: RunningServer
) -> None:
    clients = [connect(f"u{number}") for number in range(10)]
    server.send_signal(signal.SIGSTOP)
    try:
        time.sleep(3)  # suspended
    finally:
        server.send_signal(signal.SIGCONT)
    for client in clients:
        assert client.call("ping")["type"] == "pong"
    assert server.get("/stats").ok["total_connections"] == 10
    assert not any('"code": 4001,' in line and '"user_id": "u' in line for line in server.lines)
    assert server.health()["checks"]["loop"]["lag_ms"] >= 0


def test_a_client_that_is_suspended_is_closed(server: RunningServer, connect: Connect) -> None:
    friend = connect("friend", sessions=["still"])
    friend.join("still")
    address = server.websocket("/ws/chat/session/still", token("frozen", sessions=["still"]))
    frozen = subprocess.Popen(
        [sys.executable, "-c", SILENT_CLIENT, address],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert frozen.stdout is not None
        assert frozen.stdout.readline() == b"connected\n"
        assert friend.await_push("session_joined")["user_id"] == "frozen"
        os.kill(frozen.pid, signal.SIGSTOP)
        assert friend.await_push("session_left")["user_id"] == "frozen"
        status = friend.await_push("user_status_update")
        assert (status["user_id"], status["status"], status["connections"]) == (
            "frozen",
            "offline",
            0,
        )
        assert "frozen" not in {
            user["user_id"] for user in friend.call("presence", session_id="still")["users"]
        }
    finally:
        os.kill(frozen.pid, signal.SIGCONT)
        frozen.kill()
        frozen.wait()
        frozen.stdout.close()  # type: ignore[union-attr]


def test_interval_and_timeout_are_independent(start: Start, raw: OpenRaw) -> None:
    server = start(heartbeat_interval_s=30, heartbeat_timeout_s=0.2)
    client = raw(to=server)
    client.open(token())
    assert client.closed()[0] == 4001
