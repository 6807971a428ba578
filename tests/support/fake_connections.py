"""Connections without sockets."""

from __future__ import annotations

from typing import Any

from wsserver.identity.claims import Claims
from wsserver.protocol.ids import IdFactory
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.wire.frames import build_frame
from wsserver.wire.pings import Ping

_new_id = IdFactory()


class FakeTransport:
    """Keeps what it is sent."""

    def __init__(self, last_heard: float = 0.0) -> None:
        self.sent: list[bytes] = []
        self.last_heard = last_heard
        self.queued_bytes = 0
        self.waiting_since: float | None = None
        self.is_open = True
        self.is_event_stream = False

    def send_text(self, text: bytes) -> bool:
        return self.send(build_frame(text))

    def send_ping(self, ping: Ping) -> bool:
        return self.send(ping.frames)

    def send(self, frame: bytes) -> bool:
        self.sent.append(frame)
        return self.is_open


def fake_connection(
    user: str = "u1",
    *,
    endpoint: str = "chat",
    session_id: str | None = None,
    last_heard: float = 0.0,
    owner: Any = None,
    **claims: Any,
) -> Any:
    connection: Any = ConnectionInfo(
        owner,
        connection_id=_new_id("conn", 1.0),
        claims=Claims(sub=user, exp=claims.pop("exp", 2e9), **claims),
        endpoint=endpoint,
        session_id=session_id,
        protocol="wsserver.v1",
        remote_ip="10.0.0.1",
        user_agent="test",
        connected_at=1_700_000_000.0,
    )
    connection.websocket = FakeTransport(last_heard)
    return connection
