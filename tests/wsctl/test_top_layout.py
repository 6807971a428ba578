"""Frames of every size: exact lines, exact cells, everything said in words."""

from __future__ import annotations

import pytest

from tests.support.top_states import state_with, update
from wsctl.top.layout import Moment, frame
from wsctl.top.model import State
from wsctl.top.view import View

MOMENT = Moment(40.0, "14:30:05")


@pytest.fixture
def state() -> State:
    names = ["王五", "👩‍💻 Ada", "❤️ Eve", "👍🏽", "🇩🇪", "e\u0301", "\x1b[2Jx", "x" * 90, ""]
    busiest = {
        "users": [
            {"user_id": f"u{n}", "username": name, "messages_per_s": 10.0 - n}
            for n, name in enumerate(names)
        ],
        "sessions": [{"session_id": "s" * 128, "messages_per_s": 1234.5}],
    }
    found = state_with(
        *(
            update(n, busiest=busiest, messages_received=n * n, messages_sent=n * 100)
            for n in range(1, 40)
        )
    )
    found.take_link(True, "watching", 0.0, "t")
    found.take_health({"status": "ok", "checks": {
        "database": {"ok": True, "queued": 7}, "loop": {"ok": True, "lag_ms": 1.5}}})  # fmt: skip
    for number, name in enumerate(names):
        event = {"name": "user_connected", "user_id": f"u{number}", "username": name}
        found.take({"type": "event", "timestamp": "2024-01-15T14:30:00Z", "event": event}, 1.0)
    return found


def lines_of(state: State, view: View, width: int, height: int) -> list[str]:
    lines = frame(state, view, width, height, MOMENT)
    assert len(lines) == height
    assert {line.cell_len for line in lines} == {width}
    return [line.plain.rstrip() for line in lines]


@pytest.mark.parametrize("width", [20, 40, 59, 60, 80, 119, 120, 200, 301])
@pytest.mark.parametrize("height", [5, 12, 13, 16, 24, 25, 50, 90])
def test_every_size_is_filled_exactly(state: State, width: int, height: int) -> None:
    for view in (View(), View(is_zoomed=True, pane="events"), View(has_help=True),
                 View(is_typing=True, filter="王"), View(scroll={"sessions": 0, "users": 3,
                                                                "events": 99})):  # fmt: skip
        lines_of(state, view, width, height)
    state.take_link(False, "the server closed with 1012", 30.0, "t")
    lines_of(state, View(), width, height)


def test_a_usual_terminal_shows_all_of_it(state: State) -> None:
    lines = lines_of(state, View(), 80, 24)
    text = "\n".join(lines)
    for words in (
        "http://server · n1 · up 39 s · ok", "live  14:30:05", "connections 12 (11 active)",
        "users 7", "sessions 3 (9 joined)", "errors 1", "deliver p50/p99 0.4/3.25 ms",
        "queued to clients 145 KiB", "database writes waiting 7", "loop lag ms 1.5",
        "messages in", "77 /s", "deliveries out", "100 /s", "▶sessions", "SESSION", "users",
        "王五", "events", "user_connected", "q quit", "? help",
    ):  # fmt: skip
        assert words in text, words
    assert "\x1b" not in text
    assert "…" not in lines[-1]


def test_a_large_terminal_is_used(state: State) -> None:
    small, large = lines_of(state, View(), 80, 24), lines_of(state, View(), 200, 50)
    assert sum(line.count("█") for line in large) > 3 * sum(line.count("█") for line in small)
    head = next(line for line in large if "▶sessions" in line)
    assert "users" in head
    assert "events" in head, "side by side"


def test_columns_stand_under_each_other_whatever_the_names(state: State) -> None:
    lines = frame(state, View(), 200, 50, MOMENT)
    plain = [line.plain for line in lines]
    start = next(n for n, line in enumerate(plain) if "USER " in line)
    rules = {
        tuple(lines[n][:index].cell_len for index, c in enumerate(plain[n]) if c == "│")
        for n in range(start, start + 9)
    }
    assert len(rules) == 1


@pytest.mark.parametrize("width", [80, 100, 120, 160])
def test_ids_get_the_width_that_a_column_beside_them_does_not_fill(width: int) -> None:
    found = state_with(update(1, active_sessions=1, active_users=1))
    found.take_lists([{"session_id": "order-20240115-0001"}], [{"user_id": "zhangsan@ab.cn"}])
    text = "\n".join(lines_of(found, View(), width, 40))
    assert "order-20240115-0001 " in text
    assert "zhangsan@ab.cn " in text


def test_a_long_id_leaves_the_columns_beside_it_what_they_need() -> None:
    found = state_with(update(1))
    users = [{"user_id": "u" * 128, "metadata": {"username": "张三"}, "connections": 2}]
    found.take_lists([], users)
    (row,) = (line for line in lines_of(found, View(), 80, 40) if "uuu" in line)
    assert "u… 张三" in row
    assert row.endswith(" 2")


def test_what_is_wrong_is_said_in_words(state: State) -> None:
    state.take_health({"status": "degraded", "checks": {
        "database": {"ok": False, "last_error": "the disk is full"}}})  # fmt: skip
    state.take_link(False, "the server closed with 1012", 30.0, "t")
    text = "\n".join(lines_of(state, View(), 80, 24))
    assert "degraded" in text
    assert "database NOT OK last error the disk is full" in text
    assert "NOT CONNECTED" in text
    assert "no connection for 10 s: the server closed with 1012" in text


def test_when_it_is_tried_again_is_within_80_columns(state: State) -> None:
    why = f"cannot reach {state.url}: Connection refused; next attempt in 12.9 s"
    state.take_link(False, why, 30.0, "t")
    lines = lines_of(state, View(), 80, 24)
    assert " ! no connection for 10 s: Connection refused; next attempt in 12.9 s" in lines


def test_errors_are_shown_however_large_the_other_figures(state: State) -> None:
    found = state_with(
        update(
            1, total_connections=50_000, active_connections=50_000, active_users=50_000,
            active_sessions=10_000, total_session_connections=50_000, errors=123_456,
        )
    )  # fmt: skip
    found.take_link(True, "watching", 0.0, "t")
    assert "errors 123,456" in lines_of(found, View(), 80, 24)[1]


def test_a_filter_shows_how_much_it_has_searched(state: State) -> None:
    found = state_with(update(1, active_users=5001, active_sessions=1))
    found.take_link(True, "watching", 0.0, "t")
    found.take_lists([{"session_id": "s1"}], [{"user_id": f"u{n}"} for n in range(200)])
    view = View(filter="u199", pane="users")
    text = "\n".join(lines_of(found, view, 80, 24))
    assert "users · 1 match; searched 200 of 5,001" in text
    view.filter = "u4999"
    lines = lines_of(found, view, 80, 24)
    assert any("none among these 200" in line for line in lines)
    assert any(line.startswith(" none ") for line in lines)  # of the sessions all are known


def test_pause_sort_filter_and_zoom_are_shown(state: State) -> None:
    paused = "\n".join(lines_of(state, View(frozen=state), 80, 24))
    assert "PAUSED" in paused
    assert "p resume" in paused
    view = View(filter="王五", sort="name", pane="users", is_zoomed=True)
    lines = lines_of(state, view, 80, 24)
    assert lines[1] == "▶users"
    assert "u0" in lines[3]
    assert lines[4] == ""
    assert "sort: name" in lines[-1]
    assert "filter: 王五" in lines[-1]


def test_more_rows_than_room_are_counted(state: State) -> None:
    view = View(pane="events", scroll={"sessions": 0, "users": 0, "events": 3})
    assert "▶events · 4-9 of 9" in "\n".join(lines_of(state, view, 80, 24))


def test_lists_that_are_not_permitted_say_so(state: State) -> None:
    found = state_with(update(1))
    found.take_lists([], [], "this needs the permission connections:read")
    assert "this needs the permission" in "\n".join(lines_of(found, View(), 80, 24))
