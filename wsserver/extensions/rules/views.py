"""Shapes of rules and of their firings in answers, and the body of a test."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Annotated

from msgspec import Meta

from wsserver.extensions.rules.options import NAME_PATTERN, RULES_LIMIT, Kind, RecipientName, Rule
from wsserver.protocol.notifications import ChannelName
from wsserver.protocol.requests import Request
from wsserver.protocol.types import Id
from wsserver.protocol.validation import Fault
from wsserver.web.api.answers import Answer, Cursor, Time

SESSIONS_LIMIT = 100
"""Sessions that one request looks at."""

RuleName = Annotated[str, Meta(pattern=NAME_PATTERN)]


class RuleView(Answer):
    """A rule of the configuration."""

    name: str
    kind: Kind
    after_s: float
    unless: Annotated[list[str] | None, Meta(description="null: the rule is about answers")]
    away_s: float | None
    customer_roles: list[str] | None
    sessions: Annotated[list[str], Meta(description="patterns; empty: all")]
    organizations: Annotated[list[str], Meta(description="empty: all")]
    notify: list[RecipientName]
    channels: list[ChannelName] | None
    fired_24h: Annotated[int, Meta(description="how often it has fired within 24 hours")]
    last_fired_at: Annotated[Time | None, Meta(description="within 90 days")]


class RuleList(Answer):
    """The rules, in the order of the configuration."""

    rules: list[RuleView]


class RulesTest(Request, kw_only=True):
    """A time to look back at, by the rules of the configuration or by others."""

    since: Annotated[datetime, Meta(tz=True, description="RFC 3339")]
    until: Annotated[datetime, Meta(tz=True, description="RFC 3339; default: now")] | None = None
    rules: (
        Annotated[
            dict[RuleName, Rule],
            Meta(
                min_length=1,
                max_length=RULES_LIMIT,
                description="in place of those of the configuration",
            ),
        ]
        | None
    ) = None
    session_id: Annotated[Id, Meta(description="only this session")] | None = None
    cursor: (
        Annotated[str, Meta(min_length=1, max_length=1024, description="next_cursor of before")]
        | None
    ) = None


class FiringView(Answer):
    """When a rule would have fired, and on whom."""

    rule: str
    kind: Kind
    at: Time
    session_id: str
    organization_id: str | None
    user_id: Annotated[str, Meta(description="the customer, or whose answer it is")]
    username: str | None
    message_id: Annotated[str, Meta(description="the customer's message, or the answer")]
    since: Annotated[Time, Meta(description="when the waiting or the pause began")]
    until: Annotated[Time | None, Meta(description="when it was over; null: it was not by then")]
    notify: Annotated[list[str], Meta(description="who would have been notified")]


class Firings(Answer):
    """When rules would have fired in some sessions, by session and time."""

    firings: list[FiringView]
    sessions: Annotated[int, Meta(description="sessions that were looked at")]
    next_cursor: Cursor | None


def replay_faults(request: RulesTest, bad: Collection[str] = ()) -> list[Fault]:
    """Faults that the types cannot express; those of rules need the settings."""
    until = None if "until" in bad or "since" in bad else request.until
    if until is not None and until <= request.since:
        return [{"field": "until", "message": "has to be after since"}]
    return []
