"""``Channel``: what a request needs in order to act for an event stream."""

from __future__ import annotations

import base64
import binascii
import secrets
from typing import Final, NamedTuple

from wsserver.errors import BadRequest

HEADER: Final = "X-Wsserver-Channel"
SECRET_BYTES: Final = 24
LIMIT: Final = 512
"""Characters of a channel at most."""


class Channel(NamedTuple):
    """An event stream: the node that has it, its connection, and its secret."""

    node: str
    connection_id: str
    secret: str

    def __str__(self) -> str:
        node = base64.urlsafe_b64encode(self.node.encode()).decode().rstrip("=")
        return f"{self.connection_id}.{self.secret}.{node}"

    def __repr__(self) -> str:
        return f"<Channel {self.connection_id}>"


def new_channel(node: str, connection_id: str) -> Channel:
    """The channel of a new event stream."""
    return Channel(node, connection_id, secrets.token_urlsafe(SECRET_BYTES))


def parse_channel(text: str) -> Channel:
    """Read a channel; raises ``BadRequest`` for a malformed one, without quoting it."""
    parts = text.split(".")
    if len(text) <= LIMIT and len(parts) == 3 and all(parts):
        connection_id, secret, node = parts
        try:
            padded = node + "=" * (-len(node) % 4)
            name = base64.b64decode(padded, altchars=b"-_", validate=True).decode()
        except (binascii.Error, ValueError):
            pass
        else:
            return Channel(name, connection_id, secret)
    raise BadRequest(f"{HEADER}: malformed", field=HEADER)
