"""Fixtures: a live server with notifications, a real database, scripted channels."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from tests.conftest import FakeClock
from tests.lives import lives
from tests.notifications.notified import Notified

MakeNotified = Callable[..., Awaitable[Notified]]


@pytest.fixture
def make_notified(io_loop: IOLoop, clock: FakeClock, tmp_path: Path) -> Iterator[MakeNotified]:
    """Servers, one after another on the same database; stopped at the end."""
    with lives(io_loop, partial(Notified, clock, tmp_path / "wsserver.sqlite3")) as make:
        yield make


@pytest.fixture
def notified(io_loop: IOLoop, make_notified: MakeNotified) -> Notified:
    return io_loop.run_sync(make_notified)
