"""Reports of clients, as ``wsctl trace --with`` reads them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wsctl.client_report import KIND, ReportError, heading, parse_report, rows
from wsctl.times import epoch, rfc3339

START = 1_700_000_000.0
AHEAD_S = 5.0
"""How far the server's clock is ahead."""


def report(events: list[Any], **fields: Any) -> str:
    """A report of alice, on whose second connection the clock was exact to 3 ms."""
    clocks = [
        {"connection_id": "conn_1", "clock": {"offset_ms": 4000, "error_ms": None}},
        {"connection_id": "conn_2", "clock": {"offset_ms": AHEAD_S * 1000, "error_ms": 3}},
    ]
    document = {"kind": KIND, "version": "0.1.0", "user_id": "alice", "connections": clocks}
    return json.dumps({**document, "events": events, **fields})


def event(at_s: float, dir_: str, type_: str, **fields: Any) -> dict[str, Any]:
    connection = {} if dir_ == "client" else {"connection": "conn_2"}
    at = rfc3339(START + at_s)
    return {"at": at, "dir": dir_, "type": type_, **connection, **fields}


STORY = [
    event(-1000, "client", "close", code=1006),
    event(-2, "client", "close", code=1006, reason="", delay_ms=250),
    event(-1.7, "client", "connect"),
    event(-1.6, "in", "connection_established", connection_id="conn_2"),
    event(-1.5, "in", "resumed", ref=4, streams=[{"stream": "session:s1", "ids": ["m0"]}]),
    event(0, "out", "send_message", ref=5, client_message_id="c1", bytes=120),
    event(0.02, "in", "new_message", id="m1", client_message_id="c1"),
    event(0.03, "in", "ack", ref=5, message_id="m1"),
    event(0.1, "in", "new_message", id="m2"),
    event(0.3, "out", "ack", ref=6, count=2, ids=["m1", "m2"]),
    event(0.35, "in", "ack", ref=6),
    event(0.4, "in", "new_message", id="m1", redelivered=True),
    event(900, "client", "close", code=1001),
]


def test_the_story_of_a_message_has_what_the_client_did_by_the_server_s_clock() -> None:
    client = parse_report(report(STORY))
    told = rows(client, "m1", START + AHEAD_S)
    assert [row["what"] for row in told] == [
        "client: lost the connection, 1006; next attempt in 0.2 s",
        "client: connects",
        "client: connected",
        "client: sends send_message (120 B)",
        "client: got new_message",
        "client: got ack",
        "client: acknowledges it, with 1 other",
        "client: got ack",
        "client: got new_message, sent again",
    ]
    assert epoch(told[4]["at"]) == pytest.approx(START + 0.02 + AHEAD_S, abs=0.0011)
    assert {row["user_id"] for row in told} == {"alice"}
    assert (told[0]["connection_id"], told[3]["connection_id"]) == (None, "conn_2")
    assert heading(client).endswith("client 0.1.0, clock corrected by +5.000 s ± 3 ms")


def test_a_message_that_came_by_resume_and_one_that_never_came() -> None:
    client = parse_report(report(STORY))
    assert "client: got it in resumed" in [row["what"] for row in rows(client, "m0", None)]
    never = rows(client, "m9", START + AHEAD_S)
    assert [row["what"].split(",")[0] for row in never] == [
        "client: lost the connection",
        "client: connects",
        "client: connected",
    ]
    assert rows(client, "m9", None) == []


def test_events_before_the_first_connection_have_its_clock() -> None:
    early = {**event(0, "in", "new_message", id="m1"), "connection": "conn_1"}
    client = parse_report(report([event(-1, "client", "connect"), early]))
    assert [epoch(row["at"]) for row in rows(client, "m1", None)] == [START + 3, START + 4]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "[" * 100_000, '{"kind": "other"}', "\ufffd", '"text"']
)
def test_what_is_no_report_is_refused(text: str) -> None:
    with pytest.raises(ReportError):
        parse_report(text)


def test_odd_values_in_a_report_do_no_harm() -> None:
    odd: list[Any] = [
        None,
        7,
        {},
        {"at": "never", "dir": "in", "type": "x", "id": "m1"},
        {"at": rfc3339(START), "dir": ["in"], "type": {"x": 1}, "id": "m1", "ref": 1},
        {"at": rfc3339(START), "dir": "in", "type": "ack", "ref": 1, "ids": "m1", "error": []},
        {"at": rfc3339(START), "dir": "out", "type": "ack", "id": "m1", "ref": [], "count": ""},
        {"at": rfc3339(START), "dir": "in", "id": "m1", "connection": ["c"], "streams": [1, {}]},
        {"at": rfc3339(START), "dir": "in", "type": "x", "id": "m1", "error": {"code": None}},
        {"at": "9999-12-31T23:59:59Z", "dir": "in", "type": "x", "id": "m1"},
    ]
    clock = {"offset_ms": 1e300, "error_ms": "1"}
    connections = [{"connection_id": "c", "clock": clock}, 7, {"connection_id": [], "clock": {}}]
    client = parse_report(report(odd, user_id=["x"], connections=connections, made_at=1))
    assert len(rows(client, "m1", None)) == 5
    assert heading(client) == "unknown user, report of ?, client 0.1.0, clock unknown"
    assert parse_report(json.dumps({"kind": KIND, "events": {"a": 1}})).events == []
