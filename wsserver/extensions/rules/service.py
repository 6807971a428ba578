"""``Rules``: lists the rules, and looks back when they would have fired."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from wsserver.clock import rfc3339, rfc3339_or_none
from wsserver.errors import ValidationFailed
from wsserver.extending.context import ExtensionContext
from wsserver.extensions.rules.decisions import outlook
from wsserver.extensions.rules.model import Firing, Timeline
from wsserver.extensions.rules.options import Rule, rule_faults
from wsserver.extensions.rules.recipients import recipient_labels
from wsserver.extensions.rules.store import KEPT_S, LEAD_S, RuleStore
from wsserver.extensions.rules.views import SESSIONS_LIMIT, RulesTest, replay_faults
from wsserver.paging import decode_cursor, encode_cursor
from wsserver.realtime.access.actor import Actor
from wsserver.realtime.access.tenancy import Scope

READ = "messages:read"
DAY_S = 86_400.0


class TestCursor(NamedTuple):
    """The number of the last stream of a page."""

    stream: int


class Rules:
    """Rules for REST."""

    def __init__(self, context: ExtensionContext[dict[str, Rule]], store: RuleStore) -> None:
        self._context = context
        self._access = context.access
        self._clock = context.clock
        self._store = store

    async def listing(self, actor: Actor) -> dict[str, Any]:
        """The rules of the configuration, and how often they have fired in the scope."""
        scope = self._access.scope(actor, READ)
        now = self._clock.wall()
        mine = scope.organization_id
        lately = await self._store.fired(now - DAY_S, mine)
        ever = await self._store.fired(now - KEPT_S, mine)
        return {
            "rules": [
                {
                    **_view(name, rule, mine),
                    "fired_24h": lately[name].times if name in lately else 0,
                    "last_fired_at": rfc3339(ever[name].last_at) if name in ever else None,
                }
                for name, rule in self._context.options.items()
                if mine is None or not rule.organizations or mine in rule.organizations
            ]
        }

    async def test(self, actor: Actor, request: RulesTest) -> dict[str, Any]:
        """When rules would have fired in the sessions of the scope; some sessions at a time.

        Raises ``ValidationFailed`` for rules whose values do not go together, ``Forbidden`` for a
        session outside, ``BadRequest`` for a bad cursor.
        """
        scope = self._access.scope(actor, READ)
        rules = self._rules(request)
        since = request.since.timestamp()
        now = self._clock.wall()
        until = now if request.until is None else min(now, request.until.timestamp())
        after: int | None = None
        if request.session_id is not None:
            await scope.require_session(request.session_id)
            wanted = [request.session_id]
        else:
            start = 0 if request.cursor is None else decode_cursor(request.cursor, TestCursor)[0]
            found = await self._store.sessions(start, since, SESSIONS_LIMIT)
            after = found[-1][0] if len(found) == SESSIONS_LIMIT else None
            wanted = await self._owned(scope, [session_id for _, session_id in found])
        firings = []
        for session_id in wanted:  # one read each: other readers take their turns
            for timeline in await self._store.timelines([session_id], since - LEAD_S):
                firings += _firings(
                    rules, timeline, since, until, with_users=scope.organization_id is None
                )
        return {
            "firings": firings,
            "sessions": len(wanted),
            "next_cursor": None if after is None else encode_cursor(TestCursor(after)),
        }

    def _rules(self, request: RulesTest) -> Mapping[str, Rule]:
        faults = replay_faults(request)
        for name, rule in (request.rules or {}).items():
            for field, message in rule_faults(rule, self._context.settings):
                faults.append({"field": f"rules.{name}.{field}", "message": message})
        if faults:
            raise ValidationFailed(faults)
        return self._context.options if request.rules is None else request.rules

    async def _owned(self, scope: Scope, session_ids: list[str]) -> list[str]:
        """The sessions that belong to the scope."""
        mine = scope.organization_id
        if mine is None or not session_ids:
            return session_ids
        owners = await self._access.tenancy.owners_of(session_ids)
        return [session_id for session_id in session_ids if mine in owners[session_id]]


def _firings(
    rules: Mapping[str, Rule],
    timeline: Timeline,
    since: float,
    until: float,
    *,
    with_users: bool,
) -> list[dict[str, Any]]:
    """What would have fired in a session in a time."""
    session_id, organization_id = timeline.session_id, timeline.organization_id
    found: list[tuple[Firing, str]] = []
    for name, rule in rules.items():
        if rule.concerns(session_id, organization_id):
            firings = outlook(rule, timeline, until).firings
            found += [(firing, name) for firing in firings if firing.at >= since]
    return [
        {
            "rule": name,
            "kind": rules[name].kind,
            "at": rfc3339(firing.at),
            "session_id": session_id,
            "organization_id": organization_id,
            "user_id": firing.user_id,
            "username": firing.username,
            "message_id": firing.cause,
            "since": rfc3339(firing.since),
            "until": rfc3339_or_none(firing.until),
            "notify": recipient_labels(rules[name], organization_id, with_users=with_users),
        }
        for firing, name in sorted(found, key=lambda pair: pair[0].at)
    ]


def _view(name: str, rule: Rule, organization_id: str | None) -> dict[str, Any]:
    """A rule; in the view of an organization without other ones, and without single users."""
    is_whole = organization_id is None
    of_waiting = rule.is_waiting
    return {
        "name": name,
        "kind": rule.kind,
        "after_s": rule.after_s,
        "unless": sorted(rule.obstacles) if of_waiting else None,
        "away_s": rule.absence_s if of_waiting else None,
        "customer_roles": sorted(rule.customers) if of_waiting else None,
        "sessions": rule.sessions,
        "organizations": [
            each for each in rule.organizations if is_whole or each == organization_id
        ],
        "notify": [each for each in rule.notify if is_whole or not each.startswith("user:")],
        "channels": rule.channels,
    }
