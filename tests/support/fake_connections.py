"""Connections without sockets."""

from __future__ import annotations

from typing import Any

from wsserver.identity.claims import Claims
from wsserver.protocol.ids import IdFactory
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.wire.transport import Transport

_new_id = IdFactory()


class FakeTransport(Transport):
    """Keeps what it is sent."""

    queued_bytes = 0
    waiting_since: float | None = None
    is_open = True
    last_heard = 0.0

    def __init__(self, last_heard: float = 0.0) -> None:
        self.sent: list[bytes] = []
        self.last_heard = last_heard

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
