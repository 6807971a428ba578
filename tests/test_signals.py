"""Signals to a server process, and what a client gets while it starts."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.support.rst_blocks import table
from tests.support.server_process import (
    LOOPS_ONE_LONG,
    ServerProcess,
    command,
    environment,
)
from tests.support.tokens import SECRET
from tests.support.waiting import PATIENCE_S
from tests.support.websocket_clients import silent_client
from wsserver.identity import sign_hmac
from wsserver.process import STOPPING, WITHOUT_EFFECT

TOKEN = sign_hmac(SECRET.encode(), {"sub": "u1", "role": "admin", "exp": 2**33})


@pytest.mark.parametrize("loop", LOOPS_ONE_LONG)
@pytest.mark.parametrize("name", ["SIGHUP", pytest.param("SIGQUIT", marks=pytest.mark.long)])
def test_a_closed_terminal_drains(tmp_path: Path, loop: str, name: str) -> None:
    with ServerProcess(tmp_path, "--dev", loop=loop) as server:
        with connect(server.websocket("/ws/chat", server.token("u1", "user"))) as client:
            assert json.loads(client.recv(timeout=PATIENCE_S))["type"] == "connection_established"
            server.send_signal(getattr(signal, name))
            assert json.loads(client.recv(timeout=PATIENCE_S))["type"] == "server_draining"
            with pytest.raises(ConnectionClosed) as closed:
                client.recv(timeout=PATIENCE_S)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
        assert server.wait() == 0
    assert not (tmp_path / "var/wsserver.sqlite3-wal").exists(), "checkpointed"


def test_several_hangups_for_one_terminal_do_not_cut_the_drain_short(tmp_path: Path) -> None:
    env = {"WSSERVER_DRAIN_TIMEOUT_S": "0.5"}
    with (
        ServerProcess(tmp_path, "--dev", env=env, is_preloaded=True) as server,
        silent_client(server),
    ):
        server.send_signal(signal.SIGHUP)
        server.wait_for("stopping")
        server.send_signal(signal.SIGHUP)
        assert server.wait() == 0


def test_a_hangup_that_nohup_has_switched_off_stays_without_effect(tmp_path: Path) -> None:
    with ignoring(signal.SIGHUP), ServerProcess(tmp_path, "--dev") as server:
        server.send_signal(signal.SIGHUP)
        server.send_signal(signal.SIGUSR1)
        server.wait_for("has no effect.*SIGUSR1")
        assert server.stop() == 0


@pytest.mark.parametrize("loop", LOOPS_ONE_LONG)
def test_other_signals_do_nothing(tmp_path: Path, loop: str) -> None:
    with ServerProcess(tmp_path, "--dev", loop=loop) as server:
        with connect(server.websocket("/ws/chat", server.token("u1", "user"))) as client:
            client.recv(timeout=PATIENCE_S)
            for name in WITHOUT_EFFECT:
                server.send_signal(getattr(signal, name))
                server.wait_for(f"has no effect.*{name}")
            for number in (signal.SIGPIPE, signal.SIGWINCH, signal.SIGURG, signal.SIGXFSZ):
                server.send_signal(number)
            server.send_signal(signal.SIGTSTP)
            server.send_signal(signal.SIGCONT)
            client.send('{"type": "ping", "ref": 1}')
            assert json.loads(client.recv(timeout=PATIENCE_S))["type"] == "pong"
        assert server.stop() == 0
    assert "Traceback" not in "\n".join(server.lines)


@contextmanager
def ignoring(number: int) -> Iterator[None]:
    """Children inherit it."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)


# While it starts

SLOW_PLUGIN = """
import asyncio, os

async def wait(manager):
    while not os.path.exists("go"):
        await asyncio.sleep(0.01)
"""


class Starting:
    """A server whose start lasts until ``go``."""

    def __init__(self, folder: Path) -> None:
        (folder / "slow_plugin.py").write_text(SLOW_PLUGIN)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.folder = folder
        self.process = subprocess.Popen(
            [*command(), "serve", "--port", str(self.port), "--plugin", "slow_plugin:wait"],
            cwd=folder,
            env=environment(WSSERVER_JWT_SECRET=SECRET),
            stderr=subprocess.PIPE,
            text=True,
        )

    def go(self) -> None:
        (self.folder / "go").touch()

    def ask(self, path: str) -> tuple[int, dict[str, str], Any]:
        """Status, headers and document; waits until the port is open."""
        request = Request(f"http://127.0.0.1:{self.port}{path}")
        request.add_header("Authorization", f"Bearer {TOKEN}")
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                with urlopen(request, timeout=PATIENCE_S) as answer:
                    return answer.status, dict(answer.headers), json.load(answer)
            except HTTPError as error:
                with error:
                    return error.code, dict(error.headers), json.load(error)
            except OSError:
                assert time.monotonic() < deadline

    def end(self) -> tuple[int, str]:
        _, said = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, said


@pytest.fixture
def starting(tmp_path: Path) -> Iterator[Starting]:
    server = Starting(tmp_path)
    yield server
    if server.process.poll() is None:
        server.process.kill()
        server.process.communicate()


def test_everything_is_answered_with_starting_until_it_is_ready(starting: Starting) -> None:
    status, headers, health = starting.ask("/api/v1/websocket/health")
    assert (status, health["status"]) == (503, "starting")
    assert int(headers["Retry-After"]) > 0
    paths = ("/api/v1/websocket/stats", "/api/v1/openapi.json", "/metrics", "/", "/nothing/here")
    for path in paths:
        status, headers, problem = starting.ask(path)
        assert (path, status, problem["code"]) == (path, 503, "starting")
        assert int(headers["Retry-After"]) > 0
    address = f"ws://127.0.0.1:{starting.port}/ws/chat?token={TOKEN}"
    with connect(address, subprotocols=["wsserver.v1"]) as client:  # type: ignore[list-item]
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=PATIENCE_S)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (
            1013,
            "the server is starting",
        )
    with pytest.raises(InvalidStatus) as refused:
        connect(address)
    assert refused.value.response.status_code == 503
    assert "Retry-After" in refused.value.response.headers

    starting.go()
    assert starting.process.stderr is not None
    assert any("listening on" in line for line in starting.process.stderr)
    assert starting.ask("/api/v1/websocket/health")[0] == 200
    assert starting.ask("/api/v1/websocket/stats")[0] == 200
    with connect(address) as client:
        assert json.loads(client.recv(timeout=PATIENCE_S))["type"] == "connection_established"
    starting.process.terminate()
    assert starting.end()[0] == 0


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        *(pytest.param(each, marks=pytest.mark.long) for each in (signal.SIGINT, signal.SIGHUP)),
    ],
)
def test_a_signal_during_the_start_ends_it(starting: Starting, number: int) -> None:
    starting.ask("/api/v1/websocket/health")
    starting.process.send_signal(number)
    status, said = starting.end()
    assert status == 0
    assert "listening on" not in said
    assert "stopped before it was ready" in said
    assert "Traceback" not in said


def test_a_database_that_does_not_answer_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    """The thread that opens it waits for another program's lock, and is not joined."""
    with ServerProcess(tmp_path, "--dev", is_preloaded=True) as server:
        assert server.stop() == 0
    path = tmp_path / "var/wsserver.sqlite3"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        process = subprocess.Popen(
            [*command(), "serve", "--dev", "--port", str(port)],
            cwd=tmp_path,
            env=environment(WSSERVER_DRAIN_TIMEOUT_S="0.05"),
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + PATIENCE_S
        while process.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                continue
        process.terminate()
        _, said = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, "Traceback" in said) == (0, False), said


def test_a_closed_stderr_is_no_fault(tmp_path: Path) -> None:
    """As with ``wsserver serve 2>&1 | head -1``."""
    reading, writing = os.pipe()
    os.close(reading)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [*command(), "serve", "--dev", "--port", str(port)],
        cwd=tmp_path,
        env=environment(),
        stderr=writing,
    )
    os.close(writing)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            assert process.poll() is None
            assert time.monotonic() < deadline
            try:
                with urlopen(f"http://127.0.0.1:{port}/api/v1/websocket/health") as answer:
                    assert answer.status == 200
                    break
            except HTTPError as error:
                error.close()
            except OSError:
                continue
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


_ENDING = """
import atexit, os, signal, sys
from wsserver.process import run_on_loop

async def main() -> int:
    return 0

atexit.register(os.kill, os.getpid(), signal.SIGTERM)
sys.exit(run_on_loop(main()))
"""


def test_a_signal_to_a_process_that_ends_anyway_changes_no_status() -> None:
    assert subprocess.run([sys.executable, "-c", _ENDING], env=environment()).returncode == 0


def test_the_documentation_names_every_signal() -> None:
    rows = table("docs/stopping.rst", "signals")
    text = " ".join(cell for row in rows for cell in row)
    for name in (*STOPPING, *WITHOUT_EFFECT, "SIGHUP", "SIGPIPE", "SIGTSTP", "SIGCONT"):
        assert name in text, name
