"""Which client message ids were seen: the same one twice gives one message and one answer."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

CAPACITY = 100_000
LIFETIME_S = 24 * 3600.0


class SentMessages:
    """Answers by user and client message id, while there is room and for a day.

    The answer is a future from the first sight of an id on, so that a repeat which arrives while
    the first is still under way waits for the same answer.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._answers: OrderedDict[tuple[str, str], tuple[float, asyncio.Future[str]]] = (
            OrderedDict()
        )

    def __len__(self) -> int:
        return len(self._answers)

    def find(self, user_id: str, client_message_id: str, now: float) -> asyncio.Future[str] | None:
        """The future message id of an earlier sight, or None for the first."""
        while self._answers:
            seen_at, _ = next(iter(self._answers.values()))
            if now - seen_at < LIFETIME_S and len(self._answers) <= self._capacity:
                break
            self._answers.popitem(last=False)
        found = self._answers.get((user_id, client_message_id))
        return found[1] if found else None

    def begin(self, user_id: str, client_message_id: str, now: float) -> asyncio.Future[str]:
        """Note a first sight; the caller sets the message id, or calls ``abandon``."""
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._answers[(user_id, client_message_id)] = (now, answer)
        return answer

    def abandon(self, user_id: str, client_message_id: str, error: BaseException) -> None:
        """Sending failed: the next try is a first one again, and those who wait get the error."""
        _, answer = self._answers.pop((user_id, client_message_id), (0.0, None))
        if answer is not None:
            answer.set_exception(error)
            answer.exception()  # seen, so that nobody is warned when nobody waits
