"""Durable delivery queue: claim due deliveries, attempt them, record the results, retry.

Notifications have a lane for each channel, webhooks one for each URL. Storage is a ``LeasedTable``;
how a delivery is sent is up to the subclass. At least once: what was sent but not recorded before
a crash is sent again, with the same id.
"""

from __future__ import annotations

import asyncio
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Generic

from wsserver.clock import Clock, Setbacks
from wsserver.errors import WsServerError
from wsserver.notifications.channels.base import Limits, Outcome, retry
from wsserver.notifications.delivery_policy import Pace, Retries, after
from wsserver.storage.engine.leased_table import C, Lease, LeasedTable, Result
from wsserver.tasks import Tasks

log = logging.getLogger(__name__)

CLAIM_LIMIT = 200
"""Deliveries claimed in one transaction."""
IDLE_S = 5.0
"""Longest pause between two looks into storage."""
RETRY_S = 1.0
"""Pause after an error of storage."""
LEASE_PERIOD_S = 10.0
"""Period of ``release``."""
LEASE_EXTRA_S = 60.0
"""Time for recording a result: a lease is longer than the timeout of an attempt by this."""
GRACE_S = 3.0
"""Time for running attempts when the server stops; those that are cancelled are sent again."""


class Lane:
    """Limits and running attempts of a part of the queue that waits for no other part."""

    def __init__(self, name: str, limits: Limits, now: float) -> None:
        self.name = name
        self.limits = limits
        self.pace = Pace(limits.rate_per_s, now)
        self.wake = asyncio.Event()
        self.attempts: set[asyncio.Task[Any]] = set()
        self.has_backlog = False
        """Whether the latest claim took all there was room for: more may be due."""

    def room(self, now: float) -> int:
        """How many attempts may begin; ``now``: monotonic seconds."""
        free = self.limits.concurrency - len(self.attempts)
        return max(0, min(free, self.pace.available(now), CLAIM_LIMIT))

    async def wait(self, seconds: float) -> None:
        """Wait until the lane is woken, for ``seconds`` at most."""
        try:
            async with asyncio.timeout(seconds):  # wait_for may swallow a cancellation
                await self.wake.wait()
        except TimeoutError:
            pass
        self.wake.clear()


class DeliveryQueue(ABC, Generic[C]):
    """Works off a ``LeasedTable``, each lane in a separate task.

    Pauses and limits are measured by the monotonic clock. Due times are stored by the wall clock;
    when that is set back, they are moved with it.
    """

    def __init__(
        self,
        store: LeasedTable[C],
        lanes: Mapping[str, Limits],
        *,
        retries: Retries,
        clock: Clock,
        tasks: Tasks,
    ) -> None:
        self._name = type(self).__name__
        self._store = store
        self._retries = retries
        self._clock = clock
        self._tasks = tasks
        self._owner = store.owner
        now = clock.monotonic()
        self._lanes = {name: Lane(name, limits, now) for name, limits in lanes.items()}
        self._runners: list[asyncio.Task[Any]] = []
        self._is_stopping = False
        self._busy: set[int] = set()
        """Rows that are being attempted: by the wall clock their leases may look expired."""
        self._setbacks = Setbacks(clock)
        self._setbacks_checked_at = now
        self._moving = asyncio.Lock()

    # For subclasses

    @abstractmethod
    async def attempt(self, lane: str, claimed: C) -> Result:
        """Make one attempt, usually by ``_send``."""

    @abstractmethod
    def recorded(self, lane: str, claimed: C, result: Result, states: Mapping[int, str]) -> None:
        """Report a recorded result; ``states``: as stored, without rows that were lost."""

    def label(self, lane: str) -> str:
        """Name of a lane in the log."""
        return lane

    async def _send(
        self, lane: str, claimed: C, sending: Awaitable[Outcome], *, gives_up: bool = True
    ) -> Result:
        """Await ``sending`` within the timeout of the lane, and plan what follows its outcome."""
        timeout_s = self._lanes[lane].limits.timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                outcome = await sending
        except TimeoutError:
            outcome = retry(f"no answer within {timeout_s:g} s")
        except Exception as error:  # a bug in one channel must not end the queue
            id_ = claimed.delivery_id
            log.exception("attempt failed lane=%s delivery_id=%s", self.label(lane), id_)
            outcome = retry(f"internal error: {type(error).__name__}")
        now = self._clock.wall()
        following = after(
            outcome, attempt=claimed.attempt, now=now, retries=self._retries, gives_up=gives_up
        )
        return Result(
            claimed.ids, following.state, following.due_at, now, outcome.result, outcome.detail
        )

    # Life

    async def start(self) -> None:
        """Release what an earlier run was attempting, and begin. Raises ``StorageUnavailable``."""
        left = await self._store.release(self._clock.wall(), ending_by=math.inf)
        if left:
            log.warning(
                "deliveries interrupted by the last stop are tried again queue=%s count=%d",
                self._name,
                left,
            )
        self._runners = [
            self._tasks.spawn(self._run(lane), name=f"deliveries {self.label(lane.name)}")
            for lane in self._lanes.values()
        ]

    @property
    def under_way(self) -> int:
        """Count of attempts that have begun and are not recorded yet."""
        return sum(len(lane.attempts) for lane in self._lanes.values())

    def kick(self, lane: str | None = None) -> None:
        """Look into storage now: something may be due, in one lane or in any."""
        for name, each in self._lanes.items():
            if lane in (None, name):
                each.wake.set()

    async def stop(self, grace_s: float = GRACE_S) -> None:
        """Begin no more attempts; cancel those that take longer than ``grace_s``.

        The leases of cancelled ones remain, and the next run attempts them again.
        """
        self._is_stopping = True
        self.kick()
        deadline = asyncio.get_running_loop().time() + grace_s
        await _end(self._runners, deadline)  # first: one may just be claiming
        await _end([task for lane in self._lanes.values() for task in lane.attempts], deadline)

    async def release(self) -> None:
        """Attempt again what was claimed and never recorded; periodic work.

        Raises ``StorageUnavailable``.
        """
        await self._follow_clock()
        if await self._store.release(self._clock.wall(), self._busy):
            self.kick()

    # Working

    async def _run(self, lane: Lane) -> None:
        while not self._is_stopping:
            try:
                wait_s = await self._advance(lane)
            except WsServerError as error:
                log.warning("deliveries not read lane=%s error=%s", self.label(lane.name), error)
                wait_s = RETRY_S
            except Exception:  # the queue of a lane must not end
                log.exception("deliveries failed lane=%s", self.label(lane.name))
                wait_s = RETRY_S
            if wait_s > 0:
                await lane.wait(wait_s)

    async def _advance(self, lane: Lane) -> float:
        """Begin the attempts that may begin; returns the seconds until there may be more."""
        await self._follow_clock()
        room = lane.room(self._clock.monotonic())
        if not room:
            is_full = len(lane.attempts) >= lane.limits.concurrency
            return IDLE_S if is_full else max(lane.pace.wait_s, 0.001)
        if not lane.has_backlog:  # an idle queue writes nothing
            due = await self._store.next_due(lane.name, self._clock.wall())
            wait_s = IDLE_S if due is None else due - self._clock.wall()
            if wait_s > 0:
                return min(max(wait_s, 0.01), IDLE_S)
        now = self._clock.wall()
        lease = Lease(self._owner, now + lane.limits.timeout_s + LEASE_EXTRA_S)
        claimed = await self._store.claim(lane.name, now, room, lease)
        lane.pace.take(len(claimed))
        lane.has_backlog = len(claimed) >= room
        for each in claimed:
            task = self._tasks.spawn(self._deliver(lane, each, lease), name=each.delivery_id)
            self._busy.update(each.ids)
            lane.attempts.add(task)
            task.add_done_callback(partial(self._ended, lane, each.ids))
        return 0

    def _ended(self, lane: Lane, ids: Sequence[int], task: asyncio.Task[Any]) -> None:
        self._busy.difference_update(ids)
        lane.attempts.discard(task)
        lane.wake.set()

    async def _deliver(self, lane: Lane, claimed: C, lease: Lease) -> None:
        result = await self.attempt(lane.name, claimed)
        recorded: dict[int, str] = {}

        def late(states: dict[int, str] | None) -> None:
            recorded.update(states or {})  # before they are recorded again, without a lease

        while True:  # however long storage refuses it: not recorded, it would be sent again
            try:
                recorded.update(await self._store.record(lease, result, late))
                break
            except WsServerError as error:
                id_ = claimed.delivery_id
                log.warning("delivery not recorded yet delivery_id=%s error=%s", id_, error)
                await asyncio.sleep(RETRY_S)
        self.recorded(lane.name, claimed, result, recorded)

    async def _follow_clock(self) -> None:
        """Where the wall clock was set back, move what waits by as much."""
        if not self._setbacks.seconds():
            self._setbacks_checked_at = self._clock.monotonic()
            return
        async with self._moving:  # by one lane, once
            back_s = self._setbacks.seconds()
            if not back_s:
                return
            now = self._clock.wall()
            since = now - (self._clock.monotonic() - self._setbacks_checked_at)
            count = await self._store.bring_forward(back_s, since, now)
            self._setbacks.done()
        if not count:
            return
        log.warning(
            "deliveries moved as the clock was set back queue=%s seconds=%.0f count=%d",
            self._name,
            back_s,
            count,
        )
        self.kick()


async def _end(tasks: Iterable[asyncio.Task[Any]], deadline: float) -> None:
    """Let tasks finish until the deadline, in seconds of the loop's clock; then cancel them."""
    running = [*tasks]
    if running:
        timeout_s = max(deadline - asyncio.get_running_loop().time(), 0)
        await asyncio.wait(running, timeout=timeout_s)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
