"""``RuleWatch``: looks at sessions when a rule may fire, and fires it once over all nodes."""

from __future__ import annotations

import logging
from typing import TypedDict

from wsserver.clock import rfc3339
from wsserver.errors import StorageFull, StorageUnavailable, WsServerError
from wsserver.extending.context import ExtensionContext
from wsserver.extensions.rules.decisions import LATEST_S, is_relevant, outlook
from wsserver.extensions.rules.model import Firing, Timeline
from wsserver.extensions.rules.options import Rule
from wsserver.extensions.rules.recipients import recipients_of
from wsserver.extensions.rules.store import Look, RuleStore
from wsserver.notifications.delivery_policy import Sending
from wsserver.realtime.observability import events
from wsserver.realtime.observability.events import Event

log = logging.getLogger(__name__)

RULE_FIRED = "rule_fired"
CONVERSATION_WAITING = "conversation_waiting"
ANSWER_STALLED = "answer_stalled"

NOTED_LIMIT = 50_000
"""Sessions that are noted between two writes; ``sweep`` finds what is beyond."""
SOON_S = 1.0
"""Time until what an event reports is stored, as the visits of users."""
AGAIN_S = 5.0
AGAIN_LIMIT_S = 600.0
_AGAIN_SHARE = 0.1


class ConversationWaiting(TypedDict):
    """Parameters of the notification that a customer waits and no person is in the session."""

    rule: str
    session_id: str
    customer_name: str
    seconds: int


class AnswerStalled(TypedDict):
    """Parameters of the notification that an answer has had no new text for long."""

    rule: str
    session_id: str
    sender_name: str
    seconds: int


class RuleWatch:
    """Applies the rules to what happens.

    Each node notes the sessions with new messages in the database; one node looks at them for all.
    What is noted is only when to look: the decision is about what is stored, so a note that got
    lost delays it until the next ``sweep``.
    """

    def __init__(self, context: ExtensionContext[dict[str, Rule]], store: RuleStore) -> None:
        self._context = context
        self._clock = context.clock
        self._store = store
        self._rules = context.options
        self._waiting = {name: rule for name, rule in self._rules.items() if rule.is_waiting}
        self._stalled = {name: rule for name, rule in self._rules.items() if not rule.is_waiting}
        self._least_s = min((rule.after_s for rule in self._waiting.values()), default=0.0)
        self._longest_s = max((rule.after_s for rule in self._waiting.values()), default=0.0)
        self._noted: dict[str, float] = {}
        self._hastened: set[str] = set()
        if self._waiting:
            bus = context.events
            bus.add_event_handler(events.MESSAGE_PUBLISHED, self._published)
            for name in (
                events.ANSWER_ENDED,
                events.HOLDER_CHANGED,
                events.SESSION_STATE_CHANGED,
                events.SESSION_LEFT,
            ):
                bus.add_event_handler(name, self._changed)

    def _published(self, event: Event) -> None:
        session_id = event.get("session_id")
        if event["type"] == "new_message" and session_id is not None:
            if len(self._noted) < NOTED_LIMIT:
                self._noted.setdefault(session_id, self._clock.wall() + self._least_s)

    def _changed(self, event: Event) -> None:
        if len(self._hastened) < NOTED_LIMIT:
            self._hastened.add(event["session_id"])

    async def note(self) -> None:
        """Store which sessions are to be looked at, since the last time."""
        if not self._noted and not self._hastened:
            return
        noted, hastened = self._noted, self._hastened
        self._noted, self._hastened = {}, set()
        await self._store.note(noted, hastened, self._clock.wall() + SOON_S)

    async def sweep(self) -> None:
        """Look at all sessions with messages of late: some may not have been noted.

        So it is with those of a process that has crashed, or of a server that had no rules.
        """
        if self._waiting:
            now = self._clock.wall()
            await self._store.sweep(now - self._longest_s - LATEST_S, now)

    async def look(self) -> None:
        """Look at the sessions that it is time for, and fire what is due."""
        now = self._clock.wall()
        for look in await self._store.due(now):
            await self._store.settle(look, await self._look_at(look, now))
        if self._stalled:
            for session_id in await self._store.stalled(self._stalled, now):
                await self._look_at(Look(session_id, 0), now)

    async def _look_at(self, look: Look, now: float) -> float | None:
        """Fire what is due in a session; returns when to look again, None: when it changes."""
        seen = await self._store.see(look.session_id, now)
        if seen is None:
            return None
        timeline, times = seen.timeline, []
        for name, rule in self._rules.items():
            if not rule.concerns(timeline.session_id, timeline.organization_id):
                continue
            view = outlook(rule, timeline, now)
            for firing in view.firings:
                if (name, firing.cause) not in seen.fired and is_relevant(firing, now):
                    await self._fire(name, rule, timeline, firing)
            if view.next_at is not None:
                times.append(view.next_at)
            elif view.waits_since is not None:
                pause_s = (now - view.waits_since) * _AGAIN_SHARE
                times.append(now + max(AGAIN_S, min(AGAIN_LIMIT_S, pause_s)))
        return min(times, default=None)

    async def _fire(self, name: str, rule: Rule, timeline: Timeline, firing: Firing) -> None:
        """Notify, then note that it has fired, then emit an event.

        After a crash in between, the notification is recognized by its key and not sent twice.
        """
        session_id = timeline.session_id
        organization_id = timeline.organization_id
        if organization_id is None:
            organization_id = await self._context.access.organization_of(session_id)
        await self._notify(name, rule, session_id, organization_id, firing)
        if not await self._store.fire(name, session_id, organization_id, firing):
            return
        log.info("rule fired rule=%s session_id=%s cause=%s", name, session_id, firing.cause)
        self._context.events.emit(
            RULE_FIRED,
            rule=name,
            kind=rule.kind,
            session_id=session_id,
            organization_id=organization_id,
            message_id=firing.cause,
            user_id=firing.user_id,
            since=rfc3339(firing.since),
            at=rfc3339(firing.at),
        )

    async def _notify(
        self,
        name: str,
        rule: Rule,
        session_id: str,
        organization_id: str | None,
        firing: Firing,
    ) -> None:
        template = CONVERSATION_WAITING if rule.is_waiting else ANSWER_STALLED
        parameters = {
            "rule": name,
            "session_id": session_id,
            "customer_name" if rule.is_waiting else "sender_name": firing.username
            or firing.user_id,
            "seconds": round(firing.at - firing.since),
        }
        for number, (recipients, confined_to) in enumerate(recipients_of(rule, organization_id)):
            sending = Sending(
                channels=rule.channels,
                confined_to=confined_to,
                once=(f"rule:{name}", f"{session_id} {firing.cause} {number}"),
            )
            try:
                await self._context.notifications.send_template(
                    recipients, template, parameters, sending
                )
            except (StorageUnavailable, StorageFull):
                raise  # it is found again
            except WsServerError as error:
                log.warning("rule not notified rule=%s error=%s", name, error)
