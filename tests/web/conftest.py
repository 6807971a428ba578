"""Fixtures: servers on real ports, stopped after the test."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from tests.support.lifecycle import run
from tests.support.web_server import Server, start

StartServer = Callable[..., Awaitable[Server]]


@pytest.fixture
def start_server(io_loop: IOLoop, tmp_path: Path) -> Iterator[StartServer]:
    """Starts servers with settings of one's own."""
    started: list[Server] = []

    async def make(**settings: Any) -> Server:
        started.append(await start(tmp_path / str(len(started)), **settings))
        return started[-1]

    yield make
    for server in started:
        io_loop.run_sync(server.stop)


@pytest.fixture
def server(io_loop: IOLoop, start_server: StartServer) -> Server:
    """A server with the default settings."""
    return run(io_loop, start_server)
