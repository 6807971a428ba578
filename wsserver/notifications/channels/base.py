"""Interface of notification channels: jobs, outcomes, limits."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

from msgspec import Struct

from wsserver.protocol.notifications import ChannelName, Contact, Device, Locale, NotificationType


class Job(Struct, frozen=True, kw_only=True):
    """A delivery to send: one notification, to one user, by one channel.

    The text is rendered in the user's language. At least once: after a crash the same job is sent
    again with the same ``delivery_id``, which providers may use as an idempotency key.
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
    """May have several lines; in a digest, it lists the notifications."""
    type: NotificationType
    action_url: str | None
    """Absolute URL, or a path of the frontend."""
    auto_close: bool
    created_at: float
    """When the notification was accepted, seconds since the epoch."""
    expires_at: float
    """Seconds since the epoch; the job is not sent after it."""
    locale: Locale
    contact: Contact
    """The current contact; ``Channel.has_address`` is true for it."""


Result = Literal["sent", "retry", "failed"]


class Outcome(NamedTuple):
    """Outcome of an attempt. ``detail`` is stored and shown: the provider's answer, no secrets."""

    result: Result
    """``sent``: accepted by the provider. ``retry``: temporary failure. ``failed``: permanent."""
    detail: str
    retry_after_s: float | None = None
    """With ``retry``: the shortest delay, as the provider asked (``Retry-After``)."""


def sent(detail: str = "") -> Outcome:
    """The provider accepted it."""
    return Outcome("sent", detail)


def retry(detail: str, after_s: float | None = None) -> Outcome:
    """Temporary failure; retried after the backoff, or after ``after_s`` if that is longer."""
    return Outcome("retry", detail, after_s)


def failed(detail: str) -> Outcome:
    """Permanent failure, such as an unknown recipient: no further attempt."""
    return Outcome("failed", detail)


class Limits(NamedTuple):
    """Limits of the attempts of a channel."""

    concurrency: int
    """Attempts running at the same time."""
    rate_per_s: float
    """Attempts begun per second, on average; also the largest burst."""
    timeout_s: float
    """An attempt that takes longer is cancelled, and counts as ``retry``."""


class Channel(Protocol):
    """A notification channel, one object for the whole server; ``send`` runs concurrently."""

    @property
    def name(self) -> ChannelName:
        """Name of the channel."""

    @property
    def limits(self) -> Limits:
        """Limits of its attempts."""

    @property
    def is_configured(self) -> bool:
        """False: deliveries by it are ``not_configured``, and never sent."""

    def has_address(self, contact: Contact) -> bool:
        """False: the contact has no address of the channel; the delivery is ``no_address``."""

    async def send(self, job: Job) -> Outcome:
        """Make one attempt.

        An exception is logged and counts as ``retry``. Cancellation, when the server stops or the
        time limit is exceeded, must close connections.
        """

    async def close(self) -> None:
        """Close connections to providers; nothing is sent afterwards."""


class Notice(NamedTuple):
    """What a push platform shows on a device."""

    job: Job
    badge: int | None
    """Unread messages of the user, for the app's icon; None: unknown."""


class PushProvider(Protocol):
    """A push platform for one app, one object for the whole server; ``send`` runs concurrently."""

    @property
    def platform(self) -> str:
        """The platform of the devices that it reaches."""

    @property
    def app(self) -> str:
        """Name of the app."""

    async def send(self, notice: Notice, token: str) -> tuple[Outcome, bool]:
        """Make one attempt for one device; and whether its token is dead, and to be deleted.

        An exception is logged and counts as ``retry``. When cancelled, it leaves nothing behind.
        """

    async def close(self) -> None:
        """Close the connections to the platform; nothing is sent afterwards."""


class PushSubscriptions(Protocol):
    """Store of push subscriptions and devices, for deleting dead ones (``ContactStore``)."""

    async def forget_subscription(self, user_id: str, endpoint: str) -> bool:
        """Delete one of a user's subscriptions; False: it was not there.

        Raises ``StorageUnavailable``, ``StorageFull``.
        """

    async def forget_device(self, user_id: str, device: Device) -> bool:
        """Delete one of a user's devices; False: it was not there. Raises the same."""
