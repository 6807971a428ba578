"""``wsctl nodes``, ``--node``, and answers that lack the part of some nodes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.fake_server import STATS, FakeServer, Run, page
from tests.support.terminal import on_terminal_of
from tests.support.top_states import state_with, update


def row(node: str, state: str = "up", version: str = "1.0", connections: int = 3) -> dict[str, Any]:
    since = "2024-01-15T14:30:00.000Z"
    return {"node": node, "since": since, "connections": connections, "version": version,
            "state": state}  # fmt: skip


@pytest.fixture
def server(server: FakeServer) -> FakeServer:
    """One with two nodes."""
    server.answers["GET", "/nodes"] = (200, {"nodes": [row("n1"), row("n2", "draining")]})
    return server


def test_the_nodes_are_listed(ctl: Run) -> None:
    lines = ctl("nodes").stdout.splitlines()
    assert lines[0].split() == ["NODE", "STATE", "CONNECTIONS", "UP", "FOR", "VERSION"]
    assert [line.split()[:3] for line in lines[1:]] == [["n1", "up", "3"], ["n2", "draining", "3"]]
    found = json.loads(ctl("nodes", "-o", "json").stdout)
    assert [each["node"] for each in found] == ["n1", "n2"]


def test_a_node_is_drained(ctl: Run, server: FakeServer) -> None:
    server.answers["POST", "/nodes/box/1/drain"] = (200, {"node": "box/1", "draining": True})
    assert ctl("nodes", "drain", "box/1", "--yes").stdout == "box/1 is draining\n"


def test_a_dry_run_drains_nothing(ctl: Run, server: FakeServer) -> None:
    result = ctl("nodes", "drain", "n2", "--dry-run")
    assert "draining" in result.stdout
    assert "nothing was drained" in result.stderr
    assert "no node n9" in ctl("nodes", "drain", "n9", "--dry-run").stderr
    assert {asked.method for asked in server.asked} == {"GET"}


def test_a_drain_is_asked_about_on_a_terminal(server: FakeServer) -> None:
    code, shown = on_terminal_of(server, "nodes", "drain", "n1", typed=b"n\n")
    assert "Drain n1 and its 3 connections?" in shown
    assert code == 1
    assert {asked.method for asked in server.asked} == {"GET"}


def test_a_node_that_does_not_answer_is_not_drained(ctl: Run, server: FakeServer) -> None:
    answer = {"node": "n2", "draining": False, "unreachable": ["n2"]}
    server.answers["POST", "/nodes/n2/drain"] = (200, answer)
    result = ctl("nodes", "drain", "n2", "--yes")
    assert (result.exit_code, "n2 does not answer" in result.stderr) == (1, True)


@pytest.mark.parametrize("command", ["connections", "online", "sessions", "stats"])
def test_a_node_is_selected(ctl: Run, server: FakeServer, command: str) -> None:
    ctl(command, "--node", "n2")
    assert server.asked[-1].query["node"] == "n2"


def test_nodes_that_did_not_answer_are_named(ctl: Run, server: FakeServer) -> None:
    listed = page("connections", server.connections, {})
    server.answers["GET", "/connections"] = (200, {**listed, "unreachable": ["n3", "n2"]})
    result = ctl("connections")
    assert "conn_0002" in result.stdout
    assert result.stderr == "wsctl: no answer from n2, n3: what is shown lacks their part\n"
    assert ctl("connections", "-q").stderr == ""
    assert result.exit_code == 0


def test_top_shows_the_nodes() -> None:
    state = state_with(update(1.0))
    assert state.node == STATS["node"]
    state.take_nodes([row("n1"), row("n2", "draining"), row("n3", "lost"), row("n4")])
    assert state.node == "n1, n2 draining, n3 lost, n4"
    state.take(update(2.0, unreachable=["n4"]), 1.0)
    assert state.node == "n1, n2 draining, n3 lost, n4 no answer"


def test_top_has_no_rate_where_a_node_is_missing() -> None:
    state = state_with(update(1.0), update(2.0, messages_sent=34572))
    assert state.trends["delivered"].latest == 5
    state.take(update(3.0, messages_sent=0, unreachable=["n2"]), 2.0)
    state.take(update(4.0, messages_sent=34572), 3.0)
    assert state.trends["delivered"].latest == 5
