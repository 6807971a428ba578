from __future__ import annotations

from typing import Any

from tests.support.fake_clock import FakeClock
from wsserver.realtime.observability import top_talkers as busiest
from wsserver.realtime.observability.top_talkers import TopTalkers


def rates(view: dict[str, Any], kind: str = "user") -> dict[str, float]:
    return {row[f"{kind}_id"]: row["messages_per_s"] for row in view[f"{kind}s"]}


def test_the_busiest_come_first_with_their_names(clock: FakeClock) -> None:
    found = TopTalkers(clock)
    for user, session, count in (("u1", "s1", 1), ("u2", "s2", 6), ("u3", "s1", 3)):
        for _ in range(count):
            found.note(user, "王五" if user == "u2" else None, session)
    clock.advance(2.0)
    view = found.view()
    assert view["users"][0] == {"user_id": "u2", "username": "王五", "messages_per_s": 3.0}
    assert rates(view) == {"u2": 3.0, "u3": 1.5, "u1": 0.5}
    assert rates(view, "session") == {"s2": 3.0, "s1": 2.0}


def test_what_is_over_ten_seconds_ago_no_longer_counts(clock: FakeClock) -> None:
    found = TopTalkers(clock)
    for _ in range(10):
        found.note("u1", None, "s1")
    clock.advance(5.0)
    found.note("u2", None, "s1")
    assert rates(found.view()) == {"u1": 2.0, "u2": 0.2}
    clock.advance(5.0)
    assert rates(found.view()) == {"u2": 0.2}
    clock.advance(60.0)
    assert found.view() == {"users": [], "sessions": []}
    found.note("u3", None, "s1")
    clock.advance(1.0)
    assert list(rates(found.view())) == ["u3"]


def test_a_view_is_given_again_for_a_second(clock: FakeClock) -> None:
    found = TopTalkers(clock)
    first = found.view()
    found.note("u1", None, "s1")
    assert found.view() is first
    clock.advance(1.0)
    assert rates(found.view()) == {"u1": 1.0}


def test_there_is_an_end_to_counting(clock: FakeClock, monkeypatch: Any) -> None:
    monkeypatch.setattr(busiest, "LARGEST_HALF", 2)
    found = TopTalkers(clock)
    for user in ("u1", "u2", "u3", "u1"):
        found.note(user, None, "s1")
    clock.advance(1.0)
    assert rates(found.view()) == {"u1": 2.0, "u2": 1.0}


def test_at_most_fifty_are_shown(clock: FakeClock) -> None:
    found = TopTalkers(clock)
    for number in range(80):
        found.note(f"u{number}", None, f"s{number}")
    assert len(found.view()["users"]) == len(found.view()["sessions"]) == 50


def test_starting_anew_forgets(clock: FakeClock) -> None:
    found = TopTalkers(clock)
    found.note("u1", None, "s1")
    found.start()
    assert found.view()["users"] == []
