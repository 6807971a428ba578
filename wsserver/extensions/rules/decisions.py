"""When rules fire: pure functions of the facts about a session and of the time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf

from wsserver.extensions.rules.model import (
    Answered,
    Closed,
    Fact,
    Firing,
    Held,
    Outlook,
    Said,
    Timeline,
    Visit,
)
from wsserver.extensions.rules.options import Rule

PROMPT_S = 10.0
"""A rule that should have fired so long ago still fires, whatever has happened since."""
LATEST_S = 3600.0
"""And so long ago, as while the server was down, if the customer still waits."""


def outlook(rule: Rule, timeline: Timeline, now: float) -> Outlook:
    """When a rule has fired up to now, and will fire next."""
    if rule.is_waiting:
        return _Waiting(rule, timeline).at(now)
    answers = [fact for fact in timeline.facts if isinstance(fact, Answered) and fact.at <= now]
    firings = [each for answer in answers if (each := _stall(rule, answer, now)) is not None]
    return Outlook(sorted(firings))


def is_relevant(firing: Firing, now: float) -> bool:
    """Whether a firing without a notification yet is recent enough to be notified."""
    age_s = now - firing.at
    return age_s <= PROMPT_S or (firing.until is None and age_s <= LATEST_S)


class _Waiting:
    """A customer waits: the facts are gone through in the order of time."""

    def __init__(self, rule: Rule, timeline: Timeline) -> None:
        self._rule = rule
        self._facts = list(_moments(timeline.facts))
        self._customers = {
            fact.user_id for fact in timeline.facts if isinstance(fact, Said) and self._asks(fact)
        }
        self._open: list[Said] = []
        """Messages of customers without an answer."""
        self._growing: set[str] = set()
        self._free_since = -inf
        """When the last answer ended that did not answer."""
        self._present: set[str] = set()
        self._alone_since = -inf
        self._is_held = timeline.held_before
        self._unheld_since = -inf
        self._firings: dict[str, Firing] = {}

    def at(self, now: float) -> Outlook:
        for at, fact, is_end in self._facts:
            if at > now:
                break
            self._fire_before(at)
            self._apply(at, fact, is_end)
        due = self._due()
        if due is not None and due <= now:
            self._fire(due)
            due = self._due()
        waiting = [said.at for said in self._open if said.message_id not in self._firings]
        return Outlook(list(self._firings.values()), due, waiting[0] if waiting else None)

    def _asks(self, said: Said) -> bool:
        return said.role in self._rule.customers

    def _due(self) -> float | None:
        """When the rule fires if nothing happens."""
        if not self._open or self._growing or self._open[0].message_id in self._firings:
            return None
        due = max(self._open[0].at + self._rule.after_s, self._free_since)
        if "held" in self._rule.obstacles:
            if self._is_held:
                return None
            due = max(due, self._unheld_since)
        if "present" in self._rule.obstacles:
            if self._present:
                return None
            due = max(due, self._alone_since + self._rule.absence_s)
        return due

    def _fire_before(self, at: float) -> None:
        due = self._due()
        if due is not None and due < at:
            self._fire(due)

    def _fire(self, at: float) -> None:
        said = self._open[0]
        self._firings[said.message_id] = Firing(
            at, said.at, said.message_id, said.user_id, said.username, None
        )

    def _apply(self, at: float, fact: Fact, is_end: bool) -> None:
        if isinstance(fact, Said):
            if self._asks(fact):
                self._open.append(fact)
            else:
                self._answer(at, at)
        elif isinstance(fact, Answered):
            if not is_end:
                self._growing.add(fact.message_id)
                return
            self._growing.discard(fact.message_id)
            self._free_since = at
            if fact.state == "completed":
                self._answer(fact.at, at)
        elif isinstance(fact, Visit):
            self._visit(at, fact)
        elif isinstance(fact, Held):
            if self._is_held and not fact.by_person:
                self._unheld_since = at
            self._is_held = fact.by_person
        elif isinstance(fact, Closed):
            self._answer(at, at)

    def _visit(self, at: float, visit: Visit) -> None:
        were_here = bool(self._present)
        if visit.user_id is None:
            self._present.clear()
        elif not visit.is_here:
            self._present.discard(visit.user_id)
        elif visit.user_id not in self._customers:
            self._present.add(visit.user_id)
        if were_here and not self._present:
            self._alone_since = at

    def _answer(self, up_to: float, at: float) -> None:
        """What customers said up to a time was answered."""
        for said in self._open:
            firing = self._firings.get(said.message_id)
            if said.at <= up_to and firing is not None:
                self._firings[said.message_id] = firing._replace(until=at)
        self._open = [said for said in self._open if said.at > up_to]


def _moments(facts: Iterable[Fact]) -> Iterator[tuple[float, Fact, bool]]:
    """Facts with the times that they begin at, and answers also with those that they end at."""
    moments: list[tuple[float, Fact, bool]] = []
    for fact in facts:
        moments.append((fact.at, fact, False))
        if isinstance(fact, Answered) and fact.ended_at is not None:
            moments.append((fact.ended_at, fact, True))
    yield from sorted(moments, key=lambda moment: moment[0])


def _stall(rule: Rule, answer: Answered, now: float) -> Firing | None:
    """The first pause of an answer that was long enough."""
    for since, until in _pauses(answer):
        at = since + rule.after_s
        if at <= (now if until is None else min(until, now)):
            return Firing(at, since, answer.message_id, answer.user_id, answer.username, until)
    return None


def _pauses(answer: Answered) -> Iterator[tuple[float, float | None]]:
    """Times without new text, the first from its beginning on; the last may still last."""
    first, last = answer.first_text_at, answer.last_text_at
    if first is None or last is None:
        yield answer.at, answer.ended_at
        return
    yield answer.at, first
    yield from answer.stalls
    yield last, answer.ended_at
