"""How long a publish retries while the database is locked."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.support.fake_clock import FakeClock
from tests.support.fake_stream_store import draft
from wsserver.cluster.broker import NO_RECIPIENTS, PublishResult
from wsserver.errors import StorageUnavailable
from wsserver.realtime.streams import append_queue
from wsserver.realtime.streams.append_queue import AppendQueue
from wsserver.realtime.streams.drafts import Draft
from wsserver.storage.messages.streams import Append, Appended, StreamStore
from wsserver.tasks import Tasks


class LockedStore(StreamStore):
    """A store whose every try waits for a lock, and in vain."""

    def __init__(self, clock: FakeClock, wait_s: float) -> None:
        self.tries = 0
        self._clock = clock
        self._wait_s = wait_s

    async def append(self, batch: Sequence[Append], late: object = None) -> list[Appended]:
        self.tries += 1
        self._clock.advance(self._wait_s)
        raise StorageUnavailable("database is locked")


def announce(
    drafts: Sequence[Draft], places: Sequence[Appended], until: float
) -> list[PublishResult]:
    return [NO_RECIPIENTS] * len(drafts)


@pytest.mark.gen_test
@pytest.mark.parametrize(("wait_s", "tries"), [(0.0, 4), (2.0, 2), (10.0, 1)])
async def test_it_retries_but_fails_before_the_caller_times_out(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch, wait_s: float, tries: int
) -> None:
    monkeypatch.setattr(append_queue, "RETRY_DELAYS_S", (0.0, 0.0, 0.0))
    store = LockedStore(clock, wait_s)
    queue = AppendQueue(store, announce, clock, Tasks(), lambda: None)
    with pytest.raises(StorageUnavailable, match="locked"):
        await queue.append([draft()])
    assert store.tries == tries
