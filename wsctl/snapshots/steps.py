"""Downsampling: the last row of each time step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(eq=False, repr=False)
class LastPerStep(Generic[T]):
    """Yields the last row of each step and group; steps start at the epoch.

    A step is complete when a row of another step follows, as rows come from a single writer. The
    incomplete step at the end is held back for the next run if ``keeps_open``.
    """

    step_s: int
    moment: Callable[[T], float]
    group: Callable[[T], Any]
    _: KW_ONLY
    keeps_open: bool

    def __post_init__(self) -> None:
        self.held: list[T] = []
        """The rows of the incomplete step, in order."""

    def of(self, rows: Iterable[T]) -> Iterator[T]:
        """The last row of each complete step and group."""
        step: float | None = None
        last: dict[Any, tuple[int, T]] = {}
        for number, row in enumerate(rows):
            its = self.moment(row) // self.step_s
            if step is not None and its != step:
                yield from _in_order(last)
                last = {}
            step = its
            last[self.group(row)] = number, row
        if self.keeps_open:
            self.held = [*_in_order(last)]
        else:
            yield from _in_order(last)


def _in_order(last: dict[Any, tuple[int, T]]) -> Iterator[T]:
    return (row for _, row in sorted(last.values(), key=lambda each: each[0]))
