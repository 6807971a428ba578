"""Fixtures: servers on real ports, stopped after the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from tests.support.lifecycle import run
from tests.support.web_server import Server, StartServer, starting


@pytest.fixture
def start_server(io_loop: IOLoop, tmp_path: Path) -> Iterator[StartServer]:
    """Starts servers with settings."""
    with starting(io_loop, tmp_path) as start:
        yield start


@pytest.fixture
def server(io_loop: IOLoop, start_server: StartServer) -> Server:
    """A server with the default settings."""
    return run(io_loop, start_server)
