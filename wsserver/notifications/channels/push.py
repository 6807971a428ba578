"""Push channel: to the browsers and the apps of a user, by Web Push and by push platforms."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, ClassVar

from wsserver.errors import WsServerError
from wsserver.notifications.channels.base import (
    Job,
    Limits,
    Notice,
    Outcome,
    PushProvider,
    PushSubscriptions,
    failed,
    retry,
    sent,
)
from wsserver.notifications.channels.web_push import WebPush
from wsserver.protocol.notifications import ChannelName, Contact, Device, PushSubscription

log = logging.getLogger(__name__)

LIMITS = Limits(concurrency=20, rate_per_s=100.0, timeout_s=30.0)


@dataclass(eq=False, repr=False)
class PushChannel:
    """Sends to all browsers and devices of a user concurrently; dead ones are deleted.

    ``web`` None: browsers are not reached. ``badge`` returns the number of unread messages of a
    user, for the icons of apps; without an answer the icons stay as they are.
    """

    web: WebPush | None
    subscriptions: PushSubscriptions
    _: KW_ONLY
    limits: Limits = LIMITS
    badge: Callable[[str], Awaitable[int]] | None = None
    _providers: dict[tuple[str, str], PushProvider] = field(default_factory=dict)

    name: ClassVar[ChannelName] = "push"

    def add_provider(self, provider: PushProvider) -> None:
        """Reach the devices of a platform with an app."""
        self._providers[provider.platform, provider.app] = provider

    @property
    def is_configured(self) -> bool:
        """Whether browsers or devices can be reached."""
        return self.web is not None or bool(self._providers)

    def has_address(self, contact: Contact) -> bool:
        """Whether the user has a push subscription, or a device that is reached."""
        return bool(contact.push and self.web is not None) or any(
            self._provider_of(device) is not None for device in contact.devices
        )

    async def send(self, job: Job) -> Outcome:
        """Send to each browser and device; sent if one of them accepts it.

        Another attempt would reach that one twice. If none accepts it, it is retried unless all
        failures are permanent.
        """
        attempts: list[Coroutine[Any, Any, Outcome]] = []
        if self.web is not None:
            attempts += [self._to_browser(self.web, job, each) for each in job.contact.push]
        browsers = len(attempts)
        known = [(each, self._provider_of(each)) for each in job.contact.devices]
        devices = [(each, provider) for each, provider in known if provider is not None]
        if devices:
            notice = Notice(job, await self._badge_of(job.user_id))
            attempts += [self._to_device(provider, notice, each) for each, provider in devices]
        if not attempts:
            return failed("no browser and no device")
        outcomes = await asyncio.gather(*attempts)
        return _together(outcomes, "browsers" if browsers == len(attempts) else "devices")

    async def close(self) -> None:
        """Close the connections to platforms."""
        for provider in self._providers.values():
            await provider.close()

    def _provider_of(self, device: Device) -> PushProvider | None:
        """The provider of a device; one that names no app belongs to the only one there is."""
        if device.app is not None:
            return self._providers.get((device.platform, device.app))
        found = [each for (name, _), each in self._providers.items() if name == device.platform]
        return found[0] if len(found) == 1 else None

    async def _badge_of(self, user_id: str) -> int | None:
        if self.badge is None:
            return None
        try:
            return await self.badge(user_id)
        except WsServerError as error:  # the notification is worth more than the number
            log.warning("unread messages not counted user_id=%s error=%s", user_id, error)
            return None

    async def _to_browser(self, web: WebPush, job: Job, subscription: PushSubscription) -> Outcome:
        outcome, is_gone = await web.send(job, subscription)
        if not is_gone:
            return outcome
        forgetting = self.subscriptions.forget_subscription(job.user_id, subscription.endpoint)
        return await self._forget(job.user_id, "subscription", outcome, forgetting)

    async def _to_device(self, provider: PushProvider, notice: Notice, device: Device) -> Outcome:
        try:
            outcome, is_dead = await provider.send(notice, device.token)
        except Exception:  # one platform must not keep the others from sending
            names = provider.platform, provider.app
            log.exception("push platform failed platform=%s app=%s", *names)
            return retry(f"{provider.platform}: internal error")
        if not is_dead:
            return outcome
        user_id = notice.job.user_id
        forgetting = self.subscriptions.forget_device(user_id, device)
        return await self._forget(user_id, "token", outcome, forgetting)

    async def _forget(
        self, user_id: str, what: str, outcome: Outcome, forgetting: Awaitable[bool]
    ) -> Outcome:
        try:
            await forgetting
        except WsServerError as error:  # the next attempt tries again
            log.warning("gone push address not deleted user_id=%s error=%s", user_id, error)
            return failed(f"{outcome.detail}: gone, not deleted yet")
        return failed(f"{outcome.detail}: gone, {what} deleted")


def _together(outcomes: Sequence[Outcome], what: str) -> Outcome:
    """The outcomes of all browsers and devices of a user as one."""
    details = "; ".join(dict.fromkeys(each.detail for each in outcomes if each.result != "sent"))
    taken = sum(each.result == "sent" for each in outcomes)
    detail = f"{taken} of {len(outcomes)} {what}" + (f"; {details}" if details else "")
    if taken:
        return sent(detail)
    passing = [each for each in outcomes if each.result == "retry"]
    if not passing:
        return failed(detail)
    return retry(detail, min(each.retry_after_s or 0.0 for each in passing) or None)
