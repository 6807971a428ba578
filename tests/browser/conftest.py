"""Fixtures: one Chromium for all tests; servers on real ports, stopped after the test."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, async_playwright, expect
from tornado.ioloop import IOLoop

from tests.support.browser_pages import ARGS, CHROMIUM, FAKE_MEDIA
from tests.support.lifecycle import run
from tests.support.vue_pages import installed_packages
from tests.support.waiting import PATIENCE_S
from tests.support.web_server import Server, StartServer, starting

expect.set_options(timeout=PATIENCE_S * 1000)


@pytest.fixture(scope="session")
def io_loop() -> Iterator[IOLoop]:
    """One loop for all of these tests, which the browser and the servers run on."""
    with asyncio.Runner() as runner:

        async def current() -> IOLoop:
            return IOLoop.current()

        yield runner.run(current())


@pytest.fixture(autouse=True, scope="module")
def current_loop(io_loop: IOLoop) -> Iterator[None]:
    """Make the loop the current one: tests of other folders have loops of their own."""
    with being_current(io_loop):
        yield


@contextlib.contextmanager
def being_current(io_loop: IOLoop) -> Iterator[None]:
    asyncio.set_event_loop(io_loop.asyncio_loop)  # type: ignore[attr-defined]
    yield
    asyncio.set_event_loop(None)


@pytest.fixture(scope="session")
def chromium(io_loop: IOLoop) -> Iterator[Browser]:
    """A browser that all tests use: each start of one takes seconds of the processor."""
    with launched(io_loop, ARGS) as browser:
        yield browser


@pytest.fixture(scope="session")
def chromium_with_camera(io_loop: IOLoop) -> Iterator[Browser]:
    """The same, with a camera and a microphone."""
    with launched(io_loop, [*ARGS, *FAKE_MEDIA]) as browser:
        yield browser


@contextlib.contextmanager
def launched(io_loop: IOLoop, arguments: list[str]) -> Iterator[Browser]:
    """A browser, closed at the end."""
    playwright = io_loop.run_sync(async_playwright().start)

    async def launch() -> Browser:
        browser: Browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=arguments
        )
        return browser

    browser = io_loop.run_sync(launch)
    yield browser
    with being_current(io_loop):
        io_loop.run_sync(browser.close)
        io_loop.run_sync(playwright.stop)


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the package's tests need of npm; no test may change it."""
    return installed_packages(tmp_path_factory)


@pytest.fixture
def start_server(io_loop: IOLoop, tmp_path: Path) -> Iterator[StartServer]:
    """Starts servers with settings."""
    with starting(io_loop, tmp_path) as start:
        yield start


@pytest.fixture
def server(io_loop: IOLoop, start_server: StartServer) -> Server:
    """A server with the default settings."""
    return run(io_loop, start_server)
