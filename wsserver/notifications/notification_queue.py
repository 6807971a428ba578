"""Queue of notifications: each channel is a lane; quiet hours, digests, tenants, expiry."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from wsserver.clock import Clock
from wsserver.errors import WsServerError
from wsserver.notifications.channels.base import Channel, Job, Limits, Outcome, failed
from wsserver.notifications.delivery_policy import Retries, quiet_until
from wsserver.notifications.delivery_queue import CLAIM_LIMIT, GRACE_S, RETRY_S, DeliveryQueue
from wsserver.notifications.metrics import NotificationMetrics
from wsserver.notifications.templates import Renderer
from wsserver.protocol.notifications import CHANNELS, ChannelName, Contact
from wsserver.realtime.access.tenancy import Tenancy
from wsserver.realtime.observability import events
from wsserver.storage.engine.leased_table import Result
from wsserver.storage.notifications.deliveries import Claimed, DeliveryStore
from wsserver.tasks import Tasks

log = logging.getLogger(__name__)

SETTLED_S = 60.0
"""Age of a notification from which the organizations of its recipients are looked up again."""
QUIET_HOURS = "quiet_hours"
"""Reason of a pending delivery: it waits for the end of the user's quiet hours."""
UNCONFIGURED = Limits(CLAIM_LIMIT, 1000.0, 0.0)
"""Limits of a lane without a channel: nothing is sent."""

Emit = Callable[..., None]
"""``EventBus.emit``."""


class NotificationQueue(DeliveryQueue[Claimed]):
    """Delivers notifications by their channels.

    ``channels`` may lack some: deliveries by them are ``not_configured``.
    """

    def __init__(
        self,
        *,
        store: DeliveryStore,
        channels: Mapping[ChannelName, Channel],
        renderer: Renderer,
        retries: Retries,
        metrics: NotificationMetrics,
        tenancy: Tenancy,
        emit: Emit,
        clock: Clock,
        tasks: Tasks,
        delivered: Callable[[str], None],
    ) -> None:
        """``delivered``: called with a user who has got a notification by socket."""
        self._channels: Mapping[Any, Channel] = channels
        lanes: dict[str, Limits] = {
            name: channels[name].limits if name in channels else UNCONFIGURED for name in CHANNELS
        }
        super().__init__(store, lanes, retries=retries, clock=clock, tasks=tasks)
        self._deliveries = store
        self._renderer = renderer
        self._metrics = metrics
        self._tenancy = tenancy
        self._emit = emit
        self._delivered = delivered

    async def stop(self, grace_s: float = GRACE_S) -> None:
        """Stop as ``DeliveryQueue`` does, then close all channels, also if one of them fails."""
        await super().stop(grace_s)
        for name, channel in self._channels.items():
            try:
                await channel.close()
            except Exception:  # the edge to a provider's library; logged
                log.exception("channel not closed channel=%s", name)

    async def expire(self) -> None:
        """End deliveries whose time is over; periodic work. Raises ``StorageUnavailable``."""
        now = self._clock.wall()
        while ended := await self._deliveries.expire(now):
            for each in ended:
                self._metrics.of(each.channel).expired += 1
                fields = each._asdict()
                detail = "never sent" if fields.pop("is_pending") else "never acknowledged"
                self._emit(events.NOTIFICATION_FAILED, **fields, state="expired", detail=detail)

    async def attempt(self, lane: str, claimed: Claimed) -> Result:
        """Send a delivery by its channel, or decide why that is not possible now."""
        now = self._clock.wall()
        claimed, has_moved = await self._by_organization(claimed, now)
        if has_moved:
            return Result(claimed.ids, "cancelled", None, now, None)
        channel = self._channels.get(lane)
        if channel is None or not channel.is_configured:
            return Result(claimed.ids, "not_configured", None, now, None)
        if not channel.has_address(claimed.contact):
            return Result(claimed.ids, "no_address", None, now, None)
        is_inbox = lane == "websocket"
        if not is_inbox and claimed.type != "urgent":
            until = _quiet_until(claimed, now)
            if until is not None:
                return Result(claimed.ids, "pending", until, now, None, QUIET_HOURS)
        # The inbox is our own storage: there is no last attempt.
        return await self._send(
            lane, claimed, self._send_job(channel, claimed), gives_up=not is_inbox
        )

    def recorded(
        self, lane: str, claimed: Claimed, result: Result, states: Mapping[int, str]
    ) -> None:
        """Count, emit and log the result for a delivery and its companions."""
        metrics = self._metrics.of(lane)
        for each in (claimed, *claimed.companions):
            state = states.get(each.id)
            if state == "pending" and result.outcome is not None:
                metrics.retried += 1
            if result.state not in ("sent", "failed") or state is None:
                continue
            is_sent = result.state == "sent"
            if is_sent:
                metrics.sent += 1
            else:
                metrics.failed += 1
            self._emit(
                events.NOTIFICATION_SENT if is_sent else events.NOTIFICATION_FAILED,
                notification_id=each.notification_id,
                delivery_id=each.delivery_id,
                user_id=each.user_id,
                channel=lane,
                state=state,
                attempt=each.number + 1,
                detail=result.detail,
            )
            # A broadcast is thousands of these.
            is_routine = lane == "websocket" and is_sent
            if is_routine:
                self._delivered(each.user_id)
            log.log(
                logging.DEBUG if is_routine else logging.INFO,
                "delivery tried state=%s channel=%s delivery_id=%s notification_id=%s user_id=%s"
                " attempt=%d",
                result.state,
                lane,
                each.delivery_id,
                each.notification_id,
                each.user_id,
                each.number + 1,
            )

    async def _by_organization(self, claimed: Claimed, now: float) -> tuple[Claimed, bool]:
        """Apply the current organization of the user to a delivery.

        Returns the delivery, without the contact if another organization's manager entered it, and
        whether the notification is for an organization that the user no longer belongs to.
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

    async def _send_job(self, channel: Channel, claimed: Claimed) -> Outcome:
        try:
            job = self._job(claimed)
        except (WsServerError, msgspec.MsgspecError) as error:
            return failed(f"cannot be rendered: {error}")
        return await channel.send(job)

    def _job(self, claimed: Claimed) -> Job:
        locale = claimed.contact.locale or self._renderer.locale
        rendered = [
            self._renderer.render(each.type, each.template, each.content, locale)
            for each in (claimed, *claimed.companions)
        ]
        text = self._renderer.digest(rendered, locale, is_daily=claimed.is_daily)
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


def _quiet_until(claimed: Claimed, now: float) -> float | None:
    """The end of the quiet hours; None also for a time zone that no longer exists.

    Those that the user has chosen, else those of the contacts.
    """
    hours = claimed.preferences.quiet_hours or claimed.contact.quiet_hours
    try:
        return quiet_until(hours, now)
    except ValueError as error:  # the system's time zones have changed: rather now than never
        log.warning("quiet hours not kept user_id=%s error=%s", claimed.user_id, error)
        return None
