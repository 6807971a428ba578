"""Fair queuing of reads: the caller of a task, and a round-robin queue of jobs by caller."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")
_CALLER: ContextVar[str | None] = ContextVar("storage_caller", default=None)


def caller() -> str | None:
    """The user id that the current task reads for; None: the server itself."""
    return _CALLER.get()


def read_for(user_id: str) -> None:
    """Make a user the caller of the current task and of every task that it starts.

    For the root task of one request or one connection. A context variable, because every store
    would otherwise need one more argument in each of its methods.
    """
    _CALLER.set(user_id)


@contextmanager
def reading_for(user_id: str | None) -> Iterator[None]:
    """Make a user the caller inside of the block; None: the server itself.

    A read whose result several users wait for belongs to the server: otherwise it would wait in
    the queue of the user whose request came first.
    """
    token = _CALLER.set(user_id)
    try:
        yield
    finally:
        _CALLER.reset(token)


class Turn(NamedTuple, Generic[T]):
    """A job to be run now; pass ``caller`` to ``FairQueue.finished`` afterwards."""

    caller: str | None
    job: T


class FairQueue(Generic[T]):
    """Jobs by caller, one running job for each. Not thread-safe: threads share it under a lock.

    A caller with a hundred jobs delays another caller by at most its one running job. Jobs without
    a caller (None) are the server's own: each is queued as if its caller had no other.
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
        """Number of a caller's jobs that wait behind its first one."""
        return len(self._behind.get(caller, ()))

    def put(self, caller: str | None, job: T) -> bool:
        """Add a job; True: ``take`` can return it now."""
        if caller is not None:
            if caller in self._behind:
                self._behind[caller].append(job)
                self._behind_count += 1
                return False
            self._behind[caller] = deque()
        self._turns.append(Turn(caller, job))
        return True

    def take(self) -> Turn[T] | None:
        """The next job; None: no job can run now."""
        return self._turns.popleft() if self._turns else None

    def finished(self, caller: str | None) -> bool:
        """Mark a caller's running job as ended; True: ``take`` can return its next one now."""
        if caller is None:
            return False
        behind = self._behind[caller]
        if not behind:
            del self._behind[caller]
            return False
        self._behind_count -= 1
        self._turns.append(Turn(caller, behind.popleft()))
        return True
