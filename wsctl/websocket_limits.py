"""The largest WebSocket message that wsctl takes, and how an end for a larger one is recognized."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsctl.bounded_http import size_of

if TYPE_CHECKING:
    from websockets.exceptions import ConnectionClosed

LARGEST_MESSAGE_BYTES = 16 * 1024 * 1024
TOO_LARGE = f"the server sent a message of more than {size_of(LARGEST_MESSAGE_BYTES)}"
_MESSAGE_TOO_BIG = 1009  # RFC 6455 §7.4.1


def was_too_large(closed: ConnectionClosed) -> bool:
    """Did we end the connection ourselves, for a message over the limit?"""
    sent = closed.sent
    return sent is not None and sent.code == _MESSAGE_TOO_BIG and not closed.rcvd_then_sent
