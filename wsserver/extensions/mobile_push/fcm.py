"""FCM: Google's push service (HTTP v1), with an access token of a service account."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlencode

import jwt

from wsserver.clock import Clock
from wsserver.extensions.mobile_push.options import PushApp, service_account
from wsserver.extensions.mobile_push.platform_client import PlatformClient
from wsserver.extensions.mobile_push.text import Shown, fields_of, fitted, is_pressing
from wsserver.notifications.channels.base import Notice, Outcome, failed, retry, sent
from wsserver.notifications.channels.push_payload import ttl_s
from wsserver.notifications.http import HttpAnswer, NoAnswer, retry_after_s

URL = "https://fcm.googleapis.com"
SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
PAYLOAD_LIMIT_BYTES = 4000
"""Google takes 4096 of notification and data."""
RENEWED_BEFORE_S = 300.0
DEFAULT_WAIT_S = 60.0
"""Where Google asks to wait and does not say for how long."""

DEAD = frozenset({"UNREGISTERED", "SENDER_ID_MISMATCH"})
PASSING = frozenset({"QUOTA_EXCEEDED", "UNAVAILABLE", "INTERNAL"})


class FcmProvider:
    """Sends to the devices of an app by Firebase Cloud Messaging."""

    platform = "fcm"

    def __init__(self, name: str, app: PushApp, clock: Clock) -> None:
        self.app = name
        self._account = service_account(app)
        self._clock = clock
        self._client = PlatformClient(app.url or URL, app.ca_file)
        self._token = ""
        self._valid_until = float("-inf")
        self._renewing = asyncio.Lock()

    async def send(self, notice: Notice, token: str) -> tuple[Outcome, bool]:
        """Make one attempt; and whether the token is dead."""
        job = notice.job
        android: dict[str, Any] = {"tag": job.notification_id}
        aps: dict[str, Any] = {}
        if notice.badge is not None:
            android["notification_count"] = notice.badge
            aps["badge"] = notice.badge

        def body(shown: Shown) -> dict[str, Any]:
            return {
                "message": {
                    "token": token,
                    "notification": {"title": shown.title, "body": shown.message},
                    "data": fields_of(job, shown),
                    "android": {
                        "priority": "high" if is_pressing(job) else "normal",
                        "ttl": f"{ttl_s(job, self._clock.wall())}s",
                        "collapse_key": job.notification_id,
                        "notification": android,
                    },
                    "apns": {
                        "headers": {"apns-collapse-id": job.notification_id[-64:]},
                        "payload": {"aps": aps},
                    },
                }
            }

        payload = fitted(job, PAYLOAD_LIMIT_BYTES + len(token), body)
        try:
            access = await self._access_token()
            answer = await self._client.post(
                f"/v1/projects/{self._account.project_id}/messages:send",
                {"authorization": f"Bearer {access}", "content-type": "application/json"},
                payload,
            )
        except NoAnswer as error:
            return retry(f"fcm: {error}"), False
        return self._judge(answer)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _judge(self, answer: HttpAnswer) -> tuple[Outcome, bool]:
        if answer.status == 200:
            return sent(), False
        code, is_ours = code_of(answer.body)
        detail = f"fcm {answer.status}: {code}" if code else f"fcm {answer.status}"
        if code in DEAD or (code == "INVALID_ARGUMENT" and not is_ours):
            return failed(detail), True
        if answer.status == 401 and code != "THIRD_PARTY_AUTH_ERROR":
            self._valid_until = float("-inf")
            return retry(detail), False
        if code in PASSING or answer.status in (429, 500, 502, 503, 504):
            wait_s = retry_after_s(answer.headers.get("retry-after"), self._clock.wall())
            return retry(detail, DEFAULT_WAIT_S if wait_s is None else wait_s), False
        return failed(detail), False

    async def _access_token(self) -> str:
        """The access token, renewed in time by one request; raises ``NoAnswer``."""
        if self._clock.monotonic() < self._valid_until:
            return self._token
        async with self._renewing:
            if self._clock.monotonic() < self._valid_until:
                return self._token
            assertion = await asyncio.to_thread(self._assertion)
            answer = await self._client.post(
                self._account.token_uri,
                {"content-type": "application/x-www-form-urlencoded"},
                urlencode({"grant_type": GRANT, "assertion": assertion}).encode(),
            )
            try:
                document = json.loads(answer.body)
                token, lifetime_s = document["access_token"], float(document["expires_in"])
            except (ValueError, KeyError, TypeError, RecursionError):
                raise NoAnswer(f"no access token ({answer.status})") from None
            if answer.status != 200 or not isinstance(token, str):
                raise NoAnswer(f"no access token ({answer.status})")
            self._token = token
            self._valid_until = self._clock.monotonic() + lifetime_s - RENEWED_BEFORE_S
            return token

    def _assertion(self) -> str:
        now = int(self._clock.wall())
        account = self._account
        claims = {
            "iss": account.client_email,
            "scope": SCOPE,
            "aud": account.token_uri,
            "iat": now,
            "exp": now + 3600,
        }
        return jwt.encode(claims, account.key, algorithm="RS256")


def code_of(body: bytes) -> tuple[str, bool]:
    """Google's code of an error, and whether a field of the request is at fault."""
    try:
        error = json.loads(body)["error"]
        details = error.get("details") or []
        for detail in details:
            if str(detail.get("@type", "")).endswith("FcmError"):
                return _word(detail.get("errorCode")), _has_violations(details)
        return _word(error.get("status")), True
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "", True


def _has_violations(details: list[Any]) -> bool:
    violations = [each for detail in details for each in detail.get("fieldViolations") or []]
    return any(each.get("field") != "message.token" for each in violations)


def _word(value: Any) -> str:
    is_word = isinstance(value, str) and value.replace("_", "").isalnum() and len(value) < 64
    return value if is_word else ""
