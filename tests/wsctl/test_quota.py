"""``wsctl quota`` and ``wsctl usage``."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.export_database import make_database
from tests.support.fake_server import API, FakeServer, Run, page
from wsserver.extensions.quotas.extension import QUOTAS

ACME = "organization:acme"
QUOTA: dict[str, Any] = {
    "scope": ACME,
    "used": 812.5,
    "limit": 1000,
    "remaining": 187.5,
    "unit": "tokens",
    "period": "month",
    "starts_at": "2024-01-01T00:00:00Z",
    "resets_at": "2024-02-01T00:00:00Z",
    "budget": 500,
    "cost": 12.25,
    "currency": "CNY",
    "timezone": "UTC",
    "at_limit": "stop",
    "exhausted": False,
    "updated_at": "2024-01-01T10:00:00Z",
    "updated_by": "boss",
}
POINTS = [
    {"at": "2024-01-15T10:00:00Z", "scope": ACME, "source": "ai", "amount": 30, "cost": 1.5,
     "reports": 2},
    {"at": "2024-01-15T12:00:00Z", "scope": ACME, "source": "", "amount": 10, "cost": 0,
     "reports": 1},
]  # fmt: skip


@pytest.fixture
def server(server: FakeServer) -> FakeServer:
    """One with a quota."""
    server.answers["GET", "/quotas"] = (200, page("quotas", [QUOTA], {}))
    for method in ("GET", "PUT"):
        server.answers[method, f"/quotas/{ACME}"] = (200, QUOTA)
    server.answers["DELETE", f"/quotas/{ACME}"] = (200, {"deleted": ACME})
    usage = {"usage": POINTS, "step_s": 3600, "truncated": False}
    server.answers["GET", "/usage"] = (200, usage)
    return server


def test_quotas_are_listed(ctl: Run) -> None:
    lines = ctl("quota", "list").stdout.splitlines()
    assert lines[0].split()[:4] == ["SCOPE", "USED", "LIMIT", "%"]
    assert lines[1].split()[:5] == [ACME, "812.5", "1,000", "81", "tokens"]
    assert json.loads(ctl("quota", "list", "-o", "json").stdout) == [QUOTA]


def test_a_quota_is_shown(ctl: Run, server: FakeServer) -> None:
    text = ctl("quota", "show", ACME).stdout
    for part in ("812.5 of 1,000 tokens used (81%)", "12.25 of 500 CNY", "at the limit: stop"):
        assert part in text
    exhausted = {**QUOTA, "exhausted": True, "budget": None, "resets_at": None}
    server.answers["GET", f"/quotas/{ACME}"] = (200, exhausted)
    text = ctl("quota", "show", ACME).stdout
    assert ("exhausted" in text, "cost" in text, "resets" in text) == (True, False, False)


def test_a_quota_is_set_and_deleted(ctl: Run, server: FakeServer) -> None:
    result = ctl("quota", "set", ACME, "--limit", "1000", "--unit", "tokens", "--period", "month",
                 "--budget", "500", "--currency", "CNY", "--stop")  # fmt: skip
    assert result.stdout == f"{ACME}: 812.5 of 1,000 tokens used\n"
    asked = server.asked[-1]
    assert (asked.method, asked.path) == ("PUT", f"{API}/quotas/{ACME}")
    assert asked.body == {
        "limit": 1000, "unit": "tokens", "period": "month", "budget": 500, "currency": "CNY",
        "at_limit": "stop",
    }  # fmt: skip
    assert ctl("quota", "delete", ACME, "--yes").stdout == f"the quota of {ACME} is deleted\n"


def test_usage_is_listed_and_drawn(ctl: Run, server: FakeServer) -> None:
    lines = ctl("usage", ACME, "--since", "2024-01-15", "--until", "2024-01-16").stdout.splitlines()
    assert lines[1].split()[-3:] == ["30", "1.5", "2"]
    query = server.asked[-1].query
    assert (query["scope"], query["step"]) == (ACME, "3600s")
    drawn = ctl(
        "usage", ACME, "--since", "2024-01-15", "--until", "2024-01-16", "--plot"
    ).stdout.splitlines()
    assert drawn[0].startswith("used: 40")
    assert any("█" in line for line in drawn)
    assert [line.split() for line in drawn[-2:]] == [["30", "ai"], ["10", "(no", "source)"]]
    assert json.loads(ctl("usage", "--plot", "-o", "json").stdout) == POINTS


@pytest.mark.parametrize(
    "args", [("--step", "1500ms"), ("--since", "2024-01-16", "--until", "2024-01-15")]
)
def test_bad_times_are_refused(ctl: Run, args: tuple[str, ...]) -> None:
    assert ctl("usage", *args).exit_code == 2


def test_nothing_used_and_more_than_shown(ctl: Run, server: FakeServer) -> None:
    server.answers["GET", "/usage"] = (200, {"usage": [], "step_s": 3600, "truncated": True})
    for args in ((), ("--plot",)):
        result = ctl("usage", *args)
        assert "nothing was used" in result.stderr
        assert "there is more" in result.stderr


def test_usage_is_exported(ctl: Run, server: FakeServer) -> None:
    row = {"position": 1, "at": "2024-01-15T10:00:00Z", "scope": ACME, "unit": "tokens",
           "amount": 1.5, "cost": 0, "source": "ai", "session_id": None, "message_id": None,
           "reported_by": "crm"}  # fmt: skip
    answer = {"usage": [row], "position": 1, "end": 1, "epoch": "e1"}
    server.answers["GET", "/export/usage"] = (200, answer)
    lines = ctl("export", "usage").stdout.splitlines()
    assert lines == [
        "at,scope,unit,amount,cost,source,session_id,message_id,reported_by",
        f"2024-01-15T10:00:00Z,{ACME},tokens,1.5,0,ai,,,crm",
    ]


def test_usage_is_exported_from_the_file_of_the_server(ctl: Run, tmp_path: Path) -> None:
    path = make_database(tmp_path / "d.sqlite3")
    assert ctl("export", "usage", "--database", str(path), "--format", "ndjson").stdout == ""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in QUOTAS.migrations[0].ddl("sqlite"):
            db.execute(statement)
        for amount in (1_500_000, 2_000_000):
            db.execute(
                "INSERT INTO quota_usage (at, scope, unit, amount, cost, source, reported_by)"
                " VALUES (?, ?, 'tokens', ?, 0, 'ai', 'crm')",
                [time.time() - 60, ACME, amount],
            )
    state = tmp_path / "usage.state"
    arguments = ("export", "usage", "--database", str(path), "--format", "ndjson")
    for expected in ([1.5, 2], []):
        text = ctl(*arguments, "--since-last", str(state)).stdout
        rows = [json.loads(line) for line in text.splitlines()]
        assert [row["amount"] for row in rows] == expected
        assert all(row["cost"] == 0 and row["session_id"] is None for row in rows)
