"""A queue of jobs in which callers take turns: round robin, one running job for each caller."""

from __future__ import annotations

from collections import deque
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Turn(NamedTuple, Generic[T]):
    """A job to be run now; ``caller`` is to be given to ``FairQueue.finished`` afterwards."""

    caller: str | None
    job: T


class FairQueue(Generic[T]):
    """Jobs by caller. Not thread-safe: whoever shares it between threads holds a lock.

    A caller with a hundred jobs delays another one by at most the job of its own that is running.
    Jobs without a caller (None) are the server's own: each takes its turn as if it were the only
    one of its caller.
    """

    def __init__(self) -> None:
        self._turns: deque[Turn[T]] = deque()
        """The next job of each caller that has none running, and every job without a caller."""
        self._behind: dict[str, deque[T]] = {}
        """By caller with a job in ``_turns`` or running: the jobs behind that one."""
        self._behind_count = 0

    def __len__(self) -> int:
        return len(self._turns) + self._behind_count

    def waiting_of(self, caller: str) -> int:
        """Jobs of one caller that wait behind its first one."""
        return len(self._behind.get(caller, ()))

    def put(self, caller: str | None, job: T) -> bool:
        """Add a job; True: it can be taken at once."""
        if caller is not None:
            if caller in self._behind:
                self._behind[caller].append(job)
                self._behind_count += 1
                return False
            self._behind[caller] = deque()
        self._turns.append(Turn(caller, job))
        return True

    def take(self) -> Turn[T] | None:
        """The next job; None: nothing can be taken now."""
        return self._turns.popleft() if self._turns else None

    def finished(self, caller: str | None) -> bool:
        """A caller's job has ended; True: its next one can be taken now."""
        if caller is None:
            return False
        behind = self._behind[caller]
        if not behind:
            del self._behind[caller]
            return False
        self._behind_count -= 1
        self._turns.append(Turn(caller, behind.popleft()))
        return True
