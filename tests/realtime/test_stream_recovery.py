"""Recovery of kept messages from memory and storage, and their history, without gaps."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from tests.support.fake_clock import FakeClock
from tests.support.fake_stream_store import (
    DAY_S,
    EPOCH,
    ME,
    NOW,
    drafts,
    offsets,
)
from tests.support.live_server import settle
from tests.support.stream_node import PLENTY, S1, START, WIDE, Node
from wsserver.errors import StorageUnavailable
from wsserver.identity.claims import Claims
from wsserver.protocol.types import Position
from wsserver.realtime.messages.audience import Audience
from wsserver.realtime.streams import append_queue, stream_cache, streams
from wsserver.realtime.streams import recovery as recovering
from wsserver.realtime.streams.stream import Recovery


@pytest.fixture
def node(io_loop: IOLoop, clock: FakeClock) -> Node:
    return Node(clock)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(append_queue, "RETRY_DELAYS_S", (0,))


# Giving again


@pytest.mark.gen_test
@pytest.mark.parametrize("restart", [False, True], ids=["from memory", "from storage"])
async def test_everything_after_a_position_is_given(node: Node, restart: bool) -> None:
    await node.keep(10)
    if restart:
        node.restart()
    for offset in (10, 9, 4, 0):
        await node.recovers(offset, range(offset + 1, 11))
    assert (await node.streams.recover({S1: None}, ME, 0))[S1] == Recovery(EPOCH, 10, [], None)


@pytest.mark.gen_test
async def test_what_is_given_again_is_what_was_sent_live(node: Node) -> None:
    await node.keep(5)
    live = [publication.payload for publication in node.broker.published]
    assert (await node.recover(0)).messages == live
    node.restart()
    assert (await node.recover(0)).messages == live


@pytest.mark.gen_test
@pytest.mark.parametrize("restart", [False, True], ids=["from memory", "from storage"])
@pytest.mark.parametrize(
    ("epoch", "offset", "reason"),
    [(EPOCH, 15, None), (EPOCH, 2, "too_far_behind"), (EPOCH, 16, "offset_ahead"),
     ("epoch_0", 15, "epoch_changed"), (EPOCH, 5, None)],
)  # fmt: skip
async def test_why_not_and_never_a_part(
    node: Node, restart: bool, epoch: str, offset: int, reason: str | None
) -> None:
    await node.keep(15)
    if restart:
        node.restart()
    recovery = await node.recover(offset, epoch=epoch)
    assert (recovery.reason, recovery.offset, recovery.epoch) == (reason, 15, EPOCH)
    assert len(recovery.messages) == (15 - offset if reason is None else 0)


@pytest.mark.gen_test
async def test_a_stream_that_was_never_used_has_a_position(node: Node) -> None:
    assert await node.recover(0) == Recovery(EPOCH, 0, [], None)
    assert (await node.recover(1)).reason == "offset_ahead"


@pytest.mark.gen_test
async def test_what_retention_has_taken_cannot_be_given(node: Node) -> None:
    await node.keep(10)
    node.store.retain(S1, first=4)
    node.restart()
    assert (await node.recover(2)).reason == "expired"
    await node.recovers(3, range(4, 11))
    assert (await node.recover(0)).reason == "expired"


@pytest.mark.gen_test
async def test_what_cannot_be_given_to_one_can_be_given_to_another(node: Node) -> None:
    await node.keep(10)
    node.store.retain(S1, first=4)
    node.restart()
    found = await asyncio.gather(*[node.recover(offset) for offset in (0, 5, 2, 3)])
    assert [each.reason for each in found] == ["expired", None, "expired", None]
    assert offsets(found[3].messages) == list(range(4, 11))


@pytest.mark.gen_test
async def test_what_retention_takes_during_the_reading_is_noticed(node: Node) -> None:
    await node.keep(10)
    node.restart()
    await node.streams.open(S1)
    gate = node.store.hold("read")
    recovering = asyncio.ensure_future(node.recover(0))
    await gate.reached()
    node.store.retain(S1, first=4)
    node.store.release("read")
    assert (await recovering).reason == "expired"


@pytest.mark.gen_test
@pytest.mark.parametrize("restart", [False, True], ids=["from memory", "from storage"])
async def test_a_ttl_makes_a_hole_and_retention_an_end(node: Node, restart: bool) -> None:
    await node.keep(1)
    await node.keep(1, has_ttl=True, expires_at=NOW + 5)
    await node.keep(1)
    if restart:
        node.restart()
    await node.recovers(0, range(1, 4))
    node.clock.advance(5)
    assert offsets((await node.recover(0)).messages) == [1, 3]
    assert offsets((await node.recover(1)).messages) == [3]
    node.clock.advance(DAY_S)
    assert (await node.recover(0)).reason == "expired"
    assert (await node.recover(3)).reason is None


@pytest.mark.gen_test
async def test_what_arrives_during_the_reading_is_in_the_answer_or_comes_after_it(
    node: Node,
) -> None:
    """The listener is added in the turn of the answer: live messages go on exactly from there."""
    await node.keep(5)
    node.restart()
    gate = node.store.hold("looked")
    recovering = asyncio.ensure_future(node.recover(2))
    await gate.reached()
    await node.keep(2)
    committed = node.store.hold("committed")
    under_way = node.streams.append(drafts(1))
    await committed.reached()
    node.store.release("looked")
    recovery = await recovering
    assert offsets(recovery.messages) == [3, 4, 5, 6, 7]
    assert recovery.offset == 7
    node.store.release("committed")
    await under_way
    assert node.broker.of(S1)[-1] == 8


@pytest.mark.gen_test
@pytest.mark.parametrize("is_loaded", [False, True])
async def test_a_subscriber_at_any_time_misses_nothing_and_gets_nothing_twice(
    node: Node, is_loaded: bool
) -> None:
    """Eight publishers, readers from all positions, restarts of memory, every turn of the loop."""
    if is_loaded:
        await node.streams.load()
    await node.keep(3)

    async def publisher() -> None:
        for _ in range(12):
            await node.keep(1)

    async def reader(offset: int) -> None:
        for _ in range(20):
            recovery = await node.recover(offset)
            seen = offsets(recovery.messages)
            live = len(node.broker.published)
            if recovery.reason is None:
                assert seen == list(range(offset + 1, recovery.offset + 1))
            assert recovery.offset == node.broker.of(S1)[-1]
            await asyncio.sleep(0)
            later = [each.offset for each in node.broker.published[live:]]
            assert [*later[:1]] in ([], [recovery.offset + 1])
            offset = max(recovery.offset, *later, 0)

    async def forgetter() -> None:
        for _ in range(20):
            node.streams.forget_all("epoch_2")
            await settle()

    await asyncio.gather(
        *[publisher() for _ in range(8)], *[reader(offset) for offset in range(4)], forgetter()
    )
    assert node.broker.of(S1) == list(range(1, 100))


@pytest.mark.gen_test
async def test_many_streams_are_exact_in_the_same_turn(node: Node) -> None:
    names = [f"session:s{number}" for number in range(20)]
    for number, name in enumerate(names):
        await node.keep(number % 5 + 1, name)
    node.restart()
    await node.keep(1, "session:s3")
    wanted: Mapping[str, Position | None] = dict.fromkeys(names, START)
    gate = node.store.hold("read")
    recovering = asyncio.ensure_future(
        node.streams.recover({**wanted, "user:me": None}, ME, PLENTY)
    )
    await gate.reached()
    for name in names[:4]:
        await node.keep(1, name)
    node.store.release("read")
    found = await recovering
    assert list(found) == [*names, "user:me"]
    for name in names:
        assert offsets(found[name].messages) == list(range(1, node.broker.of(name)[-1] + 1))
    assert found["user:me"] == Recovery(EPOCH, 0, [], None)


@pytest.mark.gen_test
async def test_a_crowd_with_nearly_the_same_position_reads_once(node: Node) -> None:
    await node.keep(10)
    node.restart()
    found = await asyncio.gather(*[node.recover(number % 3) for number in range(60)])
    for number, recovery in enumerate(found):
        assert offsets(recovery.messages) == list(range(number % 3 + 1, 11))
    assert len(node.reads()) == 1
    node.restart()
    await asyncio.gather(*[node.recover(9 - number % 10) for number in range(60)])
    assert len(node.reads()) <= 11


@pytest.mark.gen_test
async def test_a_failing_read_fails_all_its_waiters(node: Node) -> None:
    await node.keep(3)
    node.restart()
    await node.streams.open(S1)
    node.store.read_failures.append(StorageUnavailable("away"))
    crowd = [node.recover(0) for _ in range(10)]
    assert {str(error) for error in await asyncio.gather(*crowd, return_exceptions=True)} == {
        "away"
    }
    await node.recovers(0, range(1, 4))


@pytest.mark.gen_test
async def test_a_limit_beyond_a_thousand_holds(clock: FakeClock) -> None:
    node = Node(clock, replay_limit=1500)
    await node.keep(1400)
    node.restart()
    assert len((await node.recover(0)).messages) == 1400
    await node.keep(100)
    assert len((await node.recover(0)).messages) == 1500
    await node.keep(1)
    assert (await node.recover(0)).reason == "too_far_behind"


@pytest.mark.gen_test
async def test_an_epoch_that_storage_has_changed_is_seen_by_who_reads(node: Node) -> None:
    await node.keep(4)
    node.restart()
    await node.streams.open(S1)
    node.store.epochs[S1] = "epoch_2"
    assert (await node.recover(0)).reason == "epoch_changed"


@pytest.mark.gen_test
@pytest.mark.parametrize("restart", [False, True], ids=["from memory", "from storage"])
async def test_an_audience_is_asked_again(node: Node, restart: bool) -> None:
    await node.keep(1)
    await node.keep(1, readers=Audience(role="admin"))
    await node.keep(1, readers=Audience(exclude_users=frozenset({"me"})))
    await node.keep(1, readers=Audience(organization_id="acme", with_unaffiliated=True))
    if restart:
        node.restart()

    async def given_to(claims: Claims) -> list[int]:
        return offsets((await node.recover(0, claims=claims)).messages)

    assert await given_to(ME) == [1, 4]
    assert await given_to(Claims("boss", 2e9, role="admin", organization_id="other")) == [1, 2, 3]
    assert await given_to(Claims("me", 2e9, organization_id="acme")) == [1, 4]


@pytest.mark.gen_test
@pytest.mark.parametrize("restart", [False, True], ids=["from memory", "from storage"])
async def test_a_budget_is_shared_in_the_order_of_asking(node: Node, restart: bool) -> None:
    names = ["session:a", "session:b", "session:c"]
    for name in names:
        await node.keep(2, name, payload=WIDE)
    if restart:
        node.restart()
    wanted: dict[str, Position | None] = dict.fromkeys(names, START)
    found = await node.streams.recover(wanted, ME, 700)
    reasons = [found[name].reason for name in names]
    assert reasons == [None, None, "too_far_behind"]
    assert found["session:c"].messages == []
    assert all(len(found[name].messages) == 2 for name in names[:2])


@pytest.mark.gen_test
async def test_more_than_memory_holds_is_refused_and_not_read_again_and_again(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_cache, "TAILS_LIMIT_BYTES", 1000)
    names = [f"session:s{number}" for number in range(8)]
    for name in names:
        await node.keep(5, name, payload=WIDE)
    node.restart()
    wanted: dict[str, Position | None] = dict.fromkeys(names, START)
    found = await node.streams.recover(wanted, ME, 800)
    assert [found[name].reason for name in names] == [None] + ["too_far_behind"] * 7
    assert len(node.reads()) <= 2 * len(names)


@pytest.mark.gen_test
async def test_a_crowd_with_streams_of_their_own_reads_each_once(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although memory has room for a few of them only."""
    monkeypatch.setattr(stream_cache, "TAILS_LIMIT_BYTES", 50_000)
    names = [f"session:s{number}" for number in range(60)]
    for name in names:
        await node.keep(10, name, payload=WIDE)
    node.restart()
    gate = node.store.hold("read")
    crowd = [
        asyncio.ensure_future(node.streams.recover({name: START}, ME, PLENTY)) for name in names
    ]
    await gate.reached()
    await settle()
    assert gate.waiting == recovering.FILLS_AT_ONCE
    node.store.release("read")
    for name, found in zip(names, await asyncio.gather(*crowd), strict=True):
        assert offsets(found[name].messages) == list(range(1, 11))
    assert len(node.reads()) == 60


@pytest.mark.gen_test
async def test_a_crowd_reads_history_few_at_a_time(node: Node) -> None:
    await node.keep(3)
    gate = node.store.hold("read")
    crowd = [asyncio.ensure_future(node.streams.history(S1, ME)) for _ in range(20)]
    await gate.reached()
    await settle()
    assert gate.waiting == streams.PAGES_AT_ONCE
    node.store.release("read")
    for page in await asyncio.gather(*crowd):
        assert offsets(page.messages) == [1, 2, 3]


# Memory


@pytest.mark.gen_test
async def test_memory_is_bounded_and_what_was_forgotten_is_read_again(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_cache, "STREAMS_LIMIT", 3)
    names = [f"session:s{number}" for number in range(5)]
    for name in names:
        await node.keep(2, name)
    assert [node.streams.peek(name) is not None for name in names] == [False] * 2 + [True] * 3
    node.streams.recover_now("session:s2", None, ME, 0)  # used again, so it stays
    await node.keep(1, "session:s0")
    assert node.streams.peek("session:s3") is None
    assert node.streams.peek("session:s2") is not None
    await node.streams.recover({"session:s3": START}, ME, PLENTY)
    figures = node.streams.figures()
    assert (figures["in_memory"], figures["kept"], figures["waiting"]) == (3, 11, 0)


@pytest.mark.gen_test
async def test_the_bytes_in_memory_are_counted_exactly(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_cache, "TAILS_LIMIT_BYTES", 2000)
    for number in range(40):
        name = f"session:s{number * 7 % 5}"
        await node.keep(number % 4 + 1, name)
        if number % 3 == 0:
            await node.streams.recover({f"session:s{number % 5}": None}, ME, PLENTY)
        if number % 5 == 0:
            node.streams.forget_all("epoch_2")
            head = (await node.streams.open(name)).head
            position = Position(EPOCH, max(0, head - 9))
            await node.streams.recover({name: position}, ME, PLENTY)
        held = [node.streams.peek(f"session:s{each}") for each in range(5)]
        sizes = [stream.tail_bytes for stream in held if stream is not None]
        assert node.streams.figures()["tail_bytes"] == sum(sizes)
        assert sum(sizes) <= 2000 or len(sizes) == 1


@pytest.mark.gen_test
async def test_one_stream_too_large_for_memory_can_be_given_all_the_same(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_cache, "TAILS_LIMIT_BYTES", 100)
    await node.keep(5)
    node.restart()
    await node.recovers(0, range(1, 6))


# Looking back


async def page(node: Node, claims: Claims | None = ME, **ends: Any) -> tuple[list[int], bool]:
    history = await node.streams.history(S1, claims, **ends)
    assert history.epoch == EPOCH
    return offsets(history.messages), history.has_more


@pytest.mark.gen_test
async def test_pages_go_both_ways(node: Node) -> None:
    await node.keep(10)
    assert await page(node, limit=4) == ([7, 8, 9, 10], True)
    assert await page(node, before=7, limit=4) == ([3, 4, 5, 6], True)
    assert await page(node, before=3, limit=4) == ([1, 2], False)
    assert await page(node, before=5, limit=4) == ([1, 2, 3, 4], False)
    assert await page(node, after=0, limit=4) == ([1, 2, 3, 4], True)
    assert await page(node, after=4, limit=4) == ([5, 6, 7, 8], True)
    assert await page(node, after=6, limit=4) == ([7, 8, 9, 10], False)
    assert await page(node, after=10) == ([], False)
    assert await page(node, after=99) == ([], False)
    assert await page(node, before=0) == ([], False)
    assert await page(node, before=1) == ([], False)
    assert await page(node, before=99) == (list(range(1, 11)), False)
    assert await page(node, after=3, before=7) == ([4, 5, 6], False)
    assert await page(node, after=3, before=7, limit=2) == ([5, 6], True)
    assert await page(node, after=7, before=3) == ([], False)


@pytest.mark.gen_test
async def test_an_empty_stream_has_an_empty_page(node: Node) -> None:
    assert await page(node) == ([], False)


@pytest.mark.gen_test
async def test_a_page_shows_nothing_that_is_not_published(node: Node) -> None:
    await node.keep(2)
    gate = node.store.hold("committed")
    kept = node.streams.append(drafts(1))
    await gate.reached()
    assert await page(node) == ([1, 2], False)
    assert await page(node, after=0) == ([1, 2], False)
    assert await page(node, before=99) == ([1, 2], False)
    node.store.release("committed")
    await kept
    assert await page(node) == ([1, 2, 3], False)


@pytest.mark.gen_test
async def test_a_page_is_full_whatever_lies_between(node: Node) -> None:
    for number in range(120):
        for_me = number in (0, 1, 118)
        await node.keep(1, readers=Audience(role="user" if for_me else "admin"))
    assert await page(node, limit=2) == ([2, 119], True)
    assert await page(node, before=2, limit=2) == ([1], False)
    assert await page(node, after=0, limit=2) == ([1, 2], True)
    assert await page(node, after=2, limit=2) == ([119], False)
    assert await page(node, None, limit=1) == ([120], True)


@pytest.mark.gen_test
async def test_what_has_expired_is_in_no_page(node: Node) -> None:
    await node.keep(60)
    await node.keep(1, has_ttl=True, expires_at=NOW + 1)
    node.clock.advance(DAY_S)
    await node.keep(2, expires_at=NOW + 2 * DAY_S)
    assert await page(node, limit=5) == ([62, 63], False)
    assert await page(node, after=0, limit=1) == ([62], True)


@pytest.mark.gen_test
async def test_a_page_keeps_to_its_budget_but_is_not_empty(node: Node) -> None:
    await node.keep(5, payload=WIDE)
    size = len(node.broker.published[0].payload) + 1
    assert await page(node, budget=3 * size) == ([3, 4, 5], True)
    assert await page(node, budget=3 * size - 1) == ([4, 5], True)
    assert await page(node, after=0, budget=2 * size) == ([1, 2], True)
    assert await page(node, budget=0) == ([5], True)
    assert await page(node, before=2, budget=0) == ([1], False)
