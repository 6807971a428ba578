"""``Fleet``: which worker process to start, stop or replace, as a function of events and time.

Without I/O. ``Supervisor`` reports what has happened and does what the actions say. Times are
monotonic seconds. A worker process passes the states *started*, *prepared* (everything is built,
it is waiting for ``Go``), *accepting*, *ended*.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from typing import Literal, NamedTuple

from wsserver.workers.backoff import Backoff

log = logging.getLogger(__name__)

EXIT_CONFIG = 78
EXIT_FAILED = 1
GRACE_S = 10.0
"""Time beyond ``drain_timeout_s`` for a worker to end before it is killed."""
HURRY_S = 5.0
"""The same after a second signal."""
PREPARE_S = 60.0
"""Time for a successor to be prepared; the old worker is serving meanwhile."""


class Start(NamedTuple):
    """Start a process; ``waits``: it is not to join the cluster before ``Send(…, "go")``."""

    process: int
    number: int
    waits: bool


class Send(NamedTuple):
    """Send an order to a process."""

    process: int
    order: Literal["go", "stop", "hurry", "hand_over"]


class Kill(NamedTuple):
    """Kill a process that does not end, or does not answer any more."""

    process: int
    reason: Literal["does not end", "does not answer"] = "does not end"


class Announce(NamedTuple):
    """All workers accept connections for the first time."""


class Exit(NamedTuple):
    """Nothing runs any more: end with this status."""

    status: int


Action = Start | Send | Kill | Announce | Exit


@dataclass
class Slot:
    """The place of one worker: its process, and that of its successor in a rolling restart."""

    number: int
    process: int | None = None
    state: Literal["idle", "starting", "accepting", "leaving", "waiting"] = "idle"
    """``leaving``: draining, and followed by ``successor``; ``waiting``: for a restart."""
    started_at: float = 0.0
    due: float = 0.0
    """``waiting``: time of the next start; ``leaving``: time to kill it."""
    successor: int | None = None
    is_prepared: bool = False
    prepare_by: float = 0.0
    has_accepted: bool = False
    timeout_s: float = inf
    """Longest silence of ``process`` while it accepts, by the settings that it was started with."""
    silent_by: float = 0.0
    """``accepting``: time to kill it if nothing is heard of it until then."""
    generation: int = 0
    """Number of rolling restarts that had begun when ``process`` was started."""
    backoff: Backoff = field(default_factory=Backoff)


class Fleet:
    """The workers 1 to ``count``.

    At the first start the others wait, prepared, until worker 1 accepts: it migrates the database,
    and a fault that only shows there is found once. Until then any end of worker 1 ends everything,
    and so does a status of 78 at the first start of any worker.
    """

    def __init__(self, count: int, drain_timeout_s: float) -> None:
        self.slots = [Slot(number) for number in range(1, count + 1)]
        self._drain_timeout_s = drain_timeout_s
        self._processes = 0
        self._is_announced = False
        self._status: int | None = None
        """Set: everything is stopping, to end with this status."""
        self._is_hurried = False
        self._kill_at = 0.0
        self._has_ended = False
        self._generation = 0
        self._to_roll: list[int] = []
        """Numbers of the workers to be replaced; the first one's turn it is."""
        self._rolls_again = False

    @property
    def is_stopping(self) -> bool:
        """Whether everything is to end."""
        return self._status is not None

    @property
    def has_accepted(self) -> bool:
        """Whether all workers have accepted connections at some time."""
        return self._is_announced

    @property
    def due(self) -> float | None:
        """When ``tick`` has something to do; None: nothing is waited for."""
        times = [slot.due for slot in self.slots if slot.state in ("waiting", "leaving")]
        times += [s.prepare_by for s in self.slots if s.successor is not None and not s.is_prepared]
        times += [s.silent_by for s in self.slots if s.state == "accepting" and s.silent_by < inf]
        if self.is_stopping:
            times = [self._kill_at]
        return min(times, default=None)

    # Events

    def start(self, now: float) -> list[Action]:
        """Start all; those after worker 1 wait for it."""
        return [self._start(slot, now) for slot in self.slots]

    def prepared(self, process: int, now: float) -> list[Action]:
        """A successor is prepared: the old worker is to stop accepting, and to drain."""
        slot = self._slot_of(process)
        if slot is None or slot.successor != process or slot.is_prepared or self.is_stopping:
            return []
        if slot.process is None:
            return []
        slot.is_prepared = True
        slot.state = "leaving"
        slot.due = now + self._drain_timeout_s + GRACE_S
        return [Send(slot.process, "hand_over")]

    def accepting(self, process: int, now: float, timeout_s: float = inf) -> list[Action]:
        """A process accepts connections; it does not answer if it is silent for ``timeout_s``."""
        slot = self._slot_of(process)
        if slot is None or slot.process != process or slot.state != "starting":
            return []
        if self.is_stopping:
            return []
        slot.state, slot.timeout_s, slot.silent_by = "accepting", timeout_s, now + timeout_s
        is_first, slot.has_accepted = not slot.has_accepted, True
        actions: list[Action] = []
        if is_first and slot.number == 1:
            others = [other.process for other in self.slots[1:]]
            actions += [Send(each, "go") for each in others if each is not None]
        if not self._is_announced and all(each.has_accepted for each in self.slots):
            self._is_announced = True
            actions.append(Announce())
        if self._to_roll[:1] == [slot.number]:
            actions += self._roll(now)
        return actions

    def alive(self, process: int, now: float) -> None:
        """The event loop of a process runs."""
        slot = self._slot_of(process)
        if slot is not None and slot.process == process:
            slot.silent_by = now + slot.timeout_s

    def resumed(self, now: float) -> None:
        """This process stood still: so may have the workers, which are given their time again."""
        for slot in self.slots:
            slot.silent_by = now + slot.timeout_s

    def ended(self, process: int, status: int, now: float) -> list[Action]:
        """A process has ended; ``status``: negative for a signal."""
        slot = self._slot_of(process)
        if slot is None:
            return []
        if slot.successor == process:
            return self._successor_ended(slot, status, now)
        slot.process = None
        if self.is_stopping:
            return self._stopped(slot, status)
        if slot.successor is not None:  # also one that is not prepared yet
            slot.process, slot.successor = slot.successor, None
            slot.state, slot.started_at = "starting", now
            slot.generation = self._generation
            return [Send(slot.process, "go")]
        if not slot.has_accepted and (slot.number == 1 or status == EXIT_CONFIG):
            slot.state = "idle"
            return self._end(status if status > 0 else EXIT_FAILED, now)
        delay_s = slot.backoff.delay_s(now - slot.started_at)
        slot.state, slot.due = "waiting", now + delay_s
        log.error(
            "worker ended worker=%d status=%d failures=%d restart_in_s=%g",
            *(slot.number, status, slot.backoff.failures, delay_s),
        )
        self._abort_roll(slot)
        return self.tick(now)

    def stop(self, now: float) -> list[Action]:
        """A signal to stop; a second one cuts the drain short."""
        if not self.is_stopping:
            return self._end(0, now)
        if self._is_hurried:
            return []
        self._is_hurried = True
        self._status = EXIT_FAILED
        self._kill_at = min(self._kill_at, now + HURRY_S)
        return [Send(process, "hurry") for process in self._running()]

    def reload(self, now: float, drain_timeout_s: float = 0.0) -> list[Action]:
        """A signal to replace all workers, one after the other.

        ``drain_timeout_s``: of the successors; the workers of before keep theirs.
        """
        if self.is_stopping or not self._is_announced:
            return []
        self._drain_timeout_s = max(self._drain_timeout_s, drain_timeout_s)
        if self._to_roll:
            self._rolls_again = True
            return []
        log.info("rolling restart workers=%d", len(self.slots))
        self._generation += 1
        self._to_roll = [slot.number for slot in self.slots]
        return self._roll(now)

    def tick(self, now: float) -> list[Action]:
        """Do what has become due."""
        if self.is_stopping:
            if now < self._kill_at:
                return []
            self._kill_at = now + HURRY_S
            return [Kill(process) for process in self._running()]
        actions: list[Action] = []
        for slot in self.slots:
            if slot.state == "waiting" and slot.due <= now:
                actions.append(self._start(slot, now))
            elif slot.state == "leaving" and slot.due <= now and slot.process is not None:
                slot.due = now + HURRY_S
                actions.append(Kill(slot.process))
            elif slot.state == "accepting" and slot.silent_by <= now and slot.process is not None:
                slot.silent_by = now + HURRY_S
                actions.append(Kill(slot.process, "does not answer"))
            if slot.successor is not None and not slot.is_prepared and slot.prepare_by <= now:
                slot.prepare_by = now + HURRY_S
                actions.append(Kill(slot.successor))
        return actions

    # Decisions

    def _start(self, slot: Slot, now: float) -> Start:
        self._processes += 1
        slot.process, slot.state, slot.started_at = self._processes, "starting", now
        slot.generation = self._generation
        waits = slot.number > 1 and not self.slots[0].has_accepted
        return Start(slot.process, slot.number, waits)

    def _roll(self, now: float) -> list[Action]:
        """Replace the next worker that was started before; one that waits is started anyway."""
        while self._to_roll:
            slot = self.slots[self._to_roll[0] - 1]
            if slot.state == "starting":
                return []  # ``accepting`` goes on
            if slot.state == "accepting" and slot.generation < self._generation:
                self._processes += 1
                slot.successor, slot.is_prepared = self._processes, False
                slot.prepare_by = now + PREPARE_S
                return [Start(slot.successor, slot.number, waits=True)]
            del self._to_roll[0]
        log.info("rolling restart done")
        if self._rolls_again:
            self._rolls_again = False
            return self.reload(now)
        return []

    def _successor_ended(self, slot: Slot, status: int, now: float) -> list[Action]:
        slot.successor = None
        if self.is_stopping:
            return self._stopped(slot, status)
        log.error("successor of a worker ended worker=%d status=%d", slot.number, status)
        self._abort_roll(slot)
        return []

    def _abort_roll(self, slot: Slot) -> None:
        """End a rolling restart whose turn it was to replace this worker: the next may fail too."""
        if self._to_roll[:1] == [slot.number]:
            log.error("rolling restart given up, the other workers go on worker=%d", slot.number)
            self._to_roll.clear()
            self._rolls_again = False

    def _end(self, status: int, now: float) -> list[Action]:
        self._status = status
        self._to_roll.clear()
        self._kill_at = now + self._drain_timeout_s + GRACE_S
        stops: list[Action] = [Send(process, "stop") for process in self._running()]
        return stops + self._exit()

    def _stopped(self, slot: Slot, status: int) -> list[Action]:
        if status not in (0, self._status):
            log.error("worker ended worker=%d status=%d", slot.number, status)
            self._status = self._status or EXIT_FAILED
        return self._exit()

    def _exit(self) -> list[Action]:
        if self._status is None or self._has_ended or any(True for _ in self._running()):
            return []
        self._has_ended = True
        return [Exit(self._status)]

    def _running(self) -> Iterator[int]:
        for slot in self.slots:
            if slot.process is not None:
                yield slot.process
            if slot.successor is not None:
                yield slot.successor

    def _slot_of(self, process: int) -> Slot | None:
        for slot in self.slots:
            if process in (slot.process, slot.successor):
                return slot
        return None
