"""How long each kind of fault is felt: until all is well again, and without acknowledgements."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class FaultTimes:
    """The longest of one kind of fault, in seconds."""

    times: int = 0
    until_well_s: float = 0.0
    """From the end of the fault until all nodes say ``ok``."""
    until_listed_s: float = 0.0
    """From the end of the fault until all nodes list the connections that there are."""
    outage_s: float = 0.0
    """Between two acknowledgements, of whichever publisher."""
    waited_s: float = 0.0
    """From the first attempt to publish a message until its acknowledgement."""


class Times:
    """Measures; a time belongs to the fault during which, or after which, it began."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.by_fault: dict[str, FaultTimes] = defaultdict(FaultTimes)
        self._now = now
        self._begins: list[tuple[float, str]] = []
        self._acknowledged: float | None = None

    def fault(self, name: str) -> None:
        """A fault begins."""
        self._begins.append((self._now(), name))
        self.by_fault[name].times += 1

    def well(self, seconds: float) -> None:
        """All nodes were well again so long after the end of the last fault."""
        if self._begins:
            of = self.by_fault[self._begins[-1][1]]
            of.until_well_s = max(of.until_well_s, seconds)

    def listed(self, seconds: float) -> None:
        """The lists were right again so long after the end of the last fault."""
        if self._begins:
            of = self.by_fault[self._begins[-1][1]]
            of.until_listed_s = max(of.until_listed_s, seconds)

    def rows(self) -> list[str]:
        """A table, one line a kind of fault."""
        lines = [f"{'':<20} times    well  listed  outage  waited   (ms, the longest)"]
        for name, of in sorted(self.by_fault.items()):
            spans = (of.until_well_s, of.until_listed_s, of.outage_s, of.waited_s)
            cells = "".join(f"{span * 1000:>8,.0f}" for span in spans)
            lines.append(f"{name:<20} {of.times:>5}{cells}")
        return lines

    def began(self) -> float:
        """The time at which a message is published for the first time."""
        return self._now()

    def acknowledged(self, began: float) -> None:
        """A message that was first published then is acknowledged."""
        now = self._now()
        if of := self._fault_during(began, now):
            of.waited_s = max(of.waited_s, now - began)
        before, self._acknowledged = self._acknowledged, now
        if before is not None and (of := self._fault_during(before, now)):
            of.outage_s = max(of.outage_s, now - before)

    def _fault_during(self, began: float, ended: float) -> FaultTimes | None:
        """The first fault that began in this time, else the last one before; None: none yet."""
        name = None
        for at, each in self._begins:
            if at > ended:
                break
            name = each
            if at >= began:
                break
        return None if name is None else self.by_fault[name]
