"""Two processes of one machine on one SQLite file: both store, one is killed, others stay out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.backends.valkey import ValkeyProcess
from tests.support.running_server import RunningServer
from tests.support.tokens import SECRET, token
from tests.support.websocket_clients import open_client

Nodes = tuple[RunningServer, RunningServer]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def nodes(folder: Path, shared_valkey: ValkeyProcess) -> Iterator[Nodes]:
    shared_valkey.run("FLUSHALL")
    started: list[RunningServer] = []
    try:
        for name in ("n1", "n2"):
            started.append(RunningServer(folder, node=name, redis_url=shared_valkey.url))
        yield started[0], started[1]
        for node in started:
            node.stop()
    finally:
        for node in started:
            node.kill()


def publish(node: RunningServer, number: int) -> int:
    body = {
        "target": {"type": "user", "id": "u1"},
        "type": "new_message",
        "session_id": "s1",
        "content": f"number {number}",
    }
    answer = node.post("/messages", body)
    assert answer.status == 200, answer.json()
    position: int = answer.json()["offset"]
    return position


def refused(folder: Path, *arguments: str, **settings: str) -> tuple[int, str]:
    environment = {
        "PATH": os.environ["PATH"],
        "WSSERVER_JWT_SECRET": SECRET,
        "WSSERVER_DATA_DIR": str(folder),
        **{f"WSSERVER_{name.upper()}": value for name, value in settings.items()},
    }
    done = subprocess.run(
        [sys.executable, "-m", "wsserver", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
    )
    return done.returncode, done.stderr


def test_both_store_in_one_order(nodes: Nodes) -> None:
    client = open_client(nodes[1], bearer=token("u1"))
    assert [publish(nodes[number % 2], number) for number in range(10)] == list(range(1, 11))
    for number in range(10):
        pushed: Any = client.await_push("new_message")
        assert pushed["message"]["content"] == f"number {number}"
    client.close()


def test_others_are_refused_and_told_why(nodes: Nodes, folder: Path) -> None:
    status, said = refused(folder, "serve", "--port", "0")
    assert (status, "servers of a cluster ('redis_url')" in said) == (78, True), said
    status, said = refused(folder, "db", "prune")
    assert (status, "servers of a cluster are running on it" in said) == (1, True), said
    assert refused(folder, "db", "check")[0] == 0
    assert refused(folder, "db", "backup", str(folder / "copy.sqlite3"))[0] == 0


def test_a_killed_process_keeps_nobody_waiting(nodes: Nodes, folder: Path) -> None:
    position = publish(nodes[0], 1)
    nodes[0].kill()
    assert publish(nodes[1], 2) == position + 1
    assert nodes[1].health()["checks"]["database"]["ok"]
