"""A whole live side for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from tests.realtime.live_server import Live, MakeLive
from wsserver.clock import Clock


@pytest.fixture
def make_live(io_loop: IOLoop, clock: Clock, tmp_path: Path) -> Iterator[MakeLive]:
    """Live sides with options of their own, on one database file; stopped at the end."""
    made: list[Live] = []

    async def make(**options: Any) -> Live:
        live = Live(clock, tmp_path / "wsserver.sqlite3", **options)
        made.append(live)
        await live.start()
        return live

    yield make
    for live in made:
        io_loop.run_sync(live.stop)


@pytest.fixture
def live(io_loop: IOLoop, make_live: MakeLive) -> Live:
    return io_loop.run_sync(make_live)
