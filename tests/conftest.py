"""Fixtures that every test may use."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import pytest
from tornado.ioloop import IOLoop

from tests.support.fake_clock import FakeClock
from tests.support.http_provider import HttpProvider


@pytest.fixture(autouse=True, scope="session")
def interrupts_arrive() -> None:
    """Programs that tests start can be interrupted, also where the tests run in the background.

    There a shell lets SIGINT be ignored, and what is ignored stays so in every child.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def terminal_of_the_test() -> Iterator[None]:
    """Nobody's screen but the test's own counts: pytest-xdist names the size of its own."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("COLUMNS", "LINES"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def provider(io_loop: IOLoop) -> Iterator[HttpProvider]:
    """A provider's HTTP server, listening."""

    async def start() -> HttpProvider:
        made = HttpProvider()
        made.start()
        return made

    made = io_loop.run_sync(start)
    yield made
    io_loop.run_sync(made.stop)


@pytest.fixture
def io_loop() -> Iterator[IOLoop]:
    """The loop that ``@pytest.mark.gen_test`` runs on.

    pytest-tornado's own fixture uses calls that newer Tornados removed.
    """
    with asyncio.Runner() as runner:

        async def current() -> IOLoop:
            return IOLoop.current()

        loop = runner.run(current())
        asyncio.set_event_loop(runner.get_loop())
        yield loop
        asyncio.set_event_loop(None)
