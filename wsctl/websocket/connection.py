"""WebSocket connections: the options that all of wsctl's connections share, and the size limit."""

from __future__ import annotations

import logging
import time
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from wsctl.formatting import byte_size
from wsctl.http.connection import address_of, open_socket

SUBPROTOCOL = "wsserver.v1"
LARGEST_MESSAGE_BYTES = 16 * 1024 * 1024
TOO_LARGE = f"the server sent a message of more than {byte_size(LARGEST_MESSAGE_BYTES)}"
_MESSAGE_TOO_BIG = 1009  # RFC 6455 §7.4.1


def options(token: str | None) -> dict[str, Any]:
    """Arguments of ``websockets``' ``connect``, both synchronous and asyncio."""
    # Lost connections are reported by wsctl; the library would log them with a traceback.
    logger = logging.getLogger("wsctl.websockets")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return {
        "subprotocols": [Subprotocol(SUBPROTOCOL)],
        "additional_headers": {"Authorization": f"Bearer {token}"} if token else None,
        "user_agent_header": "wsctl",
        "compression": None,
        "proxy": None,
        "close_timeout": 1,
        "max_size": LARGEST_MESSAGE_BYTES,
        "logger": logger,
    }


def websocket_url(url: str, path: str) -> str:
    """``ws`` or ``wss`` URL of ``path`` on the server at ``url`` (``http`` or ``https``)."""
    return f"ws{url.removeprefix('http')}{path}"


def open_websocket(
    url: str, path: str, token: str | None, deadline: float, **kwargs: Any
) -> ClientConnection:
    """A synchronous connection, open before ``deadline`` (monotonic); ``kwargs`` as ``connect``.

    Raises ``OSError`` and ``InvalidHandshake``.
    """
    host, port, _ = address_of(url)
    sock = open_socket(host, port, deadline)
    try:
        sock.settimeout(None)
        connection: ClientConnection = connect(
            websocket_url(url, path),
            sock=sock,
            open_timeout=max(0.1, deadline - time.monotonic()),
            **options(token),
            **kwargs,
        )
        return connection
    except BaseException:
        sock.close()
        raise


def was_too_large(closed: ConnectionClosed) -> bool:
    """Whether wsctl ended the connection because of a message over the limit."""
    sent = closed.sent
    return sent is not None and sent.code == _MESSAGE_TOO_BIG and not closed.rcvd_then_sent
