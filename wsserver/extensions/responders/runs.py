"""``Run``: the answering of one session on one node."""

from __future__ import annotations

import asyncio


class Run:
    """The answering of one session on this node."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self.task = task
        self.due = 0
        """Offset of the message that is being answered."""
        self.term = 0
        self.responder = ""
        self.message_id: str | None = None
        self.answering: asyncio.Task[None] | None = None
        """The request to the provider; cancelled, it stops at once."""
        self.is_restarted = False
        """Whether a newer message has interrupted the answer."""
        self.is_ending = False
        """Whether the provider has said everything, or was stopped: what follows is not an
        interruption, and must not be interrupted itself."""

    def interrupt(self) -> bool:
        """Stop the request to the provider, if there is one."""
        if self.answering is None or self.is_ending:
            return False
        self.is_ending = True
        self.answering.cancel()
        return True
