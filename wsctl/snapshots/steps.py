"""One row of each step of time: the last one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class LastPerStep(Generic[T]):
    """Passes on the last row of each step and group; steps are counted from the epoch.

    A step is over once a row of another one comes, as it is with a single writer. What is not
    over at the end is held back for the next time unless ``keeps_open`` is off.
    """

    def __init__(
        self,
        step_s: int,
        moment: Callable[[T], float],
        group: Callable[[T], Any],
        *,
        keeps_open: bool,
    ) -> None:
        self._step_s = step_s
        self._moment = moment
        self._group = group
        self._keeps_open = keeps_open
        self.held: list[T] = []
        """The rows of the step that is not over, in their order."""

    def of(self, rows: Iterable[T]) -> Iterator[T]:
        """The rows that are the last ones."""
        step: float | None = None
        last: dict[Any, tuple[int, T]] = {}
        for number, row in enumerate(rows):
            its = self._moment(row) // self._step_s
            if step is not None and its != step:
                yield from _in_order(last)
                last = {}
            step = its
            last[self._group(row)] = number, row
        if self._keeps_open:
            self.held = [*_in_order(last)]
        else:
            yield from _in_order(last)


def _in_order(last: dict[Any, tuple[int, T]]) -> Iterator[T]:
    return (row for _, row in sorted(last.values(), key=lambda each: each[0]))
