"""What is to be done with a result that is not there yet, without a task that waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def then(future: asyncio.Future[T], change: Callable[[T], R]) -> asyncio.Future[R]:
    """A future of ``change(result)``; an exception of either comes out of it.

    Cheaper than a coroutine in a task of its own, and what ``change`` does, it does in the order
    in which the results come.
    """
    changed: asyncio.Future[R] = future.get_loop().create_future()

    def settle(done: asyncio.Future[T]) -> None:
        if done.cancelled():
            changed.cancel()
            return
        error = done.exception()
        try:
            result = change(done.result()) if error is None else None
        except Exception as failure:  # noqa: BLE001 - handed on to whoever awaits
            error = failure
        if changed.done():
            return
        if error is not None:
            changed.set_exception(error)
        else:
            changed.set_result(result)  # type: ignore[arg-type]

    future.add_done_callback(settle)
    return changed
