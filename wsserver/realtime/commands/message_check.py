"""``MessageCheck``: what sees messages of clients before they are stored."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

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

    def concerns(self, content_type: str | None) -> bool:
        """Whether it decides on messages of a content type; None: on edits."""
        ...

    async def check(self, message: Unchecked) -> Content:
        """The content to be stored, which may be another one.

        Raises ``Rejected``, and ``HookFailed`` if there is no decision.
        """
        ...


class MessageChecks:
    """Several checks as one: each gets the content that the one before has left."""

    def __init__(self, checks: Iterable[MessageCheck] = ()) -> None:
        self._checks = list(checks)

    def add(self, check: MessageCheck) -> None:
        """Add a check behind the others, during the start."""
        self._checks.append(check)

    def concerns(self, content_type: str | None) -> bool:
        """Whether a check decides on messages of a content type."""
        return any(check.concerns(content_type) for check in self._checks)

    async def check(self, message: Unchecked) -> Content:
        """The content to be stored; raises as the checks do."""
        for check in self._checks:
            if check.concerns(message.content_type):
                message = replace(message, content=await check.check(message))
        return message.content
