"""What is decided about notifications without looking anything up: pure, told the time."""

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
"""Channels on which many of one kind would bury everything else, or cost money each."""


class Step(NamedTuple):
    """One channel that a notification takes, and when."""

    channel: ChannelName
    after_s: float = 0.0
    is_escalation: bool = False
    """Is it called off when the user has acknowledged the notification?"""


DEFAULT_ESCALATION: dict[NotificationType, tuple[Step, ...]] = {
    "warning": (Step("email", ESCALATE_WARNING_S, True),),
}


@dataclass(frozen=True, kw_only=True)
class Sending:
    """How a notification goes out; without anything, as its type has it."""

    channels: Sequence[ChannelName] | None = None
    """In the place of the defaults of the type, the default escalation included."""
    escalate: Sequence[tuple[float, ChannelName]] | None = None
    """Seconds and channel: tried then, unless the user has acknowledged the notification."""
    expires_in_s: float | None = None
    """What has not been delivered by then is given up. None: as long as an inbox keeps things."""
    sender: str | None = None
    """Who asked for it, for the record."""
    confined_to: str | None = None
    """Nobody outside of this organization gets it, and its managers see it."""
    once: tuple[str, str] | None = None
    """Scope and key: the same ones within 24 h are the same notification."""


AS_USUAL = Sending()


def plan(type_: NotificationType, sending: Sending = AS_USUAL) -> list[Step]:
    """The steps of a notification: those named, else the defaults of its type.

    Naming ``channels`` replaces the default escalation, too. Raises ``ValidationFailed`` for an
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
    """How deliveries are tried again."""

    backoff_s: float = 2.0
    """Until the second attempt; doubled each time, up to 300 s."""
    attempts: int = 8
    """After so many a delivery is a dead letter."""

    def delay_s(self, attempt: int, jitter: float) -> float:
        """Seconds from attempt number ``attempt`` (1 at the first) to the next.

        ``jitter`` from -1 to 1: the whole is up to 20 % shorter or longer by it, so that what
        failed together does not come back together.
        """
        # The exponent is bounded: a float has no 2 ** 2000.
        grown = min(self.backoff_s * 2.0 ** min(attempt - 1, 64), MAX_BACKOFF_S)
        return grown * (1 + JITTER * jitter)


class Next(NamedTuple):
    """What becomes of a delivery after an attempt."""

    state: str
    """``sent``, ``failed``, or ``pending``: to be tried again."""
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
    """Decide what follows an outcome; ``attempt`` counts from 1, ``now`` in epoch seconds.

    ``gives_up`` False: there is no last attempt, as for the inbox, which is our own storage.
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
    """More than ``limit`` of one template to one user within ``window_s`` go as one."""

    limit: int = 5
    window_s: float = 300.0

    def held_until(self, sent_at: Sequence[float], now: float) -> float | None:
        """Until when the next one waits; None: it may go now.

        ``sent_at``: when those of the same kind went to the same user lately, in any order.
        """
        recent = sorted(at for at in sent_at if at > now - self.window_s)
        if len(recent) < self.limit:
            return None
        return recent[0] + self.window_s


def quiet_until(hours: QuietHours | None, now: float) -> float | None:
    """The end of the quiet hours that ``now`` is in, in epoch seconds; None: it is in none.

    The hours are those of the wall in the user's time zone: where clocks are set, they follow.
    Raises ``ValueError`` (also ``ZoneInfoNotFoundError``) for a time zone that is none.
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
    # Where clocks are set back, the wall shows the end twice: the second one counts then.
    return end if end > now else end + 3600


def zone(name: str) -> ZoneInfo:
    """A time zone by its name; raises ``ValueError`` for one that is none."""
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError):  # no such file; no such key; a path that leaves
        raise ValueError(f"no such time zone: {name[:64]}") from None


class Pace:
    """A token bucket: how many attempts may begin now; ``rate_per_s`` of them at once at most."""

    def __init__(self, rate_per_s: float, now: float) -> None:
        self._rate = rate_per_s
        self._size = max(1.0, rate_per_s)
        self._tokens = self._size
        self._at = now

    def available(self, now: float) -> int:
        """How many may begin; ``now`` in monotonic seconds."""
        self._tokens = min(self._size, self._tokens + (now - self._at) * self._rate)
        self._at = now
        return int(self._tokens)

    def take(self, count: int) -> None:
        """So many have begun."""
        self._tokens -= count

    @property
    def wait_s(self) -> float:
        """Until the next one may begin; 0: now."""
        return max(0.0, (1 - self._tokens) / self._rate)
