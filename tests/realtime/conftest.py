"""A whole live side for each test."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from tests.support.lifecycle import run, starter
from tests.support.live_server import Live, MakeLive
from wsserver.clock import Clock


@pytest.fixture
def make_live(io_loop: IOLoop, clock: Clock, tmp_path: Path) -> Iterator[MakeLive]:
    """Live sides with options of their own, on one database file; stopped at the end."""
    with starter(io_loop, partial(Live, clock, tmp_path / "wsserver.sqlite3")) as make:
        yield make


@pytest.fixture
def live(io_loop: IOLoop, make_live: MakeLive) -> Live:
    return run(io_loop, make_live)
