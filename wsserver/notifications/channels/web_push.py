"""Web Push: encrypted for one browser, signed with VAPID."""

from __future__ import annotations

import asyncio
from dataclasses import KW_ONLY, dataclass
from importlib import import_module
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from wsserver.addresses.reach import Reach
from wsserver.clock import Clock
from wsserver.errors import UrlForbidden
from wsserver.notifications.channels.base import Job, Outcome, failed, retry
from wsserver.notifications.channels.push_payload import URGENCY, payload_of, ttl_s
from wsserver.notifications.channels.subscriptions import check_subscription
from wsserver.notifications.http import HttpRequest, HttpSend, NoAnswer, Redact, judge
from wsserver.protocol.notifications import PushSubscription

GONE = frozenset({404, 410})
"""Statuses of expired subscriptions (RFC 8030 §7.3)."""
TOKEN_LIFETIME_S = 12 * 3600
"""Push services refuse tokens for more than a day (RFC 8292 §2)."""


@dataclass(eq=False, repr=False)
class WebPush:
    """Sends to browsers. ``http`` must be limited to ``reach``.

    Requires the packages of the extra ``push`` (``ImportError``), which the check of the settings
    reports.
    """

    key: ec.EllipticCurvePrivateKey
    subject: str
    http: HttpSend
    clock: Clock
    _: KW_ONLY
    reach: Reach
    redact: Redact

    def __post_init__(self) -> None:
        self._pusher: Any = import_module("pywebpush").WebPusher
        vapid = import_module("py_vapid")
        self._vapid = vapid.Vapid02(self.key)
        self._vapid_error: Any = vapid.VapidException

    async def send(self, job: Job, subscription: PushSubscription) -> tuple[Outcome, bool]:
        """Make one attempt; and whether the subscription is gone."""
        try:
            request = await asyncio.to_thread(self._request, job, subscription)
            answer = await self.http(request)
        except (UrlForbidden, ValueError, self._vapid_error) as error:
            return failed(str(error)), False
        except NoAnswer as error:
            return retry(str(error)), False
        if answer.status in GONE:
            return failed(str(answer.status)), True
        return judge(answer, self.redact, self.clock.wall()), False

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
