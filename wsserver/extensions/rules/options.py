"""Options of the extension: the tables ``[rules.NAME]`` of the configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from wsserver.config import Settings, TableFault
from wsserver.protocol.notifications import ChannelName

Kind = Literal["waiting", "stalled"]
Obstacle = Literal["held", "present"]

LONGEST_S = 86_400.0
LEAST_STALL_S = 2.0
"""Shorter pauses of an answer are not stored, so they could not be looked back at."""
RULES_LIMIT = 100
NAME_PATTERN = r"^[A-Za-z0-9_-]{1,64}(?!\n)$"
CUSTOMERS = ("user", "customer")
AWAY_S = 30.0
MANAGERS = "role:manager"

Pattern = Annotated[str, Meta(min_length=1, max_length=128)]
RecipientName = Annotated[
    str,
    Meta(
        pattern=r"^(role:(manager|admin)|user:[A-Za-z0-9._:@|+-]{1,128})(?!\n)$",
        description="role:manager, role:admin or user:ID",
    ),
]


class Rule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[rules.NAME]``."""

    kind: Kind
    after_s: Annotated[float, Meta(gt=0, le=LONGEST_S)]
    """How long a customer waits, or an answer stalls."""
    unless: list[Obstacle] | None = None
    """Of ``waiting``: it does not fire while a person holds the session, or is in it."""
    away_s: Annotated[float, Meta(ge=0, le=LONGEST_S)] | None = None
    """Of ``waiting``: time after which the session counts as left, from the last leave on."""
    customer_roles: (
        Annotated[list[Annotated[str, Meta(min_length=1, max_length=64)]], Meta(min_length=1)]
        | None
    ) = None
    """Of ``waiting``: roles of the senders whose messages need an answer."""
    sessions: Annotated[list[Pattern], Meta(max_length=100)] = []
    """Patterns of session ids, such as ``gewe:*``; empty: all sessions."""
    organizations: Annotated[list[Pattern], Meta(max_length=1000)] = []
    """Organizations that were set for sessions; empty: all sessions."""
    notify: Annotated[list[RecipientName], Meta(max_length=100)] = msgspec.field(
        default_factory=lambda: [MANAGERS]
    )
    """Who is notified; empty: nobody, there is only the event."""
    channels: list[ChannelName] | None = None
    """By default those of a warning."""

    @property
    def is_waiting(self) -> bool:
        """Whether it is about customers; otherwise it is about answers."""
        return self.kind == "waiting"

    @property
    def obstacles(self) -> frozenset[str]:
        """``unless`` with its default."""
        return frozenset(("held", "present") if self.unless is None else self.unless)

    @property
    def absence_s(self) -> float:
        """``away_s`` with its default."""
        return AWAY_S if self.away_s is None else self.away_s

    @property
    def customers(self) -> frozenset[str]:
        """``customer_roles`` with their default."""
        return frozenset(self.customer_roles or CUSTOMERS)

    def concerns(self, session_id: str, organization_id: str | None) -> bool:
        """Whether the rule is about a session."""
        if self.organizations and organization_id not in self.organizations:
            return False
        return not self.sessions or any(fnmatchcase(session_id, each) for each in self.sessions)


def check_options(rules: dict[str, Rule], settings: Settings) -> Iterator[TableFault]:
    """Faults of names, and of values that do not go together."""
    if len(rules) > RULES_LIMIT:
        yield TableFault("", f"has {len(rules)} rules; at most {RULES_LIMIT}")
    for name, rule in rules.items():
        if re.match(NAME_PATTERN, name) is None:
            yield TableFault(name, "is no name of a rule: 1-64 of A-Z a-z 0-9 _ -")
        for field, message in rule_faults(rule, settings):
            yield TableFault(f"{name}.{field}", f"is wrong: {message}")


def rule_faults(rule: Rule, settings: Settings) -> Iterator[tuple[str, str]]:
    """Fields of a rule and what is wrong with them, beyond their types."""
    if rule.is_waiting:
        if rule.away_s is not None and "present" not in rule.obstacles:
            yield "away_s", "without 'present' in unless nothing depends on it"
        return
    for field in ("unless", "away_s", "customer_roles"):
        if getattr(rule, field) is not None:
            yield field, "only rules of the kind 'waiting' have it"
    if rule.after_s < LEAST_STALL_S:
        yield "after_s", f"at least {LEAST_STALL_S:g} for an answer that stalls"
    if rule.after_s >= settings.answer_timeout_s:
        limit = f"{settings.answer_timeout_s:g}"
        yield "after_s", f"answers end after answer_timeout_s = {limit} without text; use less"
