"""When rules fire: the pure decisions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsserver.config import Settings
from wsserver.extending.options import read_options
from wsserver.extensions.rules.decisions import is_relevant, outlook
from wsserver.extensions.rules.extension import RULES
from wsserver.extensions.rules.model import (
    Answered,
    Closed,
    Fact,
    Firing,
    Held,
    Said,
    Timeline,
    Visit,
)
from wsserver.extensions.rules.options import Rule
from wsserver.extensions.rules.recipients import recipient_labels

WAITING = Rule(kind="waiting", after_s=120, away_s=30)
STALLED = Rule(kind="stalled", after_s=10)


def ann(at: float, message_id: str = "m1") -> Said:
    return Said(at, message_id, "ann", "Ann", "customer")


def bob(at: float) -> Said:
    return Said(at, f"b{at}", "bob", None, "manager")


def answer(at: float, ended_at: float | None, state: str = "completed", **fields: Any) -> Answered:
    chosen: dict[str, Any] = {"first_text_at": at, "last_text_at": ended_at or at, **fields}
    return Answered(
        at=at,
        message_id="a1",
        user_id="bot",
        username="Bot",
        ended_at=ended_at,
        state=state,
        **chosen,
    )


def came(at: float, user_id: str = "bob") -> Visit:
    return Visit(at, user_id, True)


def left(at: float, user_id: str | None = "bob") -> Visit:
    return Visit(at, user_id, False)


def fired(
    *facts: Fact, now: float = 10_000.0, rule: Rule = WAITING, held: bool = False
) -> list[float]:
    timeline = Timeline("s1", None, sorted(facts, key=lambda fact: fact.at), held)
    return [firing.at for firing in outlook(rule, timeline, now).firings]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ([ann(0)], [120]),
        ([ann(0), bob(119)], []),
        ([ann(0), bob(120)], []),
        ([ann(0), bob(121)], [120]),
        ([ann(0), ann(60, "m2")], [120]),  # once, from the first message on
        ([ann(0), bob(121), ann(200, "m2")], [120, 320]),
        ([ann(0), answer(1, 5)], []),
        ([ann(0), answer(1, 200)], []),
        ([ann(0), answer(1, 5, "failed")], [120]),
        ([ann(0), answer(1, 200, "interrupted")], [200]),
        ([ann(0), answer(10, 50), ann(20, "m2")], [140]),  # the answer was to the first one
        ([ann(0), answer(10, None)], []),
        ([ann(0), Closed(60)], []),
        ([ann(0), Held(60, True)], []),
        ([ann(0), Held(60, True), Held(90, False)], [120]),
        ([ann(0), Held(60, True), Held(500, False)], [500]),
        ([ann(0), came(60)], []),
        ([ann(0), came(60), left(100)], [130]),
        ([ann(0), came(60), left(65), came(66)], []),  # a page that was loaded again
        ([ann(0), came(60), left(500)], [530]),
        ([ann(0), came(-99, "ann")], [120]),  # the customer is nobody to wait for
        ([ann(0), came(-99), left(60, None)], [120]),  # the server was started again
        ([ann(0), came(-99), left(100, None)], [130]),
        ([ann(0), came(60), came(61, "eve"), left(100)], []),
        ([bob(0)], []),
        ([], []),
    ],
)
def test_a_customer_waits_and_nobody_is_there(facts: list[Fact], expected: list[float]) -> None:
    assert fired(*facts) == expected


def test_what_counts_as_somebody_being_there_is_an_option() -> None:
    facts = (ann(0), came(-9), Held(-9, True))
    assert fired(*facts, rule=Rule(kind="waiting", after_s=60, unless=[])) == [60]
    assert fired(*facts, rule=Rule(kind="waiting", after_s=60, unless=["held"])) == []
    assert fired(ann(0), came(-9), rule=Rule(kind="waiting", after_s=60, unless=["held"])) == [60]
    assert fired(ann(0), rule=WAITING, held=True) == []
    other = Rule(kind="waiting", after_s=60, customer_roles=["guest"])
    assert fired(ann(0), rule=other) == []


def test_the_outlook_tells_what_comes() -> None:
    waits = Timeline("s1", None, [ann(0)])
    assert outlook(WAITING, waits, 50.0).next_at == 120
    assert outlook(WAITING, waits, 50.0).waits_since == 0
    done = outlook(WAITING, waits, 120.0)
    assert (done.next_at, done.waits_since) == (None, None)
    assert done.firings == [Firing(120, 0, "m1", "ann", "Ann", None)]
    held = outlook(WAITING, Timeline("s1", None, [ann(0)], True), 500.0)
    assert (held.firings, held.next_at, held.waits_since) == ([], None, 0)
    over = outlook(WAITING, Timeline("s1", None, [ann(0), bob(300)]), 500.0)
    assert over.firings == [Firing(120, 0, "m1", "ann", "Ann", 300)]


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        (answer(0, None, "growing", first_text_at=None, last_text_at=None), [10]),
        (answer(0, 60, "interrupted", first_text_at=None, last_text_at=None), [10]),
        (answer(0, 9, "failed", first_text_at=None, last_text_at=None), []),
        (answer(0, 60, first_text_at=12, last_text_at=55), [10]),
        (answer(0, 60, first_text_at=2, last_text_at=55, stalls=[(5, 9), (20, 40)]), [30]),
        (answer(0, 60, "interrupted", first_text_at=2, last_text_at=45), [55]),
        (answer(0, None, "growing", first_text_at=2, last_text_at=5), [15]),
        (answer(0, 60, first_text_at=2, last_text_at=55, stalls=[(5, 14.9)]), []),
    ],
)
def test_an_answer_stalls(given_: Answered, expected: list[float]) -> None:
    assert fired(given_, rule=STALLED) == expected


def test_a_growing_answer_has_not_stalled_yet() -> None:
    growing = answer(0, None, "growing", first_text_at=2, last_text_at=5)
    assert fired(growing, rule=STALLED, now=14.9) == []
    assert fired(growing, rule=STALLED, now=15) == [15]


def test_late_firings_are_told_only_while_they_matter() -> None:
    lasting = Firing(1000.0, 0, "m1", "ann", None, None)
    over = lasting._replace(until=1200.0)
    assert is_relevant(lasting, 1000.0)
    assert is_relevant(over, 1009.0)
    assert not is_relevant(over, 1300.0)
    assert is_relevant(lasting, 1300.0)
    assert not is_relevant(lasting, 9000.0)


_FACTS = st.lists(
    st.one_of(
        st.builds(lambda at: ann(at, f"m{at}"), st.integers(0, 500)),
        st.builds(bob, st.integers(0, 500)),
        st.builds(came, st.integers(0, 500)),
        st.builds(left, st.integers(0, 500)),
        st.builds(Held, st.integers(0, 500), st.booleans()),
        st.builds(lambda at: answer(at, at + 20), st.integers(0, 500)),
    ),
    max_size=12,
)


@given(facts=_FACTS)
def test_looking_once_a_second_finds_what_looking_back_does(facts: list[Fact]) -> None:
    """What follows from facts up to a time does not change with what happens later."""
    timeline = Timeline("s1", None, sorted(facts, key=lambda fact: fact.at))
    seen: dict[str, float] = {}
    for now in range(0, 800, 7):
        so_far = [fact for fact in timeline.facts if fact.at <= now]
        for firing in outlook(WAITING, timeline._replace(facts=so_far), now).firings:
            seen.setdefault(firing.cause, firing.at)
    at_once = outlook(WAITING, timeline, 797).firings
    assert seen == {firing.cause: firing.at for firing in at_once}


def test_rules_are_about_some_sessions() -> None:
    some = Rule(kind="waiting", after_s=60, sessions=["gewe:*"], organizations=["o1"])
    assert some.concerns("gewe:a", "o1")
    assert not some.concerns("web:a", "o1")
    assert not some.concerns("gewe:a", None)


def test_who_is_notified() -> None:
    some = Rule(kind="waiting", after_s=60, notify=["role:manager", "user:eve"])
    assert recipient_labels(some, "o1", with_users=True) == ["user:eve", "role:manager of o1"]
    assert recipient_labels(some, None, with_users=False) == ["role:admin"]
    assert (
        recipient_labels(Rule(kind="waiting", after_s=60, notify=[]), "o1", with_users=True) == []
    )


def test_every_fault_of_the_configuration_is_named() -> None:
    table = {
        "a": {"kind": "wating", "after_s": 0, "notify": ["boss"], "x": 1},
        "b": {"kind": "stalled", "after_s": 1},
        "no name": {"kind": "waiting"},
    }
    _, faults = read_options(RULES, table, Settings())
    assert sorted(fault.path for fault in faults) == [
        *("a.after_s", "a.kind", "a.notify[0]", "a.x", "no name.after_s")
    ]
    table = {
        "no name": {"kind": "waiting", "after_s": 60, "unless": [], "away_s": 1},
        "b": {"kind": "stalled", "after_s": 1, "unless": []},
        "c": {"kind": "stalled", "after_s": 60},
    }
    _, faults = read_options(RULES, table, Settings())
    assert [fault.path for fault in faults] == [
        *("no name", "no name.away_s", "b.unless", "b.after_s", "c.after_s")
    ]
