"""``TimerWheel``: a hashed timing wheel, for many timers."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class TimerWheel(Generic[T]):
    """Keeps items until they are due, in slots of ``tick_s`` seconds.

    The caller passes the time. An item is due at most one tick late, never early; however far the
    clock has moved, each call costs only what is due. Timers are not cancelled: schedule ids, and
    ignore the unknown ones when they are due. ``tidy`` removes them earlier.
    """

    def __init__(self, tick_s: float) -> None:
        self.tick_s = tick_s
        self._slots: dict[int, list[T]] = {}
        self._ticks: list[int] = []  # a heap of the keys of _slots
        self._untidied: list[int] = []  # keys of _slots that ``tidy`` has not cleaned in this round

    def __len__(self) -> int:
        return sum(map(len, self._slots.values()))

    def schedule(self, due: float, item: T) -> None:
        """Add an item that is due at ``due``."""
        tick = math.ceil(due / self.tick_s)
        if tick * self.tick_s < due:  # rounding errors must not make it early
            tick += 1
        slot = self._slots.get(tick)
        if slot is None:
            slot = self._slots[tick] = []
            heapq.heappush(self._ticks, tick)
        slot.append(item)

    def tidy(self, is_wanted: Callable[[T], object], slots: int) -> bool:
        """Remove unwanted items from the next ``slots`` slots.

        True: all slots are done, and the next call starts again.
        """
        if not self._untidied:
            self._untidied = list(self._slots)
        for _ in range(min(slots, len(self._untidied))):
            slot = self._slots.get(self._untidied.pop())
            if slot is not None:
                slot[:] = filter(is_wanted, slot)
        return not self._untidied

    def advance(self, now: float) -> Iterator[tuple[float, T]]:
        """Yield the due items with the time of their slot, earliest first.

        Items may be scheduled meanwhile.
        """
        while self._ticks and (due := self._ticks[0] * self.tick_s) <= now:
            for item in self._slots.pop(heapq.heappop(self._ticks)):
                yield due, item
