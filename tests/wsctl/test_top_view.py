"""Keys, and what they do."""

from __future__ import annotations

import pytest

from tests.support.top_states import state_with, update
from wsctl.top.keys import Keys
from wsctl.top.model import State
from wsctl.top.view import View, events_of, rows_of


@pytest.fixture
def state() -> State:
    busiest = {
        "users": [
            {"user_id": "u1", "username": "b", "messages_per_s": 1.0},
            {"user_id": "u2", "username": "a", "messages_per_s": 9.0},
        ]
    }
    found = state_with(update(1, busiest=busiest))
    found.take_lists([], [{"user_id": "u3", "connections": 4, "metadata": {"username": "王五"}}])
    for number in range(30):
        found.take({"type": "event", "event": {"name": "user_connected", "user_id": number}}, 1.0)
    return found


def pressed(state: State, *keys: str) -> View:
    view = View()
    for key in keys:
        view.press(key, state)
    return view


def users(state: State, view: View) -> list[str]:
    return [row.id for row in rows_of(state, view, "users")]


def test_sorting_goes_round(state: State) -> None:
    assert users(state, pressed(state)) == ["u2", "u1", "u3"]
    assert users(state, pressed(state, "s")) == ["u3", "u2", "u1"]
    assert users(state, pressed(state, "s", "s")) == ["u2", "u1", "u3"]
    assert pressed(state, "s", "s").sort == "name"
    assert pressed(state, "s", "s", "s") == View()


def test_a_filter_is_typed_kept_and_taken_away(state: State) -> None:
    typing = pressed(state, "/", "q", "backspace", "王")
    assert (typing.is_typing, typing.filter, typing.is_over) == (True, "王", False)
    kept = pressed(state, "/", *"王", "enter")
    assert (kept.is_typing, users(state, kept)) == (False, ["u3"])
    assert pressed(state, "/", "x", "escape") == View()
    assert pressed(state, "/", "x", "enter", "escape") == View()
    for_events = pressed(state, "/", *"ID=29", "enter")
    assert [push["event"]["user_id"] for push in events_of(state, for_events)] == [29]


def test_a_pause_keeps_the_state_as_it_was(state: State) -> None:
    view = pressed(state, "p")
    state.take(update(2, total_connections=99), 2.0)
    assert view.shown(state).stats["total_connections"] == 12
    view.press(" ", state)
    assert view.shown(state).stats["total_connections"] == 99


def test_panes_and_movement(state: State) -> None:
    assert pressed(state, "tab").pane == "users"
    assert pressed(state, "left").pane == pressed(state, "backtab").pane == "events"
    assert pressed(state, "right", "right", "right").pane == "sessions"
    assert pressed(state, "left", "page down", "down", "up", "down").scroll["events"] == 11
    assert pressed(state, "left", *["page down"] * 9).scroll["events"] == 29
    assert pressed(state, "left", "page down", "home").scroll["events"] == 0
    assert pressed(state, "down", "page up").scroll["sessions"] == 0


def test_help_is_left_by_any_key_and_q_quits(state: State) -> None:
    assert pressed(state, "?").has_help
    assert pressed(state, "?", "q") == View()
    assert pressed(state, "q").is_over
    assert pressed(state, "z").is_zoomed
    assert pressed(state, "z", "z", "unknown") == View()


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"q", ["q"]),
        (b"\x1b[A\x1bOB", ["up", "down"]),
        (b"\t\x1b[Z\r\x7f", ["tab", "backtab", "enter", "backspace"]),
        (b"\x1b", ["escape"]),
        (b"\x1b[5~\x1b[6~\x1b[H", ["page up", "page down", "home"]),
        (b"\x1b[1;5A\x1b[200~x\x00\x01", ["x"]),
        ("王五".encode(), ["王", "五"]),
    ],
)
def test_bytes_become_keys(data: bytes, keys: list[str]) -> None:
    assert Keys().feed(data) == keys


def test_a_character_may_come_in_two_pieces() -> None:
    keys = Keys()
    first, second = "王".encode()[:1], "王".encode()[1:]
    assert (keys.feed(first), keys.feed(second)) == ([], ["王"])
