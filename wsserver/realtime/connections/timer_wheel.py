"""A timer wheel: many timers at the price of one."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class TimerWheel(Generic[T]):
    """Keeps items until they are due, in slots of ``tick_s`` seconds.

    Pure: it is told the time. An item comes out at most one tick late, never early; however far
    the clock has moved, each call costs only what is due. Nothing is cancelled: who schedules
    ids rather than objects finds out that one is gone when it comes due; and where many have gone,
    ``tidy`` lets go of theirs before.
    """

    def __init__(self, tick_s: float) -> None:
        self.tick_s = tick_s
        self._slots: dict[int, list[T]] = {}
        self._ticks: list[int] = []  # a heap of the keys of _slots
        self._untidied: list[int] = []  # keys of _slots that a round of tidying has yet to look at

    def __len__(self) -> int:
        return sum(map(len, self._slots.values()))

    def schedule(self, due: float, item: T) -> None:
        """Keep an item until ``due``."""
        tick = math.ceil(due / self.tick_s)
        if tick * self.tick_s < due:  # rounding: early, an item could be put back and come again
            tick += 1
        slot = self._slots.get(tick)
        if slot is None:
            slot = self._slots[tick] = []
            heapq.heappush(self._ticks, tick)
        slot.append(item)

    def tidy(self, is_wanted: Callable[[T], object], slots: int) -> bool:
        """Let go of items that nobody wants any more, in some of the slots; each call goes on.

        True: that was the last of them, and the next call begins anew.
        """
        if not self._untidied:
            self._untidied = list(self._slots)
        for _ in range(min(slots, len(self._untidied))):
            slot = self._slots.get(self._untidied.pop())
            if slot is not None:
                slot[:] = filter(is_wanted, slot)
        return not self._untidied

    def advance(self, now: float) -> Iterator[tuple[float, T]]:
        """Yield what is due, with its slot's time, earliest first.

        New items may be scheduled meanwhile.
        """
        while self._ticks and (due := self._ticks[0] * self.tick_s) <= now:
            for item in self._slots.pop(heapq.heappop(self._ticks)):
                yield due, item
