"""``GrowingTexts``: the text of messages that still grow, which streams do not have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from wsserver.storage.messages.answers import GrowingPlace


class GrowingTexts(Protocol):
    """Texts of growing answers on this node, implemented by ``FollowedAnswers``."""

    async def with_text(self, messages: list[bytes], budget: int) -> list[bytes]:
        """A page of messages, those that grow with their text of this moment.

        ``budget``: bytes of the page; what exceeds it is left as it was stored.
        """
        ...

    async def settle(self, places: Sequence[GrowingPlace]) -> None:
        """Read the texts of answers whose stream this node has just begun to follow."""

    def stream_dropped(self, name: str) -> None:
        """This node does not follow a stream any more, or has skipped messages of it."""
