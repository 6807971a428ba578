"""``unread_changed``: comparisons after a gap, and changes at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from tests.support.fake_connections import fake_connection
from tests.support.live_server import settle
from tests.support.waiting import PATIENCE_S, until
from wsserver.clock import Clock
from wsserver.cluster.broker import Push, Signal
from wsserver.cluster.local import LocalControl
from wsserver.errors import StorageUnavailable
from wsserver.protocol.strict_json import decode
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.sessions.unread import UnreadChanged, UnreadPushes
from wsserver.storage.messages.participants import Unread
from wsserver.tasks import Tasks


class Store:
    """What is unread to ``u1``; reading all of it takes as long as ``gate`` is closed."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.failures = 0

    async def unread_in(self, session_ids: list[str]) -> list[Unread]:
        if self.failures:
            self.failures -= 1
            raise StorageUnavailable("test")
        return self._rows(session_ids)

    async def unread_of(self, user_id: str) -> list[Unread]:
        found = self._rows(list(self.counts))
        await self.gate.wait()
        return found

    def _rows(self, session_ids: list[str]) -> list[Unread]:
        return [Unread("u1", each, 0, self.counts[each], 1, 0, 0) for each in session_ids]


class GappedControl(LocalControl):
    """A control whose notices may have been missed."""

    gap: Callable[[], None]

    def add_gap_listener(self, listener: Callable[[], None]) -> None:
        self.gap = listener


class Node:
    """The pushes of a node with one connection, whose notices may have gaps."""

    def __init__(self) -> None:
        self.store = Store()
        self.tasks = Tasks()
        self.control = GappedControl("node-1")
        self._pushed: asyncio.Queue[Signal] = asyncio.Queue()
        hub = Hub()
        hub.add(fake_connection("u1"))
        self.pushes = UnreadPushes(
            cast(Any, self.store),
            hub,
            self._pushed.put_nowait,
            self.control,
            Clock(),
            self.tasks,
        )

    def change(self, session_id: str, count: int) -> None:
        self.store.counts[session_id] = count
        self.control.notify(UnreadChanged((session_id,)))

    async def pushed(self) -> tuple[str, int, int]:
        found = await asyncio.wait_for(self._pushed.get(), PATIENCE_S)
        assert isinstance(found, Push)
        push = decode(found.payload)
        return push["session_id"], push["unread"], push["total"]


@pytest.mark.gen_test
async def test_a_comparison_does_not_bring_back_an_older_count() -> None:
    node = Node()
    node.change("s1", 1)
    assert await node.pushed() == ("s1", 1, 1)
    await until(lambda: not node.tasks)
    node.store.gate.clear()
    node.control.gap()
    await settle()  # it has read 1
    node.change("s1", 2)
    await settle()
    node.store.gate.set()
    assert await node.pushed() == ("s1", 2, 2)
    node.change("s2", 1)
    assert await node.pushed() == ("s2", 1, 3)
    await node.tasks.cancel()


@pytest.mark.gen_test
async def test_gaps_one_after_the_other_are_looked_at_by_one_task() -> None:
    node = Node()
    node.change("s1", 1)
    assert await node.pushed() == ("s1", 1, 1)
    node.store.gate.clear()
    for _ in range(3):
        node.control.gap()
        await settle()
    assert len(node.tasks) == 1
    node.store.counts["s1"] = 4  # its notice was lost
    node.control.gap()
    node.store.gate.set()
    assert await node.pushed() == ("s1", 4, 4)
    await node.tasks.cancel()


@pytest.mark.gen_test
async def test_what_could_not_be_read_is_looked_up_again() -> None:
    node = Node()
    node.store.failures = 1
    node.change("s1", 1)
    assert await node.pushed() == ("s1", 1, 1)
    await node.tasks.cancel()
