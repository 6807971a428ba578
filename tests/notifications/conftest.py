"""Fixtures: a live server with notifications, a real database, scripted channels."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from tests.support.fake_clock import FakeClock
from tests.support.lifecycle import run, starter
from tests.support.live_notifications import LiveNotifications

MakeLiveNotifications = Callable[..., Awaitable[LiveNotifications]]


@pytest.fixture
def make_notified(
    io_loop: IOLoop, clock: FakeClock, tmp_path: Path
) -> Iterator[MakeLiveNotifications]:
    """Servers, one after another on the same database; stopped at the end."""
    with starter(io_loop, partial(LiveNotifications, clock, tmp_path / "wsserver.sqlite3")) as make:
        yield make


@pytest.fixture
def notified(io_loop: IOLoop, make_notified: MakeLiveNotifications) -> LiveNotifications:
    return run(io_loop, make_notified)
