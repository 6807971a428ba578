"""wsctl shows the cluster: nodes, connections and statistics of all, and who does not answer."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from scripts.backends.valkey import ValkeyProcess
from tests.support.cluster_servers import ClusterServers, without_messages
from tests.support.running_server import ADMIN, RunningServer
from tests.support.server_process import environment
from tests.support.terminal import Terminal
from tests.support.tokens import token
from tests.support.waiting import PATIENCE_S, poll
from tests.support.websocket_clients import RawClient, open_client

pytestmark = pytest.mark.slow


def wsctl(server: RunningServer, *words: str) -> tuple[Any, str]:
    """What a command prints as JSON, and what it says to people."""
    done = subprocess.run(
        [sys.executable, "-m", "wsctl", "-o", "json", *words],
        env=environment(**address(server)),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.stdout, done.stderr
    return json.loads(done.stdout), done.stderr


def address(server: RunningServer) -> dict[str, str]:
    return {"WSCTL_URL": f"http://127.0.0.1:{server.port}", "WSCTL_TOKEN": ADMIN}


def test_commands_show_all_nodes_and_name_who_does_not_answer(
    nodes: ClusterServers, shared_valkey: ValkeyProcess
) -> None:
    n1, n2 = nodes.nodes["n1"], nodes.nodes["n2"]
    clients = [open_client(node, bearer=token(f"w{i}")) for i, node in enumerate((n1, n2))]
    for client in clients:
        client.push("connection_established")
    poll(lambda: n1.get("/connections").ok["total"], lambda total: total == 2)
    states = {each["node"]: each["state"] for each in wsctl(n1, "nodes")[0]}
    assert states == {"n1": "up", "n2": "up"}
    listed, _ = wsctl(n1, "connections")
    assert {(each["user_id"], each["node"]) for each in listed} == {("w0", "n1"), ("w1", "n2")}
    assert wsctl(n1, "stats")[0]["total_connections"] == 2
    assert wsctl(n1, "stats", "--node", "n2")[0]["total_connections"] == 1
    checks = {each["id"]: each["state"] for each in wsctl(n1, "doctor")[0]["checks"]}
    assert (checks["cluster.clocks"], checks["cluster.settings"]) == ("ok", "ok")
    with Terminal("top", "--interval", "250ms", env=address(n1), cwd=n1.folder) as terminal:
        terminal.until("live", "connections 3", "n1, n2")
        terminal.type("q")
        assert terminal.end() == 0
    with without_messages(shared_valkey):
        for words in (["connections"], ["online"], ["sessions"], ["stats"], ["nodes"]):
            assert "no answer from n2" in wsctl(n1, *words)[1], words
    for client in clients:
        client.close()


def test_commands_at_and_about_a_draining_node(nodes: ClusterServers) -> None:
    n1 = nodes.nodes["n1"]
    drained = nodes.start("n3", drain_timeout_s=2 * PATIENCE_S)
    here = open_client(n1, bearer=token("w0"))
    here.push("connection_established")
    silent = RawClient(drained)  # never answers the close frame, so that the drain lasts
    silent.open(token("w1"))
    assert n1.post("/nodes/n3/drain").ok["draining"]
    with Terminal("top", env=address(drained), cwd=drained.folder) as refused:
        for asked, http in ((n1, "ok"), (drained, "failed")):
            states = {each["node"]: each["state"] for each in wsctl(asked, "nodes")[0]}
            assert states == {"n1": "up", "n2": "up", "n3": "draining"}
            found, said = wsctl(asked, "connections")
            assert ([each["user_id"] for each in found], said) == (["w0"], "")
            assert wsctl(asked, "stats")[0]["total_connections"] == 1
            checks = {each["id"]: each for each in wsctl(asked, "doctor")[0]["checks"]}
            assert checks["server.nodes"]["what"] == "n1, n2, n3, draining: n3"
            assert checks["network.http"]["state"] == http
        with Terminal("top", "--interval", "250ms", env=address(n1), cwd=n1.folder) as terminal:
            terminal.until("live", "n1, n2, n3 draining")
            terminal.type("q")
            assert terminal.end() == 0
        refused.until("sends no statistics: ")  # draining, or that it has ended meanwhile
        assert refused.end() == 3
    silent.close()
    assert drained.process.wait(PATIENCE_S) == 0
    here.close()
