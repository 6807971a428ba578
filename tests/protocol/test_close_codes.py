"""Close codes."""

from __future__ import annotations

from wsserver.errors import MEANINGS
from wsserver.protocol.close_codes import CloseCode


def test_the_codes_are_the_contracts() -> None:
    assert {code.name: int(code) for code in CloseCode if code >= 4000} == {
        "HEARTBEAT_TIMEOUT": 4001,
        "SLOW_CONSUMER": 4002,
        "RESYNC_NEEDED": 4003,
        "TOKEN_EXPIRED": 4010,
        "RATE_LIMIT": 4029,
        "TOKEN_INVALID": 4500,
        "BAD_REQUEST": 4501,
        "DISCONNECTED": 4502,
        "FORBIDDEN": 4503,
        "CONNECTION_LIMIT": 4504,
        "TOKEN_REVOKED": 4505,
    }
    assert {int(code) for code in CloseCode if code < 4000} == {
        *(1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 1012, 1013)
    }


def test_every_refusal_at_the_handshake_closes_with_a_known_code() -> None:
    closes = {meaning.close for meaning in MEANINGS.values() if meaning.close is not None}
    assert closes <= {int(code) for code in CloseCode}
