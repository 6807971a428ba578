"""What the screen knows: rates out of counters, restarts, who is busy."""

from __future__ import annotations

from typing import Any

from tests.support.top_states import state_with, update
from wsctl.output.monitor_pushes import name_of
from wsctl.top.model import Row, State


def test_rates_are_the_growth_of_counters_by_the_servers_own_clock() -> None:
    state = state_with(
        update(10, messages_received=100, messages_sent=1000, errors=0),
        update(12, messages_received=140, messages_sent=1500, errors=1),
    )
    assert state.trends["received"].latest == 20
    assert state.trends["delivered"].latest == 250
    assert state.trends["errors"].latest == 0.5
    assert [value for _, value in state.trends["connections"].points] == [12, 12]


def test_a_restart_makes_no_negative_rate_and_is_shown() -> None:
    state = state_with(update(100, messages_sent=1000), update(3, messages_sent=5))
    assert state.trends["delivered"].latest is None
    assert [name_of(push) for push in state.events] == ["server_restarted"]


def test_a_server_that_is_up_for_longer_than_the_old_one_was_is_a_new_one_too() -> None:
    state = State("http://server", 0.0)
    state.take_link(True, "watching", 0.0, "t")
    state.take(update(1.0, messages_sent=0), 100.0)
    state.take_link(False, "lost", 100.5, "t")
    state.take_link(True, "watching again", 120.0, "t")
    state.take(update(2.0, messages_sent=50), 120.1)
    assert [name_of(push) for push in state.events] == ["reconnected", "server_restarted"]
    assert state.trends["delivered"].latest is None
    assert state.events[-1]["timestamp"] == "2024-01-15T14:30:00Z"


def test_the_same_server_after_a_lost_connection_has_not_restarted() -> None:
    state = State("http://server", 0.0)
    state.take_link(True, "watching", 0.0, "t")
    state.take(update(1.0, messages_sent=0), 100.0)
    state.take_link(False, "lost", 100.5, "t")
    state.take_link(True, "watching again", 102.0, "t")
    state.take(update(3.0, messages_sent=50), 102.05)
    assert [name_of(push) for push in state.events] == ["reconnected"]
    assert state.trends["delivered"].latest == 25


def test_a_lost_connection_and_its_recovery_are_shown() -> None:
    state = state_with(update(10))
    state.take_link(True, "watching http://server", 0.0, "t")
    assert (state.link.is_live, len(state.events)) == (True, 0)
    state.take_link(False, "closed with 1012", 5.0, "t")
    state.take_link(False, "refused", 6.0, "t")
    assert (state.link.text, state.link.since) == ("refused", 5.0)
    state.take_link(True, "watching again", 8.0, "t")
    assert state.events[-1]["event"] == {"name": "reconnected", "after": "3.0 s"}
    state.take_link(True, "the server did not take the new token", 9.0, "t")
    assert name_of(state.events[-1]) == "warning"
    assert state.link.since == 8.0


def test_the_busiest_are_joined_with_what_the_lists_know() -> None:
    busiest = {
        "users": [{"user_id": "u9", "username": "王五", "messages_per_s": 4.5},
                  {"user_id": "u1", "username": None, "messages_per_s": 2}],
        "sessions": [{"session_id": "s1", "messages_per_s": 6.5}],
    }  # fmt: skip
    state = state_with(update(1, busiest=busiest))
    user = {"user_id": "u1", "connections": 2, "metadata": {"username": "张三"}}
    session = {"session_id": "s1", "connections": 3, "users": [{"username": "张三"},
               {"user_id": "u2", "username": None}]}  # fmt: skip
    state.take_lists([session, {"session_id": "s2", "connections": 1}], [user])
    assert sorted(state.users, key=lambda row: row.id) == [
        Row("u1", "张三", 2, 2.0),
        Row("u9", "王五", None, 4.5),
    ]
    assert state.sessions == [Row("s1", "张三, u2", 3, 6.5), Row("s2", "", 1, 0.0)]


def test_missing_figures_are_no_error() -> None:
    odd = {"errors": None, "uptime_s": "long"}
    busiest = {"users": [7, {}], "sessions": "x"}
    state = state_with(
        update(1),
        {"type": "stats_update", "stats": odd, "busiest": busiest},
        {"type": "stats_update"},
    )
    state.take_lists(["x"], [{}])
    assert state.sessions == []
    assert state.users[0].id == ""


def test_only_events_and_the_end_are_listed() -> None:
    state = state_with(
        {"type": "user_status_update", "user_id": "u1"},
        {"type": "event", "event": {"name": "user_connected"}},
        {"type": "server_draining"},
    )
    assert [name_of(push) for push in state.events] == ["user_connected", "server_draining"]


def published(type_: str, number: int) -> dict[str, Any]:
    event = {"name": "message_published", "type": type_, "message_id": f"msg_{number}"}
    return {"type": "event", "timestamp": "2024-01-15T14:30:00Z", "event": event}


def test_messages_published_in_a_row_are_one_event_with_their_number() -> None:
    other = {"type": "event", "event": {"name": "user_connected"}}
    state = state_with(
        *(published("price", number) for number in range(500)),
        published("order", 500),
        other,
        published("order", 501),
        other,
        other,
    )
    assert [
        (name_of(push), push["event"].get("message_id"), push["event"].get("in_a_row"))
        for push in state.events
    ] == [
        ("message_published", "msg_499", 500),
        ("message_published", "msg_500", None),
        ("user_connected", None, None),
        ("message_published", "msg_501", None),
        ("user_connected", None, None),
        ("user_connected", None, None),
    ]
