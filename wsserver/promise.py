"""``Promise``: a future that calls back synchronously."""

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
    """A result or an exception in the future.

    Unlike ``asyncio.Future`` it runs its callbacks inside ``resolve`` or ``reject``: thousands of
    publishers are answered in the order of the results, without an iteration of the event loop in
    between, at a third of the cost. Any number of coroutines may await it; cancelling one does not
    affect the others.
    """

    __slots__ = ("_callbacks", "_error", "_is_settled", "_result", "_traceback")

    _result: T

    def __init__(self) -> None:
        self._is_settled = False
        self._error: Exception | None = None
        self._traceback: TracebackType | None = None
        self._callbacks: list[Callable[[Promise[T]], object]] | None = None

    def done(self) -> bool:
        """Whether it is resolved or rejected."""
        return self._is_settled

    def resolve(self, result: T) -> None:
        """Set the result. Call ``resolve`` or ``reject`` once."""
        self._result = result
        self._settle()

    def reject(self, error: Exception) -> None:
        """Set the exception."""
        self._error = error
        self._traceback = error.__traceback__
        self._settle()

    @property
    def error(self) -> Exception | None:
        """The exception of a promise that was rejected."""
        return self._error

    def result(self) -> T:
        """The result of a promise that is done; raises its exception."""
        if self._error is not None:
            # Thousands may raise the same one, and each raise would extend its traceback.
            raise self._error.with_traceback(self._traceback)
        return self._result

    def when_done(self, callback: Callable[[Promise[T]], object]) -> None:
        """Call back with this promise once it is done, or now if it is. Exceptions are logged."""
        if self._is_settled:
            self._call(callback)
        elif self._callbacks is None:
            self._callbacks = [callback]
        else:
            self._callbacks.append(callback)

    def then(self, change: Callable[[T], R]) -> Promise[R]:
        """A promise of ``change(result)``; rejected with the exception of either."""
        changed: Promise[R] = Promise()

        def settle(done: Promise[T]) -> None:
            if done._error is not None:
                changed.reject(done._error)
                return
            try:
                result = change(done._result)
            except Exception as error:  # noqa: BLE001 - raised in the waiting coroutines
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
        callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            self._call(callback)

    def _call(self, callback: Callable[[Promise[T]], object]) -> None:
        try:
            callback(self)
        except Exception:
            log.exception("callback of a promise failed")
