"""A running server, a monitor endpoint, and ways to call wsctl."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

from tests.support.fake_server import ADMIN, FakeServer, Handler, Run, Script
from wsctl.cli.root import wsctl


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """A running server; ``server.asked`` has what it was asked."""
    fake = FakeServer()
    handler = type("Handler", (Handler,), {"fake": fake})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        http.daemon_threads = True
        fake.url = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield fake
        http.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder and configuration, and no settings from outside."""
    for name in ("WSCTL_URL", "WSCTL_TOKEN", "WSSERVER_JWT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def run() -> Run:
    """Call wsctl in this process: ``run("stats", "-o", "json")``."""

    def call(*args: str, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(wsctl, args, input=stdin, prog_name="wsctl")
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


@pytest.fixture
def ctl(run: Run, server: FakeServer) -> Run:
    """As ``run``, against the running server as an administrator."""

    def call(*args: str, stdin: str | None = None) -> Result:
        return run("--url", server.url, "--token", ADMIN, *args, stdin=stdin)

    return call


@pytest.fixture
def monitor_server() -> Iterator[Callable[..., str]]:
    """Starts a monitor endpoint that runs one script for each connection; gives its address."""
    with contextlib.ExitStack() as stack:

        def start(*scripts: Script) -> str:
            remaining = list(scripts)

            def handle(socket: ServerConnection) -> None:
                with contextlib.suppress(ConnectionClosed):
                    remaining.pop(0)(socket)

            server: Server = serve(
                handle, "127.0.0.1", 0, subprotocols=["wsserver.v1"]  # type: ignore[list-item]
            )  # fmt: skip
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return f"http://127.0.0.1:{server.socket.getsockname()[1]}"

        yield start
