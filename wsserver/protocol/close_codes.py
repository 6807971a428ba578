"""WebSocket close codes; the range of a private code says whether to reconnect.

The reason of a close is passed where the connection is closed (``git grep CloseCode.NAME``); for
``SLOW_CONSUMER`` and protocol violations that is in ``wsserver.wire``, which has its own constants
of these codes in ``wire.frames``.
"""

from __future__ import annotations

from enum import IntEnum


class CloseCode(IntEnum):
    """Codes of RFC 6455 §7.4 and private ones: 4000-4499 reconnect, 4500-4999 do not."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    INVALID_PAYLOAD = 1007
    POLICY = 1008
    MESSAGE_TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    RESTART = 1012
    TRY_LATER = 1013
    HEARTBEAT_TIMEOUT = 4001
    SLOW_CONSUMER = 4002
    RESYNC_NEEDED = 4003
    TOKEN_EXPIRED = 4010
    RATE_LIMIT = 4029
    TOKEN_INVALID = 4500
    BAD_REQUEST = 4501
    DISCONNECTED = 4502
    FORBIDDEN = 4503
    CONNECTION_LIMIT = 4504
    TOKEN_REVOKED = 4505
