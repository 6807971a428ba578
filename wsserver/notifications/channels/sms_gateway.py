"""Any provider of SMS with an HTTP API, by templates of the configuration."""

from __future__ import annotations

import re

from wsserver.clock import Clock
from wsserver.config.gateway import Gateway
from wsserver.errors import UrlForbidden
from wsserver.notifications.channels.base import Job, Outcome, failed, retry
from wsserver.notifications.http import (
    HttpRequest,
    HttpSend,
    NoAnswer,
    Redact,
    describe,
    judge,
)


class SmsGateway:
    """Sends the request that the templates make.

    ``success``: a regular expression that the first 2 KiB of the answer must contain, for gateways
    that answer 200 to what they refuse; what does not may pass.
    """

    needs_phone = True

    def __init__(
        self,
        gateway: Gateway,
        http: HttpSend,
        clock: Clock,
        *,
        redact: Redact,
        success: str | None = None,
    ) -> None:
        self._gateway = gateway
        self._http = http
        self._clock = clock
        self._redact = redact
        self._success = re.compile(success) if success is not None else None

    async def send(self, job: Job, phone: str | None, text: str) -> Outcome:
        """Ask the gateway once."""
        request = self._gateway.render(to=phone or "", text=text, id=job.delivery_id)
        try:
            answer = await self._http(HttpRequest(*request))
        except NoAnswer as error:
            return retry(str(error))
        except UrlForbidden as error:
            return failed(str(error))
        outcome = judge(answer, self._redact, self._clock.wall())
        if outcome.result == "sent" and self._success is not None:
            if not self._success.search(answer.body.decode("utf-8", "replace")):
                return retry(f"not taken: {describe(answer, self._redact)}")
        return outcome

    async def close(self) -> None:
        """Nothing is kept open."""
