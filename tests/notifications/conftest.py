"""A provider to talk to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tornado.ioloop import IOLoop

from tests.notifications.http_far_side import Provider


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
