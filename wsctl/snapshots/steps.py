"""Downsampling: the last row of each time step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class LastPerStep(Generic[T]):
    """Yields the last row of each step and group; steps start at the epoch.

    A step is complete when a row of another step follows, as rows come from a single writer. The
    incomplete step at the end is held back for the next run if ``keeps_open``.
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
        """The rows of the incomplete step, in order."""

    def of(self, rows: Iterable[T]) -> Iterator[T]:
        """The last row of each complete step and group."""
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
