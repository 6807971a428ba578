"""Stored statistics: one moment, two compared, a course, a chart."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.fake_server import ADMIN, STATS, FakeServer, Run
from tests.support.terminal import Terminal
from wsctl.errors import BadUsage, Failed
from wsctl.output.stats_fields import TEN, as_live, as_stored, people_rows
from wsctl.snapshots.analysis import (
    chart_columns,
    compare,
    one_node,
    points_of,
    rates,
    snapshot_at,
    step_for,
)
from wsctl.snapshots.history import Range
from wsctl.times import parse_moment, rfc3339

START = 1_705_329_000.0  # 2024-01-15T14:30:00Z


def snapshot(at: float, node: str = "n1", **more: Any) -> dict[str, Any]:
    figures = dict.fromkeys(TEN, 0) | {"uptime_s": 10_000 + at, "samples": 1, "sequence": 1}
    return {"timestamp": rfc3339(START + at), "node": node, **figures, **more}


def test_what_is_stored_and_what_is_live_have_one_shape() -> None:
    stored = as_stored(STATS)
    assert stored["deliver_ms_p99"] == 3.25
    assert stored["messages_sent_per_s"] == 45.25
    assert stored["notifications_websocket_acknowledged_ms_p50"] == 950.0
    assert as_live(stored) == STATS


def test_people_see_the_channels_by_which_something_has_gone() -> None:
    rows = {row["field"]: row["value"] for row in people_rows(STATS)}
    assert rows["websocket sent/retried/failed/expired/acknowledged"] == "1,200/0/0/3/9"
    assert rows["websocket acknowledged p50/p99"] == "950/- ms"
    assert not any(field.startswith("email") for field in rows)


@given(st.lists(st.floats(START, START + 0.01), min_size=1), st.booleans())
@example([START + 0.007999999], False)
@example([START + 0.0079999, START + 0.008], True)
@example([START + 0.0080000002, START + 0.0080000005], True)
def test_a_time_that_was_shown_finds_its_snapshot_again(stored: list[float], is_api: bool) -> None:
    stored.sort()

    def on_the_wire(seconds: float) -> float:
        return parse_moment(rfc3339(seconds), 0.0) if is_api else seconds

    def source(wanted: Range) -> list[dict[str, Any]]:
        since, until = on_the_wire(wanted.since), on_the_wire(wanted.until)
        return [
            {"timestamp": rfc3339(at), "node": "n1", "at": at}
            for at in stored if since <= at < until
        ]  # fmt: skip

    for at in stored:
        shown = rfc3339(at)
        found = snapshot_at(source, parse_moment(shown, 0.0), None)
        assert found["timestamp"] == shown
        assert found["at"] == max(each for each in stored if rfc3339(each) == shown)
        first = source(Range(parse_moment(shown, 0.0), START + 1))[0]
        assert first["at"] == min(each for each in stored if rfc3339(each) == shown)


def test_the_last_snapshot_before_a_moment_is_looked_for_further_and_further() -> None:
    asked: list[Range] = []

    def source(wanted: Range) -> list[dict[str, Any]]:
        asked.append(wanted)
        old, new = snapshot(-80_000), snapshot(-79_000)
        return [old, new] if wanted.since < START - 80_000 else []

    assert snapshot_at(source, START, None) == snapshot(-79_000)
    assert [(START - one.since, one.step_s) for one in asked] == [(3600, 3600), (86400, 86400)]
    assert asked[0].until > START, "a snapshot of that very moment is in it"
    with pytest.raises(Failed, match="no snapshot was stored before"):
        snapshot_at(lambda _: [], START, None)


def test_several_nodes_have_to_be_chosen_from() -> None:
    found = [snapshot(0, "a"), snapshot(0, "b"), snapshot(60, "a")]
    with pytest.raises(BadUsage, match="--node a or b"):
        one_node(found, None)
    with pytest.raises(BadUsage, match="no snapshots of c, only of a, b"):
        one_node(found, "c")
    assert one_node(found, "a") == [found[0], found[2]]


def test_a_comparison_shows_growth_and_rate() -> None:
    found = compare(
        snapshot(0, messages_sent=100, total_connections=9, deliver_ms_p99=None),
        snapshot(60, messages_sent=400, total_connections=5, deliver_ms_p99=2.5),
    )
    changes = {change.field: change for change in found.changes}
    assert (changes["messages_sent"].change, changes["messages_sent"].per_s) == (300, 5.0)
    assert (changes["total_connections"].change, changes["total_connections"].per_s) == (-4, None)
    assert (changes["deliver_ms_p99"].after, changes["deliver_ms_p99"].change) == (2.5, None)
    assert not found.has_restarted
    assert not {"timestamp", "node", "sequence", "samples"} & set(changes)


def test_a_restart_in_between_makes_no_negative_growth() -> None:
    before, after = snapshot(0, errors=50), snapshot(600, errors=3, uptime_s=30.0)
    found = compare(before, after)
    (errors,) = [change for change in found.changes if change.field == "errors"]
    assert (found.has_restarted, errors.change, errors.per_s) == (True, 3, None)
    assert [grown.get("errors") for _, grown in rates([before, after])] == [None, 0.1]


def test_points_of_a_counter_are_its_growth_and_of_a_gauge_its_value() -> None:
    found = [snapshot(n * 60.0, messages_sent=n * n * 60, active_users=n) for n in range(3)]
    assert points_of(found, "messages_sent") == [(START + 60, 1.0), (START + 120, 3.0)]
    assert [value for _, value in points_of(found, "active_users")] == [0, 1, 2]
    with pytest.raises(BadUsage, match="no stored field 'actve_users'; available: active_users"):
        points_of(found, "actve_users")
    assert points_of([], "whatever") == []


@pytest.mark.parametrize(
    ("seconds", "columns", "step"),
    [(3600, 60, 60), (3600, 68, 60), (86_400, 68, 1800), (10, 60, 1), (40 * 86_400, 20, 172_800)],
)
def test_a_step_fits_the_columns(seconds: float, columns: int, step: int) -> None:
    assert step_for(seconds, columns) == step


def test_a_point_covers_the_time_since_the_previous_one_but_a_gap_remains() -> None:
    points = [(60.0, 1.0), (120.0, 2.0), (180.0, 3.0), (600.0, 4.0)]
    columns = chart_columns(points, 0.0, 30.0, 22)
    assert columns[:7] == [1.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0]
    assert columns[7:16] == [None] * 9
    assert columns[19:] == [4.0, 4.0, None]
    assert chart_columns([], 0.0, 1.0, 2) == [None, None]


# The command


@pytest.fixture
def past(server: FakeServer) -> FakeServer:
    server.snapshots = [
        snapshot(n * 60.0, messages_sent=n * 600, total_connections=n, deliver_ms_p99=0.5,
                 messages_sent_per_s=9.0) for n in range(11)
    ]  # fmt: skip
    return server


AT, TO = rfc3339(START), rfc3339(START + 600)


def test_at_asks_for_that_moment(ctl: Run, past: FakeServer) -> None:
    past.snapshots = past.snapshots[:3]
    result = ctl("stats", "--at", rfc3339(START + 125))
    shown = {line[:25].strip(): line[25:].split() for line in result.stdout.splitlines()}
    assert shown["total connections"] == ["2"]
    assert shown["messages sent"] == ["1,200", "9", "/s"]
    assert shown["deliver p99"] == ["0.5", "ms"]
    assert re.search(r"as of .*, 5\.0 s earlier\n", result.stderr)
    query = past.asked[0].query
    assert (query["until"], query["step"]) == (rfc3339(START + 125.001), "3600s")
    as_json = json.loads(ctl("stats", "--at", AT, "-o", "json").stdout)
    assert as_json == past.snapshots[-1]
    (row,) = csv.DictReader(io.StringIO(ctl("stats", "--at", AT, "-o", "csv").stdout))
    assert row["messages_sent"] == "1200"


def test_diff_compares_two_moments_or_one_with_now(ctl: Run, past: FakeServer) -> None:
    every = list(past.snapshots)
    past.answers["GET", "/stats/history"] = (200, {"snapshots": [every[0]], "next_cursor": None})
    result = ctl("stats", "--diff", AT)
    row = next(line for line in result.stdout.splitlines() if line.startswith("messages sent"))
    assert row.split()[2:5] == ["0", "34,567", "≥"], "the server of now started later"
    assert "restarted" in result.stderr
    assert json.loads(ctl("stats", "--at", AT, "--diff", TO, "-o", "json").stdout)["seconds"] == 0
    lines = list(csv.DictReader(io.StringIO(ctl("stats", "--diff", AT, "-o", "csv").stdout)))
    assert [line["field"] for line in lines][:10] == list(TEN)


def test_diff_leaves_channels_out_by_which_nothing_goes(ctl: Run, past: FakeServer) -> None:
    for number, snapshot in enumerate(past.snapshots):
        snapshot["notifications_sms_sent"], snapshot["notifications_push_sent"] = 0, number
    shown = ctl("stats", "--at", AT, "--diff", TO).stdout
    assert ("push sent" in shown, "sms" in shown) == (True, False)
    assert "notifications_sms_sent" in ctl("stats", "--at", AT, "--diff", TO, "-o", "csv").stdout


def test_step_gives_a_row_for_each(ctl: Run, past: FakeServer) -> None:
    result = ctl("stats", "--at", AT, "--diff", TO, "--step", "1m")
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["TIME", "CONNECTIONS", "USERS", "SESSIONS", "IN", "/S", "OUT", "/S",
                                "ERRORS", "/S", "P99", "MS"]  # fmt: skip
    assert len(lines) == 12
    assert lines[2].split()[1:] == ["1", "0", "0", "0", "10", "0", "0.5"]
    query = past.asked[0].query
    assert (query["since"], query["until"], query["step"]) == (rfc3339(START - 60), TO, "60s")
    rows = json.loads(ctl("stats", "--at", AT, "--step", "60s", "-o", "json").stdout)
    assert [row["messages_sent"] for row in rows][:3] == [0, 600, 1200]


@pytest.mark.parametrize(
    ("flags", "header"),
    [
        (("--step", "1h"), ",".join(("timestamp", "node", *TEN))),
        (("--plot", "active_users", "--plot", "errors"), "timestamp,active_users,errors_per_s"),
    ],
    ids=["step", "plot"],
)
def test_csv_of_nothing_has_its_header(ctl: Run, flags: tuple[str, ...], header: str) -> None:
    result = ctl("stats", "--at", "24h", *flags, "-o", "csv")
    assert (result.exit_code, result.stdout) == (0, f"{header}\n")


def test_plot_draws_a_chart_for_each_field(ctl: Run, past: FakeServer) -> None:
    flags = ("stats", "--at", AT, "--diff", TO)
    text = ctl(*flags, "--plot", "messages_sent", "--plot", "total_connections").stdout
    first, second = (
        line for line in text.splitlines() if line.startswith(("messages", "total"))
    )  # fmt: skip
    assert first == "messages sent /s  min 10  mean 10  max 10  (step: 10 s)"
    assert second.startswith("total connections  min 0  mean 4.5  max 9")
    assert "10 ┤" in text
    assert "5 ┤" in text
    assert max(map(len, text.splitlines())) <= 80
    assert len(text.splitlines()) <= 24
    rows = json.loads(ctl(*flags, "--plot", "messages_sent", "-o", "json").stdout)
    assert rows[0] == {"timestamp": rfc3339(START + 60), "messages_sent_per_s": 10.0}
    past.snapshots = []
    assert ctl(*flags, "--plot", "errors").stderr == "no snapshots in this range\n"


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (200, 50)])
def test_a_chart_fills_the_terminal(past: FakeServer, columns: int, lines: int) -> None:
    flags = ("--at", AT, "--diff", TO, "--plot", "total_connections", "--plot", "messages_sent")
    target = ("--url", past.url, "--token", ADMIN)
    with Terminal(*target, "stats", *flags, columns=columns, lines=lines) as terminal:
        assert terminal.end() == 0
        shown = [line.rstrip() for line in terminal.screen.display]
        assert len([line for line in shown if line]) <= lines
        rules = [line for line in shown if "└" in line]
        assert len(rules) == 2
        assert columns * 0.7 < len(rules[0]) <= columns
        assert not any(line.endswith("…") for line in shown)


@pytest.mark.parametrize(
    "args",
    [
        ["--watch", "--at", "1h"],
        ["--database", "x"],
        ["--step", "1.5s"],
        ["--at", "1h", "--diff", "1h", "--step", "5m"],
        ["--at", "25:00"],
    ],
)
def test_bad_usage_is_2(ctl: Run, server: FakeServer, args: list[str]) -> None:
    assert ctl("stats", *args).exit_code == 2
    assert server.asked == []


def test_a_time_of_day_is_the_last_one_here(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    try:
        for text, moment in (
            ("22:29", "2024-01-15T14:29:00.000Z"),
            ("22:30:00", "2024-01-15T14:30:00.000Z"),
            ("22:31", "2024-01-14T14:31:00.000Z"),
            ("0:05:30", "2024-01-14T16:05:30.000Z"),
        ):
            assert rfc3339(parse_moment(text, START)) == moment
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("now", "text", "moment"),
    [
        # 01:40 for the second time, the clocks went back at 02:00: 01:50 was 50 minutes ago.
        ("2026-11-01T06:40:00+00:00", "01:50", "2026-11-01T05:50:00.000Z"),
        ("2026-11-01T06:40:00+00:00", "01:30", "2026-11-01T06:30:00.000Z"),
        ("2026-11-01T12:00:00+00:00", "01:30", "2026-11-01T06:30:00.000Z"),
        # 02:30 was left out in the morning of the 8th: the last one was on the 7th.
        ("2026-03-08T07:10:00+00:00", "02:30", "2026-03-07T07:30:00.000Z"),
    ],
)
def test_a_time_of_day_where_clocks_are_changed(
    monkeypatch: pytest.MonkeyPatch, now: str, text: str, moment: str
) -> None:
    import time
    from datetime import datetime

    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert rfc3339(parse_moment(text, datetime.fromisoformat(now).timestamp())) == moment
    finally:
        monkeypatch.undo()
        time.tzset()
