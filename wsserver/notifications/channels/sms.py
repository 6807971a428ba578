"""SMS channel: the first provider that accepts a message sends it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Protocol

from wsserver.addresses.contact import parse_phone
from wsserver.notifications.channels.base import Job, Limits, Outcome, failed, retry, sent
from wsserver.notifications.channels.wording import short_text
from wsserver.protocol.notifications import ChannelName, Contact

LIMITS = Limits(concurrency=4, rate_per_s=5.0, timeout_s=60.0)


class SmsProvider(Protocol):
    """Provider of short messages."""

    @property
    def needs_phone(self) -> bool:
        """Whether it sends to a phone number; False: to a fixed target, such as a chat group."""

    async def send(self, job: Job, phone: str | None, text: str) -> Outcome:
        """Make one attempt; ``phone`` in E.164 form, None only if ``needs_phone`` is False."""

    async def close(self) -> None:
        """Release resources."""


@dataclass(eq=False, repr=False)
class SmsChannel:
    """Tries the providers in their order, until one accepts the message."""

    providers: Sequence[SmsProvider]
    _: KW_ONLY
    frontend_url: str | None
    limits: Limits = LIMITS

    name: ClassVar[ChannelName] = "sms"

    @property
    def is_configured(self) -> bool:
        """Whether there is a provider."""
        return bool(self.providers)

    def has_address(self, contact: Contact) -> bool:
        """Whether the user has a phone number, or a provider needs none."""
        return bool(contact.phone) or any(not each.needs_phone for each in self.providers)

    async def send(self, job: Job) -> Outcome:
        """Try the providers one after the other.

        If all refuse, it is retried unless all failures are permanent.
        """
        try:
            phone = parse_phone(job.contact.phone) if job.contact.phone else None
        except ValueError as error:
            return failed(f"the number {error}")
        text = short_text(job, self.frontend_url)
        refusals: list[Outcome] = []
        for provider in self.providers:
            if phone is None and provider.needs_phone:
                continue
            outcome = await provider.send(job, phone, text)
            if outcome.result == "sent":
                return sent("; ".join([*(each.detail for each in refusals), outcome.detail]))
            refusals.append(outcome)
        if not refusals:
            return failed("no provider for a user without a number")
        detail = "; ".join(each.detail for each in refusals)
        passing = [each for each in refusals if each.result == "retry"]
        if not passing:
            return failed(detail)
        waits = [each.retry_after_s or 0.0 for each in passing]
        return retry(detail, min(waits) or None)

    async def close(self) -> None:
        """Close the providers."""
        for provider in self.providers:
            await provider.close()
