"""APNs: Apple's push service, with a signed token for each 40 minutes (HTTP/2 only)."""

from __future__ import annotations

import json
import uuid

import jwt

from wsserver.clock import Clock
from wsserver.extensions.mobile_push.options import PushApp, apns_key
from wsserver.extensions.mobile_push.platform_client import PlatformClient
from wsserver.extensions.mobile_push.text import Shown, fields_of, fitted, is_pressing
from wsserver.notifications.channels.base import Notice, Outcome, failed, retry, sent
from wsserver.notifications.http import HttpAnswer, NoAnswer, retry_after_s

URL, SANDBOX_URL = "https://api.push.apple.com", "https://api.sandbox.push.apple.com"
PAYLOAD_LIMIT_BYTES = 4096
TOKEN_AGE_S = 40 * 60
"""Apple takes them for an hour, and a new one at most every 20 minutes."""
COLLAPSE_LIMIT = 64

DEAD = frozenset({"BadDeviceToken", "DeviceTokenNotForTopic", "Unregistered", "ExpiredToken"})
RENEW = frozenset({"ExpiredProviderToken", "InvalidProviderToken"})
_SPACE = uuid.UUID("6f1e0c2b-9a7d-4835-8c1e-3b5a7d9f2e46")
"""For ids of notifications, which are UUIDs there."""


class ApnsProvider:
    """Sends to the devices of an app of Apple's platforms."""

    platform = "apns"

    def __init__(self, name: str, app: PushApp, clock: Clock) -> None:
        self.app = name
        self._options = app
        self._key = apns_key(app)
        self._clock = clock
        url = app.url or (SANDBOX_URL if app.sandbox else URL)
        self._client = PlatformClient(url, app.ca_file)
        self._token = ""
        self._signed_at = float("-inf")

    async def send(self, notice: Notice, token: str) -> tuple[Outcome, bool]:
        """Make one attempt; and whether the token is dead."""
        if not (token.isascii() and token.isalnum()):
            return failed("apns: the token is none"), True
        job = notice.job

        def body(shown: Shown) -> dict[str, object]:
            alert = {"title": shown.title, "body": shown.message}
            aps: dict[str, object] = {"alert": alert}
            if notice.badge is not None:
                aps["badge"] = notice.badge
            if is_pressing(job):
                aps["sound"] = "default"
            return {"aps": aps, **fields_of(job, shown)}

        headers = {
            "authorization": f"bearer {self._provider_token()}",
            "content-type": "application/json",
            "apns-topic": self._options.topic,
            "apns-push-type": "alert",
            # The same at each attempt of a delivery.
            "apns-id": str(uuid.uuid5(_SPACE, job.delivery_id)),
            "apns-expiration": str(int(job.expires_at)),
            "apns-priority": "10" if is_pressing(job) else "5",
            "apns-collapse-id": job.notification_id[-COLLAPSE_LIMIT:],
        }
        payload = fitted(job, PAYLOAD_LIMIT_BYTES, body)
        try:
            answer = await self._client.post(f"/3/device/{token}", headers, payload)
        except NoAnswer as error:
            return retry(f"apns: {error}"), False
        return self._judge(answer)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _judge(self, answer: HttpAnswer) -> tuple[Outcome, bool]:
        if answer.status == 200:
            return sent(), False
        reason = reason_of(answer.body)
        detail = f"apns {answer.status}: {reason}" if reason else f"apns {answer.status}"
        if reason in DEAD or answer.status == 410:
            return failed(detail), True
        if reason in RENEW and answer.status == 403:
            self._signed_at = float("-inf")
            return retry(detail), False
        if answer.status in (429, 500, 502, 503, 504):
            wait_s = retry_after_s(answer.headers.get("retry-after"), self._clock.wall())
            return retry(detail, wait_s), False
        return failed(detail), False

    def _provider_token(self) -> str:
        """The signed token, renewed in time; a fraction of a millisecond of arithmetic."""
        now = self._clock.monotonic()
        if now - self._signed_at > TOKEN_AGE_S:
            self._token = jwt.encode(
                {"iss": self._options.team_id, "iat": int(self._clock.wall())},
                self._key,
                algorithm="ES256",
                headers={"kid": self._options.key_id},
            )
            self._signed_at = now
        return self._token


def reason_of(body: bytes) -> str:
    """Apple's word for an error; "" for an answer that has none."""
    try:
        reason = json.loads(body)["reason"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return reason if isinstance(reason, str) and reason.isalpha() and len(reason) < 64 else ""
