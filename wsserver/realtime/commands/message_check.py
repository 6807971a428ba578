"""``MessageCheck``: what sees messages of clients before they are stored."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from wsserver.identity.claims import Claims
from wsserver.protocol.types import Content


class Unchecked(Struct, frozen=True, kw_only=True):
    """A message that a client wants to send, or the new content of one that it edits."""

    sender: Claims
    session_id: str
    content: Content
    content_type: str | None = None
    """None: that of the edited message."""
    reply_to: str | None = None
    client_message_id: str | None = None
    edits: str | None = None
    """Id of the edited message; None: a new one."""


class MessageCheck(Protocol):
    """Decides on messages of clients before they are stored."""

    async def check(self, message: Unchecked) -> Content:
        """The content to be stored, which may be another one.

        Raises ``Rejected``, and ``HookFailed`` if there is no decision.
        """
        ...
