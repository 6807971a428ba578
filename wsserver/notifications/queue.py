"""Deliveries that are due are tried, each channel at its own pace, until they have an end."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec

from wsserver.clock import Clock, Setbacks
from wsserver.errors import WsServerError
from wsserver.notifications.channels.base import Channel, Job, Outcome, failed, retry
from wsserver.notifications.content import Content
from wsserver.notifications.metrics import Figures
from wsserver.notifications.rules import DigestRule, Pace, Retries, after, quiet_until
from wsserver.protocol.notifications import CHANNELS, ChannelName, Contact
from wsserver.realtime.access.tenancy import Tenancy
from wsserver.realtime.observability import events
from wsserver.storage.notifications.deliveries import Claimed, DeliveryStore, Result
from wsserver.tasks import Tasks

log = logging.getLogger(__name__)

CLAIM_LIMIT = 200
IDLE_S = 5.0
"""The queue is looked at this often though nobody has said that there is something new."""
RETRY_S = 1.0
"""Until storage that refused is asked again."""
LEASE_PERIOD_S = 10.0
"""``release`` is called so often."""
LEASE_EXTRA_S = 60.0
"""A lease outlives the longest attempt by this, for recording its outcome."""
SETTLED_S = 60.0
"""For so long a recipient counts as belonging where it did when the notification was accepted."""
GRACE_S = 3.0
"""At the end of the server, attempts may take so long: what is broken off is made twice."""

Emit = Callable[..., None]
"""``EventBus.emit``."""


@dataclass(eq=False)
class Lane:
    """One channel's way through the queue."""

    name: ChannelName
    channel: Channel | None
    pace: Pace
    news: asyncio.Event = field(default_factory=asyncio.Event)
    under_way: set[asyncio.Task[Any]] = field(default_factory=set)

    @property
    def concurrency(self) -> int:
        """How many attempts may be under way."""
        return CLAIM_LIMIT if self.channel is None else self.channel.limits.concurrency

    def room(self, now: float) -> int:
        """How many attempts may begin; ``now`` in monotonic seconds."""
        free = self.concurrency - len(self.under_way)
        return max(0, min(free, self.pace.available(now), CLAIM_LIMIT))

    async def wait(self, seconds: float) -> None:
        """Wait for news, but no longer than this."""
        try:
            async with asyncio.timeout(seconds):  # wait_for may swallow a cancellation
                await self.news.wait()
        except TimeoutError:
            pass
        self.news.clear()


class DeliveryQueue:
    """Takes what is due from storage, tries it, records what came of it.

    Each channel has a task and limits of its own, so that none waits for another. ``channels`` may
    lack some: deliveries by them are ``not_configured``.
    """

    def __init__(
        self,
        *,
        store: DeliveryStore,
        channels: Mapping[ChannelName, Channel],
        content: Content,
        retries: Retries,
        digest: DigestRule,
        figures: Figures,
        tenancy: Tenancy,
        emit: Emit,
        clock: Clock,
        tasks: Tasks,
    ) -> None:
        self._store = store
        self._content = content
        self._retries = retries
        self._digest = digest
        self._figures = figures
        self._tenancy = tenancy
        self._emit = emit
        self._clock = clock
        self._setbacks = Setbacks(clock)
        self._tasks = tasks
        self._owner = uuid.uuid4().hex
        self._busy: set[int] = set()
        """Deliveries that are being tried: the wall clock may say that their leases are over."""
        self._is_stopping = False
        self._runners: list[asyncio.Task[Any]] = []
        self._lanes = {
            name: Lane(name, channel, _pace_of(channel, clock))
            for name in CHANNELS
            for channel in [channels.get(name)]
        }

    # Life

    async def start(self) -> None:
        """Take up what an earlier run has left, and begin. Raises ``StorageUnavailable``."""
        left = await self._store.release(self._owner, self._clock.wall())
        if left:
            log.warning("deliveries interrupted by the last stop are tried again count=%d", left)
        self._runners = [
            self._tasks.spawn(self._run(lane), name=f"deliveries {lane.name}")
            for lane in self._lanes.values()
        ]

    @property
    def under_way(self) -> int:
        """How many attempts have begun and are not recorded yet."""
        return sum(len(lane.under_way) for lane in self._lanes.values())

    def kick(self, channel: str | None = None) -> None:
        """Something new may be due."""
        for lane in self._lanes.values():
            if channel in (None, lane.name):
                lane.news.set()

    async def stop(self, grace_s: float = GRACE_S) -> None:
        """Begin nothing any more; what is under way is given a moment, then left for the next run.

        What is broken off has its lease still: the next run tries it again.
        """
        self._is_stopping = True
        self.kick()
        loop = asyncio.get_running_loop()
        until = loop.time() + grace_s
        if self._runners:  # one of them may just be claiming
            await asyncio.wait(self._runners, timeout=grace_s)
        under_way = [task for lane in self._lanes.values() for task in lane.under_way]
        if under_way:
            await asyncio.wait(under_way, timeout=max(until - loop.time(), 0))
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        for lane in self._lanes.values():
            if lane.channel is not None:
                await lane.channel.close()

    async def release(self) -> None:
        """Make due again whose lease has run out; periodic work. Raises ``StorageUnavailable``.

        Where the wall clock was set back, what is due by it is brought forward as much.
        """
        back_s = self._setbacks.seconds()
        if back_s:
            now = self._clock.wall()
            count = await self._store.bring_forward(back_s, now - LEASE_PERIOD_S, now)
            self._setbacks.done()
            log.warning(
                "deliveries moved as the clock was set back seconds=%.0f count=%d", back_s, count
            )
            self.kick()
        if await self._store.release(self._owner, self._clock.wall(), self._busy):
            self.kick()

    async def expire(self) -> None:
        """End what has run out of time; periodic work. Raises ``StorageUnavailable``."""
        now = self._clock.wall()
        first = await self._store.next_expiry()
        if first is None or first > now:
            return
        while ended := await self._store.expire(now):
            for each in ended:
                self._figures.of(each.channel).expired += 1
                self._emit(
                    events.NOTIFICATION_FAILED,
                    notification_id=each.notification_id,
                    delivery_id=each.delivery_id,
                    user_id=each.user_id,
                    channel=each.channel,
                    state="expired",
                    detail="never sent" if each.is_pending else "nobody came for it",
                )

    # Working

    async def _run(self, lane: Lane) -> None:
        while not self._is_stopping:
            try:
                wait_s = await self._advance(lane)
            except WsServerError as error:
                log.warning("deliveries not read channel=%s error=%s", lane.name, error)
                wait_s = RETRY_S
            except Exception:  # the queue of a channel must not end
                log.exception("deliveries failed channel=%s", lane.name)
                wait_s = RETRY_S
            if wait_s > 0:
                await lane.wait(wait_s)

    async def _advance(self, lane: Lane) -> float:
        """Begin what may begin; answers for how long there is nothing to do then."""
        room = lane.room(self._clock.monotonic())
        if not room:
            is_full = len(lane.under_way) >= lane.concurrency
            return IDLE_S if is_full else max(lane.pace.wait_s, 0.001)
        due = await self._store.next_due(lane.name, self._clock.wall())
        now = self._clock.wall()
        if due is None or due > now:  # an idle queue writes nothing
            return IDLE_S if due is None else min(max(due - now, 0.01), IDLE_S)
        timeout_s = 0.0 if lane.channel is None else lane.channel.limits.timeout_s
        claimed = await self._store.claim(
            lane.name,
            now,
            room,
            owner=self._owner,
            lease_until=now + timeout_s + LEASE_EXTRA_S,
            held_until=self._digest.held_until,
        )
        lane.pace.take(len(claimed))
        for each in claimed:
            task = self._tasks.spawn(self._attempt(lane, each), name=f"delivery {lane.name}")
            self._busy.update(each.ids)
            lane.under_way.add(task)
            task.add_done_callback(partial(self._ended, lane, each.ids))
        return 0

    def _ended(self, lane: Lane, ids: Sequence[int], task: asyncio.Task[Any]) -> None:
        self._busy.difference_update(ids)
        lane.under_way.discard(task)
        lane.news.set()

    async def _attempt(self, lane: Lane, claimed: Claimed) -> None:
        now = self._clock.wall()
        claimed, is_outside = await self._by_organization(claimed, now)
        if is_outside:
            result: Result | None = Result(claimed.ids, "cancelled", None, now, None)
        else:
            result = self._without_trying(lane, claimed, now)
        if result is None and lane.channel is not None:
            outcome = await self._try(lane.channel, claimed)
            now = self._clock.wall()
            next_ = after(
                outcome,
                attempt=claimed.attempt,
                now=now,
                retries=self._retries,
                gives_up=lane.name != "websocket",
            )
            result = Result(
                claimed.ids, next_.state, next_.due_at, now, outcome.result, outcome.detail
            )
        assert result is not None  # noqa: S101 - without a channel nothing is tried
        states = await self._record(result)
        self._tell(lane.name, claimed, result, states)

    async def _by_organization(self, claimed: Claimed, now: float) -> tuple[Claimed, bool]:
        """What the user's organization makes of a delivery.

        Without the contact where another organization's manager has entered it. True: the
        notification is for one organization, and the user has come to belong to another since.
        """
        is_old = now - claimed.at > SETTLED_S
        own = claimed.organization_id if is_old else None
        if claimed.contact_owner is None and own is None:
            return claimed, False
        while True:
            try:
                known = await self._tenancy.organizations_of([claimed.user_id])
                break
            except WsServerError as error:
                log.warning("organization of a recipient not read error=%s", error)
                await asyncio.sleep(RETRY_S)
        belongs_to = known.get(claimed.user_id)
        if claimed.contact_owner not in (None, belongs_to):
            claimed = claimed._replace(contact=Contact(user_id=claimed.user_id))
        return claimed, own is not None and belongs_to not in (None, own)

    def _without_trying(self, lane: Lane, claimed: Claimed, now: float) -> Result | None:
        """What becomes of a delivery that cannot, or must not, be tried now; None: it can."""
        if lane.channel is None or not lane.channel.is_configured:
            return Result(claimed.ids, "not_configured", None, now, None)
        if not lane.channel.has_address(claimed.contact):
            return Result(claimed.ids, "no_address", None, now, None)
        if lane.name == "websocket" or claimed.type == "urgent":
            return None
        try:
            until = quiet_until(claimed.contact.quiet_hours, now)
        except ValueError as error:  # the system's time zones have changed: rather now than never
            log.warning("quiet hours not kept user_id=%s error=%s", claimed.user_id, error)
            return None
        return None if until is None else Result(claimed.ids, "pending", until, now, None)

    async def _try(self, channel: Channel, claimed: Claimed) -> Outcome:
        try:
            job = self._job(claimed)
        except (WsServerError, msgspec.MsgspecError) as error:
            return failed(f"cannot be put into words: {error}")
        timeout_s = channel.limits.timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                return await channel.send(job)
        except TimeoutError:
            return retry(f"no answer within {timeout_s:g} s")
        except Exception as error:  # the edge to a provider; logged
            log.exception(
                "channel failed channel=%s delivery_id=%s", channel.name, claimed.delivery_id
            )
            return retry(f"internal error: {type(error).__name__}")

    def _job(self, claimed: Claimed) -> Job:
        locale = claimed.contact.locale or self._content.locale
        rendered = [
            self._content.render(each.type, each.template, each.content, locale)
            for each in (claimed, *claimed.companions)
        ]
        text = self._content.digest(rendered, locale)
        return Job(
            delivery_id=claimed.delivery_id,
            notification_id=claimed.notification_id,
            user_id=claimed.user_id,
            attempt=claimed.number + 1,
            title=text.title,
            message=text.message,
            type=text.type,
            action_url=text.action_url,
            auto_close=text.auto_close,
            created_at=claimed.at,
            expires_at=claimed.expires_at,
            locale=locale,
            contact=claimed.contact,
        )

    async def _record(self, result: Result) -> dict[int, str]:
        """Record an outcome, however long storage refuses it: the lease is ours meanwhile."""
        while True:
            try:
                return await self._store.record(self._owner, [result])
            except WsServerError as error:
                log.warning("outcome of a delivery not recorded error=%s", error)
                await asyncio.sleep(RETRY_S)

    def _tell(
        self, channel: ChannelName, claimed: Claimed, result: Result, states: Mapping[int, str]
    ) -> None:
        figures = self._figures.of(channel)
        for each in (claimed, *claimed.companions):
            state = states.get(each.id)
            if state == "pending" and result.outcome is not None:
                figures.retried += 1
            if result.state not in ("sent", "failed") or state is None:
                continue
            is_sent = result.state == "sent"
            if is_sent:
                figures.sent += 1
            else:
                figures.failed += 1
            self._emit(
                events.NOTIFICATION_SENT if is_sent else events.NOTIFICATION_FAILED,
                notification_id=each.notification_id,
                delivery_id=each.delivery_id,
                user_id=each.user_id,
                channel=channel,
                state=state,
                attempt=each.number + 1,
                detail=result.detail,
            )
            # A broadcast is thousands of these.
            is_routine = channel == "websocket" and is_sent
            log.log(
                logging.DEBUG if is_routine else logging.INFO,
                "delivery tried state=%s channel=%s delivery_id=%s notification_id=%s user_id=%s"
                " attempt=%d",
                result.state,
                channel,
                each.delivery_id,
                each.notification_id,
                each.user_id,
                each.number + 1,
            )


def _pace_of(channel: Channel | None, clock: Clock) -> Pace:
    rate_per_s = 1000.0 if channel is None else channel.limits.rate_per_s
    return Pace(rate_per_s, clock.monotonic())
