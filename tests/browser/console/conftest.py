"""One server for all tests of a module; each test has a page of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser
from tornado.ioloop import IOLoop

from tests.support.console_pages import Console
from tests.support.web_server import Server, StartServer, starting


@pytest.fixture(scope="module")
def start_server(
    io_loop: IOLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StartServer]:
    """Starts servers with settings."""
    with starting(io_loop, tmp_path_factory.mktemp("servers")) as start:
        yield start


@pytest.fixture(scope="module")
def server(io_loop: IOLoop, start_server: StartServer) -> Server:
    """The server of the module."""

    async def start() -> Server:
        return await start_server(max_connections_per_user=100)

    started: Server = io_loop.run_sync(start)
    return started


@pytest.fixture
def console(chromium: Browser, server: Server) -> Console:
    """Opens pages of the server's console."""
    return Console(chromium, server)


@pytest.fixture(scope="session")
def axe(node_modules: Path) -> str:
    """The source of axe-core, which looks for faults of accessibility."""
    return (node_modules / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
