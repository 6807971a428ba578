"""``wsctl chaos``: what it asks the server for, and what it shows."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.fake_server import FakeServer, Run

DISTURBED: dict[str, Any] = {
    "user_id": "u1",
    "delay_ms": 300.0,
    "jitter_ms": 0.0,
    "drop": 0.05,
    "bytes_per_s": 0.0,
    "cut_every_s": 0.0,
    "direction": "to_client",
    "by": "ops",
    "ends_at": "2024-01-15T14:35:00.000Z",
}


def test_units_are_those_of_the_api(ctl: Run, server: FakeServer) -> None:
    server.answers["PUT", "/users/u1/chaos"] = (200, {**DISTURBED, "connected": 2})
    result = ctl("chaos", "u1", "--delay", "300ms", "--drop", "5", "--direction", "to-client")
    assert result.stdout.startswith("2 connections of u1 disturbed until ")
    assert server.asked[-1].body == {
        "delay_ms": 300.0,
        "drop": 0.05,
        "direction": "to_client",
        "duration_s": 300.0,
    }


def test_connections_are_cut(ctl: Run, server: FakeServer) -> None:
    server.answers["PUT", "/users/u1/chaos"] = (200, {**DISTURBED, "connected": 1})
    assert ctl("chaos", "u1", "--cut").stdout == "cut 1 connection of u1\n"


def test_those_in_force_are_listed(ctl: Run, server: FakeServer) -> None:
    server.answers["GET", "/chaos"] = (200, {"disturbed": [DISTURBED]})
    header, line = ctl("chaos").stdout.splitlines()
    assert header.split()[:4] == ["USER", "DELAY", "JITTER", "DROP"]
    assert line.split()[:5] == ["u1", "300", "ms", "5", "%"]


@pytest.mark.parametrize(
    "words", [["u1"], ["--cut"], ["u1", "--end", "--cut"], ["--end"], ["u1", "--drop", "101"]]
)
def test_what_says_nothing_is_refused(ctl: Run, words: list[str]) -> None:
    assert ctl("chaos", *words).exit_code == 2
