"""Function call on a daemon thread, which does not delay the end of the program."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class BackgroundCall(Generic[T]):
    """Runs ``work`` on a daemon thread; ``result`` waits for it."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._outcome: list[T] = []
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._outcome.append(self._work())
        except BaseException as error:  # noqa: BLE001 - raised by result()
            self._failure = error

    def result(self) -> T:
        """The return value of ``work``; raises its exception."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        return self._outcome[0]
