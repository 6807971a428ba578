"""JPush (极光): a push service for Android, iOS and HarmonyOS in mainland China (v3)."""

from __future__ import annotations

import base64
import json
from typing import Any

from wsserver.clock import Clock
from wsserver.extensions.mobile_push.options import PushApp, master_secret
from wsserver.extensions.mobile_push.platform_client import PlatformClient
from wsserver.extensions.mobile_push.text import Shown, fields_of, fitted
from wsserver.notifications.channels.base import Notice, Outcome, failed, retry, sent
from wsserver.notifications.channels.push_payload import ttl_s
from wsserver.notifications.http import HttpAnswer, NoAnswer, retry_after_s

URL = "https://api.jpush.cn"
PAYLOAD_LIMIT_BYTES = 3500
"""Of the notification for one platform; iOS takes the least."""
LONGEST_TTL_S = 10 * 86_400

NO_TARGET = 1011
PASSING = frozenset({1000, 2002})


class JPushProvider:
    """Sends to the devices of an app by their registration ids."""

    platform = "jpush"

    def __init__(self, name: str, app: PushApp, clock: Clock) -> None:
        self.app = name
        pair = f"{app.app_key}:{master_secret(app)}".encode()
        self._authorization = f"Basic {base64.b64encode(pair).decode()}"
        self._is_production = not app.sandbox
        self._clock = clock
        self._client = PlatformClient(app.url or URL, app.ca_file)

    async def send(self, notice: Notice, token: str) -> tuple[Outcome, bool]:
        """Make one attempt; and whether the token is dead."""
        job = notice.job
        life_s = min(ttl_s(job, self._clock.wall()), LONGEST_TTL_S)

        def body(shown: Shown) -> dict[str, Any]:
            extras = fields_of(job, shown)
            alert = {"title": shown.title, "body": shown.message}
            ios: dict[str, Any] = {"alert": alert, "extras": extras, "sound": "default"}
            android: dict[str, Any] = {
                "alert": shown.message,
                "title": shown.title,
                "extras": extras,
            }
            hmos: dict[str, Any] = {"alert": shown.message, "title": shown.title, "extras": extras}
            if notice.badge is not None:
                ios["badge"] = notice.badge
                android["badge_set_num"] = notice.badge
            return {
                "platform": "all",
                "audience": {"registration_id": [token]},
                "notification": {"android": android, "ios": ios, "hmos": hmos},
                "options": {
                    "time_to_live": life_s,
                    "apns_production": self._is_production,
                    "apns_collapse_id": job.notification_id[-64:],
                },
            }

        # Each platform gets its own third of it.
        payload = fitted(job, 3 * PAYLOAD_LIMIT_BYTES, body)
        headers = {"authorization": self._authorization, "content-type": "application/json"}
        try:
            answer = await self._client.post("/v3/push", headers, payload)
        except NoAnswer as error:
            return retry(f"jpush: {error}"), False
        return self._judge(answer)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _judge(self, answer: HttpAnswer) -> tuple[Outcome, bool]:
        if answer.status == 200:
            return sent(), False
        code = code_of(answer.body)
        detail = f"jpush {answer.status}: {code}" if code else f"jpush {answer.status}"
        if code == NO_TARGET:
            return failed(detail), True
        if code in PASSING or answer.status in (429, 500, 502, 503, 504):
            wait_s = retry_after_s(answer.headers.get("retry-after"), self._clock.wall())
            return retry(detail, wait_s), False
        return failed(detail), False


def code_of(body: bytes) -> int:
    """The number of an error; 0 for an answer that has none."""
    try:
        code = json.loads(body)["error"]["code"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return 0
    return code if isinstance(code, int) else 0
