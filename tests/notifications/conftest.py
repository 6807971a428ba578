"""A live side with notifications, on a real database, with channels that a test plays."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from tests.conftest import FakeClock
from tests.notifications.http_far_side import Provider
from tests.notifications.notified import Notified

MakeNotified = Callable[..., Awaitable[Notified]]


@pytest.fixture
def make_notified(io_loop: IOLoop, clock: FakeClock, tmp_path: Path) -> Iterator[MakeNotified]:
    """Servers, one after another on the same database; stopped at the end."""
    made: list[Notified] = []

    async def make(**options: Any) -> Notified:
        notified = Notified(clock, tmp_path / "wsserver.sqlite3", **options)
        made.append(notified)
        await notified.start()
        return notified

    yield make
    for notified in made:
        io_loop.run_sync(notified.stop)


@pytest.fixture
def notified(io_loop: IOLoop, make_notified: MakeNotified) -> Notified:
    return io_loop.run_sync(make_notified)


@pytest.fixture
def provider(io_loop: IOLoop) -> Iterator[Provider]:
    """A provider's HTTP server, listening."""

    async def start() -> Provider:
        made = Provider()
        made.start()
        return made

    made = io_loop.run_sync(start)
    yield made
    io_loop.run_sync(made.stop)
