"""For whom the storage is read, so that readers can be shared out fairly between callers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_CALLER: ContextVar[str | None] = ContextVar("storage_caller", default=None)


def caller() -> str | None:
    """The user id that the current task reads for; None: the server itself."""
    return _CALLER.get()


def read_for(user_id: str) -> None:
    """From now on the current task, and every task that it starts, reads for this user.

    For the root of a task that serves one request or one connection. A context variable, because
    every store would otherwise need one more argument in each of its methods.
    """
    _CALLER.set(user_id)


@contextmanager
def reading_for(user_id: str | None) -> Iterator[None]:
    """Read for this user inside of the block; None: for the server itself.

    What several users wait for together is read for the server: otherwise it would wait in the
    queue of the one who happened to ask first.
    """
    token = _CALLER.set(user_id)
    try:
        yield
    finally:
        _CALLER.reset(token)
