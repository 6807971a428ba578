"""Fixtures: one Chromium for a module; servers on real ports, stopped after the test."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, async_playwright
from tornado.ioloop import IOLoop

from tests.support.browser_pages import ARGS, CHROMIUM
from tests.support.lifecycle import run
from tests.support.web_server import Server, StartServer, starting


@pytest.fixture(scope="module")
def io_loop() -> Iterator[IOLoop]:
    """One loop for the module, which its browser and its server run on."""
    with asyncio.Runner() as runner:

        async def current() -> IOLoop:
            return IOLoop.current()

        loop = runner.run(current())
        asyncio.set_event_loop(runner.get_loop())
        yield loop
        asyncio.set_event_loop(None)


@pytest.fixture(scope="module")
def chromium(io_loop: IOLoop) -> Iterator[Browser]:
    """A browser that all tests of the module use."""
    playwright = io_loop.run_sync(async_playwright().start)

    async def launch() -> Browser:
        launched: Browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        return launched

    browser = io_loop.run_sync(launch)
    yield browser
    io_loop.run_sync(browser.close)
    io_loop.run_sync(playwright.stop)


@pytest.fixture
def start_server(io_loop: IOLoop, tmp_path: Path) -> Iterator[StartServer]:
    """Starts servers with settings."""
    with starting(io_loop, tmp_path) as start:
        yield start


@pytest.fixture
def server(io_loop: IOLoop, start_server: StartServer) -> Server:
    """A server with the default settings."""
    return run(io_loop, start_server)
