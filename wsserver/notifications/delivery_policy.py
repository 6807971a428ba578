"""Delivery policy, as pure functions: channels, escalation, retries, digests, quiet hours, pace."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from wsserver.errors import ValidationFailed
from wsserver.notifications.channels.base import Outcome
from wsserver.protocol.notifications import ChannelName, NotificationType, QuietHours

MAX_BACKOFF_S = 300.0
JITTER = 0.2
ESCALATE_WARNING_S = 300.0

DEFAULT_CHANNELS: dict[NotificationType, tuple[ChannelName, ...]] = {
    "info": ("websocket",),
    "success": ("websocket",),
    "warning": ("websocket",),
    "error": ("websocket", "email"),
    "urgent": ("websocket", "push", "sms", "email"),
}
DIGESTED: frozenset[ChannelName] = frozenset({"email", "sms"})
"""Channels on which many notifications of one kind are sent as a digest."""


class Step(NamedTuple):
    """A channel of a notification, and when it is used."""

    channel: ChannelName
    after_s: float = 0.0
    is_escalation: bool = False
    """Whether it is cancelled once the user has acknowledged the notification."""


DEFAULT_ESCALATION: dict[NotificationType, tuple[Step, ...]] = {
    "warning": (Step("email", ESCALATE_WARNING_S, True),)
}


@dataclass(frozen=True, kw_only=True)
class Sending:
    """Options for sending a notification; by default, those of its type."""

    channels: Sequence[ChannelName] | None = None
    """Replaces the default channels of the type, and its default escalation."""
    escalate: Sequence[tuple[float, ChannelName]] | None = None
    """Delays in seconds, and channels used then unless the user acknowledges before."""
    expires_in_s: float | None = None
    """Lifetime; undelivered by then, it expires. None: the retention of the inbox."""
    sender: str | None = None
    """User id of the requester, stored with the notification."""
    confined_to: str | None = None
    """Only users of this organization get it, and its managers see it."""
    once: tuple[str, str] | None = None
    """Idempotency scope and key: equal ones within 24 h are the same notification."""


AS_USUAL = Sending()


def plan(type_: NotificationType, sending: Sending = AS_USUAL) -> list[Step]:
    """The steps of a notification: those named, else the defaults of its type.

    ``channels`` replaces the default escalation, too. Raises ``ValidationFailed`` for an
    escalation that comes after the notification has expired.
    """
    channels = DEFAULT_CHANNELS[type_] if sending.channels is None else sending.channels
    escalation: Sequence[Step] = ()
    if sending.escalate is not None:
        check_escalation(sending.escalate, sending.expires_in_s)
        escalation = [Step(channel, after_s, True) for after_s, channel in sending.escalate]
    elif sending.channels is None:
        escalation = DEFAULT_ESCALATION.get(type_, ())
    return [*[Step(channel) for channel in dict.fromkeys(channels)], *escalation]


def check_escalation(steps: Iterable[tuple[float, ChannelName]], lifetime_s: float | None) -> None:
    """Raise ``ValidationFailed`` for steps that come after the notification has expired."""
    late = [i for i, (after_s, _) in enumerate(steps) if lifetime_s and after_s >= lifetime_s]
    if late:
        message = f"comes after the notification has expired, which is {lifetime_s:g} s after it"
        raise ValidationFailed(
            [{"field": f"escalate[{index}].after_s", "message": message} for index in late]
        )


class Retries(NamedTuple):
    """Backoff between attempts, and their number."""

    backoff_s: float = 2.0
    """Delay of the second attempt; doubled each time, up to 300 s."""
    attempts: int = 8
    """Attempts after which a delivery is a dead letter."""

    def delay_s(self, attempt: int, jitter: float) -> float:
        """Seconds from attempt number ``attempt`` (1 at the first) to the next.

        ``jitter`` from -1 to 1 makes it up to 20 % shorter or longer, so that deliveries which
        failed together are not retried together.
        """
        # The exponent is bounded: a float has no 2 ** 2000.
        grown = min(self.backoff_s * 2.0 ** min(attempt - 1, 64), MAX_BACKOFF_S)
        return grown * (1 + JITTER * jitter)


class Next(NamedTuple):
    """State of a delivery after an attempt."""

    state: str
    """``sent``, ``failed``, or ``pending``: retried at ``due_at``."""
    due_at: float | None = None


def after(
    outcome: Outcome,
    *,
    attempt: int,
    now: float,
    retries: Retries,
    gives_up: bool = True,
    jitter: float | None = None,
) -> Next:
    """The state after an outcome; ``attempt`` counts from 1, ``now``: seconds since the epoch.

    ``gives_up`` False: attempts are not limited, as for the inbox, which is our own storage.
    """
    if outcome.result == "sent":
        return Next("sent")
    if outcome.result == "failed" or (gives_up and attempt >= retries.attempts):
        return Next("failed")
    if jitter is None:
        jitter = random.uniform(-1, 1)  # noqa: S311 - no secret
    delay_s = retries.delay_s(attempt, jitter)
    return Next("pending", now + max(delay_s, outcome.retry_after_s or 0.0))


class DigestRule(NamedTuple):
    """More than ``limit`` of one template to one user within ``window_s`` are sent as one."""

    limit: int = 5
    window_s: float = 300.0

    def held_until(self, sent_at: Sequence[float], now: float) -> float | None:
        """Until when the next one is held; None: it may be sent now.

        ``sent_at``: when recent ones of the same kind were sent to the user, in any order.
        """
        recent = sorted(at for at in sent_at if at > now - self.window_s)
        if len(recent) < self.limit:
            return None
        return recent[0] + self.window_s


def quiet_until(hours: QuietHours | None, now: float) -> float | None:
    """End of the current quiet hours, in seconds since the epoch; None: outside of them.

    The hours are local time in the user's time zone, daylight saving included. Raises
    ``ValueError`` for an unknown time zone.
    """
    if hours is None or hours.start == hours.end:
        return None
    here = datetime.fromtimestamp(now, UTC).astimezone(zone(hours.time_zone))
    time = f"{here:%H:%M}"
    if hours.start < hours.end:
        is_quiet, is_tomorrow = hours.start <= time < hours.end, False
    else:  # over midnight
        is_quiet, is_tomorrow = time >= hours.start or time < hours.end, time >= hours.start
    if not is_quiet:
        return None
    hour, minute = map(int, hours.end.split(":"))
    day = here + timedelta(days=1) if is_tomorrow else here
    end = day.replace(hour=hour, minute=minute, second=0, microsecond=0, fold=0).timestamp()
    # Where clocks are set back, the local time of the end comes twice: the second one counts.
    return end if end > now else end + 3600


def zone(name: str) -> ZoneInfo:
    """A time zone by its name; raises ``ValueError`` for an unknown one."""
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError):  # no such file; no such key; a path that leaves
        raise ValueError(f"no such time zone: {name[:64]}") from None


class Pace:
    """Token bucket of attempts; its size is ``rate_per_s``, so that is the largest burst."""

    def __init__(self, rate_per_s: float, now: float) -> None:
        self._rate = rate_per_s
        self._size = max(1.0, rate_per_s)
        self._tokens = self._size
        self._at = now

    def available(self, now: float) -> int:
        """How many attempts may begin; ``now``: monotonic seconds."""
        self._tokens = min(self._size, self._tokens + (now - self._at) * self._rate)
        self._at = now
        return int(self._tokens)

    def take(self, count: int) -> None:
        """Count attempts that have begun."""
        self._tokens -= count

    @property
    def wait_s(self) -> float:
        """Seconds until the next attempt may begin; 0: now."""
        return max(0.0, (1 - self._tokens) / self._rate)
