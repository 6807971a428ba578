"""The publisher of a message."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import msgspec

Via = Literal["rest", "socket", "monitor", "server"]
"""How a message came in: a request, a command of a client or of a monitor, the server itself."""


class Origin(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The publisher of a message, for its trace; never sent to recipients."""

    user_id: str | None = None
    role: str | None = None
    organization_id: str | None = None
    via: Via = "server"
    id: str | None = None
    """Of the request or connection."""

    def view(self) -> dict[str, Any]:
        """``accepted_from`` of a trace."""
        return {"user_id": self.user_id, "role": self.role, "via": self.via, "id": self.id}


def read_origin(text: str) -> Origin:
    """An origin as it was stored."""
    return msgspec.json.decode(text, type=Origin)


@lru_cache(maxsize=64)
def write_origin(origin: Origin | None) -> str:
    """An origin to be stored; None: the server itself, or a plugin in it.

    Cached, as the messages of a batch share it.
    """
    return "{}" if origin is None else msgspec.json.encode(origin).decode()
