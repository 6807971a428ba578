"""Read positions: in memory, and stored in group commits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.live_server import Live, settle
from wsserver.errors import StorageUnavailable
from wsserver.realtime.sessions import read_positions
from wsserver.realtime.sessions.read_positions import ReadPositions
from wsserver.storage.messages.participants import Move, Moved


class Store:
    """Positions that are stored and read when the test says so."""

    def __init__(self) -> None:
        self.stored: dict[str, dict[str, int]] = {}
        self.batches: list[tuple[int, int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None

    async def move(self, joins: list[Move], marks: list[Move], late: object = None) -> list[Moved]:
        await self.gate.wait()
        self.batches.append((len(joins), len(marks)))
        if self.failure is not None:
            raise self.failure
        for join in joins:
            self.stored.setdefault(join.session_id, {}).setdefault(join.user_id, join.offset)
        moved = []
        for mark in marks:
            positions = self.stored.setdefault(mark.session_id, {})
            if mark.offset > positions.get(mark.user_id, -1):
                positions[mark.user_id] = mark.offset
                moved.append(Moved(mark.user_id, mark.session_id, mark.offset))
        return moved

    async def positions(self, session_id: str) -> dict[str, int]:
        found = dict(self.stored.get(session_id, {}))
        await asyncio.sleep(0)
        return found


@pytest.fixture
def store() -> Store:
    return Store()


def make(live: Live, store: Any, *, is_alone: bool = True) -> ReadPositions:
    return ReadPositions(store, live.broker, live.clock, live.tasks, is_alone=is_alone)


@pytest.mark.gen_test
async def test_moves_that_come_while_others_are_stored_are_stored_together(
    live: Live, store: Store
) -> None:
    positions = make(live, store)
    store.gate.clear()
    first = positions.mark("u1", "s1", 1)
    await settle()
    others = [positions.mark("u1", "s1", offset) for offset in (2, 5, 3)]
    positions.joined("u2", "s1", 7)
    store.gate.set()
    assert await first == 1
    assert [await other for other in others] == [5, 5, 5]
    assert store.batches == [(0, 1), (1, 3)]
    assert store.stored == {"s1": {"u1": 5, "u2": 7}}
    assert await positions.mark("u1", "s1", 4) is None


@pytest.mark.gen_test
async def test_positions_in_memory_follow_what_is_stored(live: Live, store: Store) -> None:
    positions = make(live, store)
    store.stored["s1"] = {"u1": 3}
    assert positions.known("s1") is None
    reading = asyncio.ensure_future(positions.read("s1"))
    await asyncio.sleep(0)
    await positions.mark("u2", "s1", 4)  # stored while they are read
    assert await reading == {"u1": 3, "u2": 4}
    assert positions.known("s1") == {"u1": 3, "u2": 4}
    await positions.mark("u1", "s1", 9)
    positions.joined("u3", "s1", 9)
    positions.joined("u1", "s1", 2)
    assert positions.known("s1") == {"u1": 9, "u2": 4, "u3": 9}
    positions.forget("s1")
    assert positions.known("s1") is None


@pytest.mark.gen_test
async def test_of_several_processes_none_relies_on_its_memory(live: Live, store: Store) -> None:
    positions = make(live, store, is_alone=False)
    store.stored["s1"] = {"u1": 3, "u3": 1}
    told = [{"user_id": user, "read_offset": offset} for user, offset in
            (("u1", 3), ("u2", None), ("u3", 1))]  # fmt: skip
    assert await positions.read("s1") == {"u1": 3, "u3": 1}
    assert positions.known("s1") is None
    store.stored["s1"].update(u1=5, u2=0)  # by another one, before this client has joined
    heard: list[dict[str, Any]] = []
    positions.confirm("s1", told, lambda **push: heard.append(push))
    for _ in range(3):
        await asyncio.sleep(0)
    assert heard == [
        {"session_id": "s1", "user_id": "u1", "offset": 5},
        {"session_id": "s1", "user_id": "u2", "offset": 0},
    ]


@pytest.mark.gen_test
async def test_what_cannot_be_stored_is_refused_and_forgotten(live: Live, store: Store) -> None:
    positions = make(live, store)
    await positions.read("s1")
    store.failure = StorageUnavailable("locked")
    positions.joined("u1", "s1", 3)
    with pytest.raises(StorageUnavailable):
        await positions.mark("u2", "s1", 1)
    assert positions.known("s1") is None
    store.failure = None
    positions.joined("u1", "s1", 4)
    assert await positions.mark("u2", "s1", 1) == 1
    assert store.stored["s1"] == {"u1": 4, "u2": 1}


@pytest.mark.gen_test
async def test_the_queue_and_the_memory_are_bounded(
    live: Live, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_positions, "WAITING_LIMIT", 3)
    monkeypatch.setattr(read_positions, "SESSIONS_LIMIT", 2)
    monkeypatch.setattr(read_positions, "POSITIONS_LIMIT", 4)
    positions = make(live, store)
    store.gate.clear()
    waiting = [positions.mark("u1", "s1", number) for number in range(3)]
    with pytest.raises(StorageUnavailable):
        positions.mark("u1", "s1", 9)
    for number in range(5):
        positions.joined(f"u{number}", "s2", 0)
    store.gate.set()
    assert [await each for each in waiting] == [2, 2, 2]
    assert len(store.stored["s2"]) == 3
    for session in ("a", "b", "c"):
        await positions.read(session)
    assert [positions.known(each) for each in ("a", "b", "c")] == [None, {}, {}]
    await positions.finish()
    with pytest.raises(StorageUnavailable):
        positions.mark("u1", "s1", 9)
