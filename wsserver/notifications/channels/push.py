"""Web Push channel: encrypted for each browser of the user, signed with VAPID."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from importlib import import_module
from typing import Any, ClassVar

from cryptography.hazmat.primitives.asymmetric import ec

from wsserver.addresses.reach import Reach
from wsserver.clock import Clock
from wsserver.errors import UrlForbidden, WsServerError
from wsserver.notifications.channels.base import (
    Job,
    Limits,
    Outcome,
    PushSubscriptions,
    failed,
    retry,
    sent,
)
from wsserver.notifications.channels.push_payload import URGENCY, payload_of, ttl_s
from wsserver.notifications.channels.subscriptions import check_subscription
from wsserver.notifications.http import HttpRequest, HttpSend, NoAnswer, Redact, judge
from wsserver.protocol.notifications import ChannelName, Contact, PushSubscription

log = logging.getLogger(__name__)

LIMITS = Limits(concurrency=20, rate_per_s=100.0, timeout_s=30.0)
GONE = frozenset({404, 410})
"""Statuses of expired subscriptions (RFC 8030 §7.3)."""
TOKEN_LIFETIME_S = 12 * 3600
"""Push services refuse tokens for more than a day (RFC 8292 §2)."""


@dataclass(eq=False, repr=False)
class PushChannel:
    """Sends to all subscriptions of a user concurrently; expired ones are deleted.

    ``key`` None: not configured. ``http`` must be limited to ``reach``. A key requires the packages
    of the extra ``push`` (``ImportError``), which the check of the settings reports.
    """

    key: ec.EllipticCurvePrivateKey | None
    subject: str | None
    http: HttpSend
    subscriptions: PushSubscriptions
    clock: Clock
    _: KW_ONLY
    reach: Reach
    redact: Redact
    limits: Limits = LIMITS

    name: ClassVar[ChannelName] = "push"

    def __post_init__(self) -> None:
        self._vapid: Any = None
        if self.key is not None:
            self._pusher: Any = import_module("pywebpush").WebPusher
            vapid = import_module("py_vapid")
            self._vapid = vapid.Vapid02(self.key)
            self._vapid_error: Any = vapid.VapidException

    @property
    def is_configured(self) -> bool:
        """Whether the VAPID key and the subject (a contact for push services) are configured."""
        return self._vapid is not None and self.subject is not None

    def has_address(self, contact: Contact) -> bool:
        """Whether the user has a push subscription."""
        return bool(contact.push)

    async def send(self, job: Job) -> Outcome:
        """Send to each browser; sent if one of them accepts it.

        Another attempt would reach that browser twice. If none accepts it, it is retried unless
        all failures are permanent.
        """
        if not job.contact.push:
            return failed("no browser")
        outcomes = await asyncio.gather(*[self._send_to(job, each) for each in job.contact.push])
        return _together(outcomes)

    async def close(self) -> None:
        """Nothing to close."""

    async def _send_to(self, job: Job, subscription: PushSubscription) -> Outcome:
        try:
            request = await asyncio.to_thread(self._request, job, subscription)
            answer = await self.http(request)
        except (UrlForbidden, ValueError, self._vapid_error) as error:
            return failed(str(error))
        except NoAnswer as error:
            return retry(str(error))
        if answer.status in GONE:
            return failed(await self._forget(job.user_id, subscription, answer.status))
        return judge(answer, self.redact, self.clock.wall())

    def _request(self, job: Job, subscription: PushSubscription) -> HttpRequest:
        """Encrypt and sign: a millisecond of arithmetic, in a thread."""
        check_subscription(subscription, self.reach)
        keys = {"p256dh": subscription.keys.p256dh, "auth": subscription.keys.auth}
        pusher = self._pusher({"endpoint": subscription.endpoint, "keys": keys})
        body: bytes = pusher.encode(payload_of(job), "aes128gcm")["body"]
        now = self.clock.wall()
        scheme, _, rest = subscription.endpoint.partition("://")
        claims = {
            "aud": f"{scheme}://{rest.partition('/')[0].partition('?')[0]}",
            "exp": int(now) + TOKEN_LIFETIME_S,
            "sub": self.subject,
        }
        headers: dict[str, str] = dict(self._vapid.sign(claims))
        headers |= {
            "Content-Type": "application/octet-stream",
            "Content-Encoding": "aes128gcm",
            "TTL": str(ttl_s(job, now)),
            "Urgency": URGENCY[job.type],
            # Replaces an earlier attempt that waits for an offline browser; at most 32
            # characters (RFC 8030 §5.4).
            "Topic": job.notification_id[-32:],
        }
        return HttpRequest("POST", subscription.endpoint, headers, body)

    async def _forget(self, user_id: str, subscription: PushSubscription, status: int) -> str:
        try:
            await self.subscriptions.forget_subscription(user_id, subscription.endpoint)
        except WsServerError as error:  # the next attempt tries again
            log.warning("gone push subscription not deleted user_id=%s error=%s", user_id, error)
            return f"{status}: gone, not deleted yet"
        return f"{status}: gone, subscription deleted"


def _together(outcomes: Sequence[Outcome]) -> Outcome:
    """The outcomes of all browsers of a user as one."""
    details = "; ".join(dict.fromkeys(each.detail for each in outcomes if each.result != "sent"))
    taken = sum(each.result == "sent" for each in outcomes)
    detail = f"{taken} of {len(outcomes)} browsers" + (f"; {details}" if details else "")
    if taken:
        return sent(detail)
    passing = [each for each in outcomes if each.result == "retry"]
    if not passing:
        return failed(detail)
    return retry(detail, min(each.retry_after_s or 0.0 for each in passing) or None)
