"""What rules decide on: the facts about a session in the order of time, and what follows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Said(NamedTuple):
    """A message that is no answer of an AI. Times are seconds since the epoch."""

    at: float
    message_id: str
    user_id: str
    username: str | None
    role: str | None


class Answered(NamedTuple):
    """An answer that grows or has grown."""

    at: float
    """When it began."""
    message_id: str
    user_id: str
    username: str | None
    first_text_at: float | None
    last_text_at: float | None
    ended_at: float | None
    state: str
    stalls: Sequence[tuple[float, float]] = ()
    """Begin and end of pauses between its texts."""


class Visit(NamedTuple):
    """A user came to the session, or left; without a user: everybody had left by then."""

    at: float
    user_id: str | None
    is_here: bool


class Held(NamedTuple):
    """Since when a person holds the session, or not."""

    at: float
    by_person: bool


class Closed(NamedTuple):
    """The session was closed: messages before it need no answer."""

    at: float


Fact = Said | Answered | Visit | Held | Closed


class Timeline(NamedTuple):
    """What has happened in a session; ``facts`` ascend by time."""

    session_id: str
    organization_id: str | None
    """The one that was set for the session."""
    facts: Sequence[Fact]
    held_before: bool = False
    """Whether a person held the session before the first fact."""


class Firing(NamedTuple):
    """A rule has fired: once for each cause."""

    at: float
    since: float
    """When the waiting or the pause began."""
    cause: str
    """Id of the customer's first message without an answer, or of the answer."""
    user_id: str
    """The customer, or whose answer it is."""
    username: str | None
    until: float | None
    """When it was over; None: it still lasts."""


class Outlook(NamedTuple):
    """What a rule says about a session at a time."""

    firings: list[Firing]
    next_at: float | None = None
    """When it fires next if nothing happens; None: it does not."""
    waits_since: float | None = None
    """Begin of a waiting that has not fired yet; None: there is none."""
