"""``wsctl rules``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_server import API, FakeServer, Run

RULE: dict[str, Any] = {
    "name": "nobody_there",
    "kind": "waiting",
    "after_s": 120,
    "unless": ["held", "present"],
    "away_s": 30,
    "customer_roles": ["user", "customer"],
    "sessions": ["gewe:*"],
    "organizations": [],
    "notify": ["role:manager"],
    "channels": None,
    "fired_24h": 3,
    "last_fired_at": "2024-01-15T14:32:00Z",
}
FIRING: dict[str, Any] = {
    "rule": "nobody_there",
    "kind": "waiting",
    "at": "2024-01-15T14:32:00Z",
    "session_id": "gewe:sales:ann",
    "organization_id": "o1",
    "user_id": "ann",
    "username": "Ann",
    "message_id": "msg_1",
    "since": "2024-01-15T14:30:00Z",
    "until": "2024-01-15T14:41:12Z",
    "notify": ["role:manager of o1"],
}
EARLIER = {
    **FIRING, "rule": "slow", "at": "2024-01-15T10:00:00Z", "session_id": "s2", "until": None
}  # fmt: skip


@pytest.fixture
def server(server: FakeServer) -> FakeServer:
    """One with a rule, and two firings."""
    server.answers["GET", "/rules"] = (200, {"rules": [RULE]})
    found = {"firings": [FIRING, EARLIER], "sessions": 2, "next_cursor": None}
    server.answers["POST", "/rules/test"] = (200, found)
    return server


def test_rules_are_listed(ctl: Run) -> None:
    lines = ctl("rules").stdout.splitlines()
    assert lines[0].split()[:6] == ["RULE", "KIND", "AFTER", "UNLESS", "NOTIFY", "24H"]
    assert lines[1].split()[:4] == ["nobody_there", "waiting", "2", "min"]
    assert json.loads(ctl("rules", "-o", "json").stdout)[0] == RULE


def test_without_rules(server: FakeServer, ctl: Run) -> None:
    server.answers["GET", "/rules"] = (200, {"rules": []})
    assert "no rules" in ctl("rules").stdout + ctl("rules").stderr


def test_a_test_shows_when_and_on_whom_by_time(server: FakeServer, ctl: Run) -> None:
    lines = ctl("rules", "test", "--since", "7d").stdout.splitlines()
    assert lines[0].split()[:6] == ["AT", "RULE", "SESSION", "ON", "LASTED", "NOTIFY"]
    assert [line.split()[2:4] for line in lines[1:3]] == [
        ["slow", "s2"],
        ["nobody_there", "gewe:sales:ann"],
    ]
    assert "11 min 12 s" in lines[2]
    assert server.asked[-1].path == f"{API}/rules/test"
    shown = ctl("rules", "test", "--rule", "slow", "-o", "json").stdout
    assert [each["rule"] for each in json.loads(shown)] == ["slow"]


def test_rules_of_a_file_are_tried_before_they_are_configured(
    server: FakeServer, ctl: Run, tmp_path: Path
) -> None:
    path = tmp_path / "rules.toml"
    path.write_text('[rules.new]\nkind = "waiting"\nafter_s = 60\n')
    assert ctl("rules", "test", "--session", "s1", "--file", str(path)).exit_code == 0
    body = server.asked[-1].body
    assert body["rules"] == {"new": {"kind": "waiting", "after_s": 60}}
    assert body["session_id"] == "s1"
    path.write_text("[rules")
    assert "cannot be read" in ctl("rules", "test", "--file", str(path)).stderr
    path.write_text("[other]\n")
    assert "no table [rules.NAME]" in ctl("rules", "test", "--file", str(path)).stderr
    assert ctl("rules", "test", "--since", "1d", "--until", "2d").exit_code == 2
