"""Kept messages: stored, published in order; the position of a stream."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
from tornado.ioloop import IOLoop

from tests.support.fake_clock import FakeClock
from tests.support.fake_stream_store import (
    EPOCH,
    ME,
    draft,
    drafts,
    offsets,
)
from tests.support.live_server import settle
from tests.support.stream_node import S1, START, Node
from wsserver.cluster.broker import PublishResult
from wsserver.errors import StorageFull, StorageUnavailable
from wsserver.realtime.streams import append_queue, stream_cache
from wsserver.realtime.streams.stream import Recovery


@pytest.fixture
def node(io_loop: IOLoop, clock: FakeClock) -> Node:
    return Node(clock)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(append_queue, "RETRY_DELAYS_S", (0,))


# Storing and publishing


@pytest.mark.gen_test
async def test_a_message_is_published_with_its_position_once_it_is_stored(node: Node) -> None:
    gate = node.store.hold("committed")
    kept = node.streams.append([draft(text="嗨", message_id="msg_a")])
    await gate.reached()
    assert node.broker.published == []
    node.store.release("committed")
    (sent,) = await kept
    (publication,) = node.broker.published
    assert json.loads(publication.payload) == {
        "type": "new_message",
        "id": "msg_a",
        "text": "嗨",
        "stream": S1,
        "epoch": EPOCH,
        "offset": 1,
    }
    assert (publication.stream, publication.epoch, publication.offset) == (S1, EPOCH, 1)
    assert (sent.stream, sent.epoch, sent.offset) == (S1, EPOCH, 1)
    assert sent.position == {"stream": S1, "epoch": EPOCH, "offset": 1}


@pytest.mark.gen_test
async def test_many_publishers_make_one_order(node: Node) -> None:
    async def publisher(number: int) -> list[int]:
        found = []
        for turn in range(20):
            names = [S1, f"user:u{(number + turn) % 3}"]
            sent = await node.streams.append([draft(name) for name in names])
            assert [each.stream for each in sent] == names
            found.append(sent[0].offset)
        return found

    found = await asyncio.gather(*map(publisher, range(8)))
    assert node.broker.of(S1) == list(range(1, 161))
    assert all(each == sorted(each) for each in found)
    assert sorted(offset for each in found for offset in each) == list(range(1, 161))
    for number in range(3):
        counted = node.broker.of(f"user:u{number}")
        assert counted == list(range(1, len(counted) + 1))
    assert len(node.store.batches) < 30


@pytest.mark.gen_test
async def test_a_failed_group_leaves_no_hole(node: Node) -> None:
    await node.keep(2)
    node.store.failures.append(StorageFull("full"))
    with pytest.raises(StorageFull):
        await node.keep(3)
    await node.keep(1)
    assert node.broker.of(S1) == [1, 2, 3]
    await node.recovers(0, range(1, 4))


@pytest.mark.gen_test
async def test_what_cannot_be_published_is_kept_all_the_same(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    node.broker.failures.extend([StorageUnavailable("broker away"), ZeroDivisionError("a fault")])
    with caplog.at_level(logging.WARNING):
        await node.keep(3)
    assert [record.message.split(" message_id=")[0] for record in caplog.records] == [
        "stored but not published"
    ] * 2
    assert node.broker.of(S1) == [3]
    await node.recovers(0, range(1, 4))


@pytest.mark.gen_test
async def test_a_slow_listener_of_unreached_users_delays_no_append(
    node: Node, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(node, "on_unreached", fail)
    node.broker.result = PublishResult()
    await node.keep(2)
    assert caplog.text.count("ZeroDivisionError: a fault") == 2
    assert (await node.streams.open(S1)).head == 2


@pytest.mark.gen_test
async def test_a_commit_of_unknown_outcome_is_published_and_no_gap_remains(node: Node) -> None:
    await node.keep(1)
    node.store.fails_after_commit = True
    node.store.failures.append(StorageUnavailable("unknown"))
    await node.keep(2)
    await node.keep(1)
    assert node.broker.of(S1) == [1, 2, 3, 4]
    await node.recovers(0, range(1, 5))


@pytest.mark.gen_test
async def test_memory_does_not_go_on_behind_a_gap(node: Node) -> None:
    """Messages in a gap, whatever its cause, are read from storage."""
    await node.keep(2)
    await node.store.append([draft()])
    await node.keep(1)
    assert node.broker.of(S1) == [1, 2, 4]
    await node.recovers(1, range(2, 5))


@pytest.mark.gen_test
async def test_memory_does_not_go_on_in_another_epoch(node: Node) -> None:
    await node.keep(3)
    node.store.messages.clear()
    node.store.last.clear()
    node.store.epochs[S1] = "epoch_2"
    await node.keep(1)
    assert (await node.recover(3)).reason == "epoch_changed"
    recovery = await node.recover(0, epoch="epoch_2")
    assert (recovery.epoch, recovery.offset) == ("epoch_2", 1)
    assert offsets(recovery.messages) == [1]


# The position of a stream


@pytest.mark.gen_test
async def test_to_open_waits_for_what_is_stored_and_not_published(node: Node) -> None:
    await node.keep(2)
    node.restart()
    gate = node.store.hold("committed")
    kept = node.streams.append(drafts(1))
    await gate.reached()
    opening = asyncio.ensure_future(node.streams.open(S1))
    await settle()
    assert not opening.done()
    assert node.store.calls == []  # it would be asked in vain, again and again
    node.store.release("committed")
    stream = await opening
    assert (stream.head, node.broker.of(S1)) == (3, [1, 2, 3])
    await kept


@pytest.mark.gen_test
async def test_to_open_waits_for_what_fails(node: Node) -> None:
    gate = node.store.hold("append")
    node.store.failures.append(StorageFull("full"))
    kept = node.streams.append(drafts(1))
    await gate.reached()
    opening = asyncio.ensure_future(node.streams.open(S1))
    node.store.release("append")
    assert (await opening).head == 0
    with pytest.raises(StorageFull):
        await kept


@pytest.mark.gen_test
async def test_a_head_that_is_old_when_it_comes_is_asked_again(node: Node) -> None:
    """Stored while the head was read, and in flight when it comes."""
    gate = node.store.hold("headed")
    opening = asyncio.ensure_future(node.streams.open(S1))
    await gate.reached()
    committed = node.store.hold("committed")
    kept = node.streams.append(drafts(1))
    await committed.reached()
    node.store.release("headed")
    await settle()
    node.store.release("committed")
    assert (await opening).head == 1
    await kept


@pytest.mark.gen_test
async def test_a_head_that_is_old_does_not_replace_what_is_known(node: Node) -> None:
    gate = node.store.hold("headed")
    opening = asyncio.ensure_future(node.streams.open(S1))
    await gate.reached()
    await node.keep(2)
    node.store.release("headed")
    assert (await opening).head == 2
    await node.recovers(0, range(1, 3))
    assert node.reads() == []


@pytest.mark.gen_test
async def test_a_head_read_before_a_message_that_was_forgotten_again_is_not_believed(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_cache, "STREAMS_LIMIT", 1)
    gate = node.store.hold("headed")
    opening = asyncio.ensure_future(node.streams.open(S1))
    await gate.reached()
    await node.keep(1)
    await node.keep(1, "user:u1")
    assert node.streams.peek(S1) is None
    node.store.release("headed")
    assert (await opening).head == 1
    await node.keep(1)
    await node.recovers(0, range(1, 3))


@pytest.mark.gen_test
async def test_a_head_read_before_all_was_forgotten_is_not_believed(node: Node) -> None:
    gate = node.store.hold("headed")
    opening = asyncio.ensure_future(node.streams.open(S1))
    await gate.reached()
    node.store.epochs[S1] = "epoch_2"
    node.streams.forget_all("epoch_2")
    node.store.release("headed")
    assert (await opening).epoch == "epoch_2"


@pytest.mark.gen_test
async def test_a_crowd_asks_once_and_shares_a_failure(node: Node) -> None:
    opened = await asyncio.gather(*[node.streams.open(S1) for _ in range(50)])
    assert len(set(map(id, opened))) == 1
    assert node.store.calls == [("head", S1)]
    node.restart()
    node.store.read_failures.append(StorageUnavailable("away"))
    crowd = [node.streams.open(S1) for _ in range(50)]
    failed = await asyncio.gather(*crowd, return_exceptions=True)
    assert {str(error) for error in failed} == {"away"}
    assert (await node.streams.open(S1)).head == 0
    assert len(node.store.calls) == 3


@pytest.mark.gen_test
async def test_one_of_a_crowd_may_give_up(node: Node) -> None:
    gate = node.store.hold("head")
    first, second = [asyncio.ensure_future(node.streams.open(S1)) for _ in range(2)]
    await gate.reached()
    first.cancel()
    node.store.release("head")
    assert (await second).head == 0


@pytest.mark.gen_test
async def test_what_is_known_to_be_empty_costs_storage_nothing(node: Node) -> None:
    await node.keep(1)
    node.restart()
    await node.streams.load()
    assert node.streams.recover_now("user:u9", None, ME, 0) == Recovery(EPOCH, 0, [], None)
    assert node.streams.recover_now(S1, None, ME, 0) is None
    assert (await node.streams.open("user:u9")).head == 0
    assert (await node.streams.recover({"user:u8": START}, ME, 0))["user:u8"].reason is None
    assert node.store.calls == []
    assert (await node.streams.open(S1)).head == 1
    assert node.store.calls == [("head", S1)]


@pytest.mark.gen_test
async def test_the_first_message_of_all_is_waited_for(node: Node) -> None:
    await node.streams.load()
    gate = node.store.hold("committed")
    kept = node.streams.append(drafts(1))
    assert node.streams.recover_now(S1, None, ME, 0) is None
    opening = asyncio.ensure_future(node.streams.open(S1))
    await gate.reached()
    await settle()
    assert not opening.done()
    node.store.release("committed")
    assert (await opening).head == 1
    await kept
