"""What a channel is: it is given one job at a time, and says what came of it."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

from msgspec import Struct

from wsserver.protocol.notifications import ChannelName, Contact, Locale, NotificationType


class Job(Struct, frozen=True, kw_only=True):
    """One delivery that is due: one notification, to one user, by one channel.

    The text is rendered in the user's language. At least once: after a crash the same job comes
    again with the same ``delivery_id``, which a provider may take as its key against doubles.
    """

    delivery_id: str
    """``delivery_…``: the same at every attempt."""
    notification_id: str
    """``notify_…``."""
    user_id: str
    attempt: int
    """1 at the first."""
    title: str
    """One line, without control characters."""
    message: str
    """May have several lines; where several notifications go as one, it lists them."""
    type: NotificationType
    action_url: str | None
    """Absolute, or a path of the frontend's."""
    auto_close: bool
    created_at: float
    """When the notification was accepted, seconds since the epoch."""
    expires_at: float
    """Seconds since the epoch; the job is not tried after it."""
    locale: Locale
    contact: Contact
    """As it stands now. ``Channel.has_address`` said yes to it just before."""


Result = Literal["sent", "retry", "failed"]


class Outcome(NamedTuple):
    """What came of an attempt. ``detail`` is kept and shown: the provider's answer, no secrets."""

    result: Result
    """``sent``: the provider took it. ``retry``: a fault that may pass. ``failed``: it never will.
    """
    detail: str
    retry_after_s: float | None = None
    """With ``retry``: not before this, as the provider asked (``Retry-After``)."""


def sent(detail: str = "") -> Outcome:
    """The provider took it."""
    return Outcome("sent", detail)


def retry(detail: str, after_s: float | None = None) -> Outcome:
    """It failed in a way that may pass; tried again after the backoff, or ``after_s`` if later."""
    return Outcome("retry", detail, after_s)


def failed(detail: str) -> Outcome:
    """It failed for good, as with a recipient that is unknown: no further attempt."""
    return Outcome("failed", detail)


class Limits(NamedTuple):
    """How much of a channel may go on at once."""

    concurrency: int
    """Attempts under way."""
    rate_per_s: float
    """Attempts begun in a second, on average; as many may come in one burst."""
    timeout_s: float
    """An attempt is broken off after this, and counts as ``retry``."""


class Channel(Protocol):
    """A way out. One object a channel for the whole server; ``send`` runs many times at once."""

    @property
    def name(self) -> ChannelName:
        """Which it is."""
        ...

    @property
    def limits(self) -> Limits:
        """How much of it may go on at once."""
        ...

    @property
    def is_configured(self) -> bool:
        """False: deliveries by it are ``not_configured``, and never tried."""
        ...

    def has_address(self, contact: Contact) -> bool:
        """False: there is nowhere to send to; the delivery is ``no_address``, and never tried."""
        ...

    async def send(self, job: Job) -> Outcome:
        """Try once.

        An exception is logged and counts as ``retry``; a cancellation, at the end of the server or
        past the time limit, must leave nothing open behind.
        """
        ...

    async def close(self) -> None:
        """Give back connections to providers; nothing is sent any more."""
        ...


class PushSubscriptions(Protocol):
    """How the push channel lets go of a browser that is gone (``storage.contacts``)."""

    async def forget_subscription(self, user_id: str, endpoint: str) -> bool:
        """Delete one of a user's subscriptions; False: it was not there.

        Raises ``StorageUnavailable``, ``StorageFull``.
        """
        ...
