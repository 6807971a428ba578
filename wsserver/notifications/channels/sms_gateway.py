"""SMS gateway: an HTTP API, called with the request templates of the configuration."""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, dataclass

from wsserver.clock import Clock
from wsserver.config.gateway import Gateway
from wsserver.errors import UrlForbidden
from wsserver.notifications.body_text import text_of, unescaped
from wsserver.notifications.channels.base import Job, Outcome, failed, retry
from wsserver.notifications.http import HttpRequest, HttpSend, NoAnswer, Redact, describe, judge


@dataclass(eq=False, repr=False)
class SmsGateway:
    """SMS provider that sends the request of the templates.

    ``success``: a regular expression that the first 2 KiB of the answer must match, for gateways
    that answer 200 to messages they refuse; if it does not, the message is retried. It is applied
    to the decoded text, with and without JSON's ``\\uXXXX`` replaced.
    """

    gateway: Gateway
    http: HttpSend
    clock: Clock
    _: KW_ONLY
    redact: Redact
    success: str | None = None

    needs_phone = True

    def __post_init__(self) -> None:
        self._success = re.compile(self.success) if self.success is not None else None

    async def send(self, job: Job, phone: str | None, text: str) -> Outcome:
        """Make one attempt."""
        request = self.gateway.render(to=phone or "", text=text, id=job.delivery_id)
        try:
            answer = await self.http(HttpRequest(*request))
        except NoAnswer as error:
            return retry(str(error))
        except UrlForbidden as error:
            return failed(str(error))
        outcome = judge(answer, self.redact, self.clock.wall())
        if outcome.result == "sent" and self._success is not None:
            text = text_of(answer.headers, answer.body)
            if not any(map(self._success.search, (text, unescaped(text)))):
                return retry(f"not taken: {describe(answer, self.redact)}")
        return outcome

    async def close(self) -> None:
        """Nothing to close."""
