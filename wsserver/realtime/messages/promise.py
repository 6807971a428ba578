"""A result that is not there yet, and what is to be done with it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any, Generic, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")


class Promise(Generic[T]):
    """A result or an exception, some time.

    Unlike an ``asyncio.Future`` it calls back at once, inside ``resolve`` or ``reject``: what
    thousands of publishers are told comes in the order of the results, with no turn of the loop
    between them, at a third of the cost. Any number of coroutines may await it, and one that is
    cancelled takes nothing away from the others.
    """

    __slots__ = ("_callbacks", "_error", "_is_settled", "_result", "_traceback")

    _result: T

    def __init__(self) -> None:
        self._is_settled = False
        self._error: Exception | None = None
        self._traceback: TracebackType | None = None
        self._callbacks: list[Callable[[Promise[T]], object]] = []

    def done(self) -> bool:
        """Is the result there, or the exception?"""
        return self._is_settled

    def resolve(self, result: T) -> None:
        """Here is the result. To be called once, as is either of this and ``reject``."""
        self._result = result
        self._settle()

    def reject(self, error: Exception) -> None:
        """There will be none."""
        self._error = error
        self._traceback = error.__traceback__
        self._settle()

    def result(self) -> T:
        """The result of one that is done; raises the exception."""
        if self._error is not None:
            # Thousands may be told of the same one: each raising would make its story longer.
            raise self._error.with_traceback(self._traceback)
        return self._result

    def when_done(self, callback: Callable[[Promise[T]], object]) -> None:
        """Call back with this promise once it is done: now, if it is. Exceptions are logged."""
        if self._is_settled:
            self._call(callback)
        else:
            self._callbacks.append(callback)

    def then(self, change: Callable[[T], R]) -> Promise[R]:
        """A promise of ``change(result)``; an exception of either comes out of it."""
        changed: Promise[R] = Promise()

        def settle(done: Promise[T]) -> None:
            if done._error is not None:
                changed.reject(done._error)
                return
            try:
                result = change(done._result)
            except Exception as error:  # noqa: BLE001 - handed on to whoever waits
                changed.reject(error)
            else:
                changed.resolve(result)

        self.when_done(settle)
        return changed

    def __await__(self) -> Generator[Any, None, T]:
        if not self._is_settled:
            arrival: asyncio.Future[None] = asyncio.get_running_loop().create_future()

            def wake(_: Promise[T]) -> None:
                if not arrival.done():  # the waiting coroutine was cancelled
                    arrival.set_result(None)

            self.when_done(wake)
            yield from arrival
        return self.result()

    def _settle(self) -> None:
        self._is_settled = True
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            self._call(callback)

    def _call(self, callback: Callable[[Promise[T]], object]) -> None:
        try:
            callback(self)
        except Exception:
            log.exception("what waited for a result failed")
