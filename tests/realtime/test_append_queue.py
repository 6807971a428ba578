"""The append queue: groups, order, limits, errors of storage."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import pytest
from tornado.ioloop import IOLoop

from tests.support.fake_clock import FakeClock
from tests.support.fake_stream_store import FakeStore, draft, drafts
from tests.support.live_server import settle
from tests.support.waiting import until
from wsserver.cluster.broker import NO_RECIPIENTS, Outcome, PublishResult
from wsserver.errors import StorageFull, StorageUnavailable
from wsserver.promise import Promise
from wsserver.realtime.streams import append_queue
from wsserver.realtime.streams.append_queue import AppendQueue
from wsserver.realtime.streams.drafts import Draft
from wsserver.storage.messages.streams import Appended
from wsserver.tasks import Tasks


class Line:
    """A queue in front of a fake store; announced messages are in ``announced``."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.store = FakeStore()
        self.tasks = Tasks()
        self.queue = AppendQueue(self.store, self.announce, clock, self.tasks, self.cork)
        self.announced: list[tuple[str, int]] = []
        self.corked_at: list[int] = []
        """How many were announced by then."""
        self.takes_s = 0.0
        """So long each announcement takes, by the clock."""
        self.promised: list[Promise[PublishResult]] | None = None
        """Results of announcements, if they are given later."""

    def announce(
        self, drafts: Sequence[Draft], places: Sequence[Appended], until: float
    ) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for each, place in zip(drafts, places, strict=True):
            outcomes.append(self.announce_one(each, place))
            if self.clock.monotonic() > until:
                break
        return outcomes

    def announce_one(self, draft: Draft, place: Appended) -> Outcome:
        assert draft.stream == place.stream
        self.announced.append((place.stream, place.offset))
        self.clock.advance(self.takes_s)
        if self.promised is None:
            return PublishResult(2, 1, 1)
        self.promised.append(Promise())
        return self.promised[-1]

    def cork(self) -> None:
        self.corked_at.append(len(self.announced))

    @property
    def batches(self) -> list[int]:
        return [len(batch) for batch in self.store.batches]


@pytest.fixture
def line(io_loop: IOLoop, clock: FakeClock) -> Line:
    return Line(clock)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(append_queue, "RETRY_DELAYS_S", (0, 0, 0))


@pytest.mark.gen_test
async def test_each_gets_where_it_is_and_what_became_of_it(line: Line) -> None:
    mine = [draft("session:s1"), draft("user:u1"), draft("session:s1")]
    sent = await line.queue.append(mine)
    places = [(each.stream, each.offset) for each in sent]
    assert places == [("session:s1", 1), ("user:u1", 1), ("session:s1", 2)]
    assert line.announced == [("session:s1", 1), ("session:s1", 2), ("user:u1", 1)]
    assert [each.message_id for each in sent] == [each.message_id for each in mine]
    assert {(each.epoch, each.is_new, each.receipt) for each in sent} == {
        ("epoch_1", True, PublishResult(2, 1, 1))
    }
    assert await line.queue.append([]) == []


@pytest.mark.gen_test
async def test_what_is_stored_together_is_announced_stream_by_stream(line: Line) -> None:
    gate = line.store.hold("append")
    first = line.queue.append(drafts(1))
    await gate.reached()
    streams = ["user:u1", "session:s1", "user:u2", "session:s1", "user:u1"]
    rest = [line.queue.append(drafts(1, stream)) for stream in streams]
    line.store.release("append")
    await first
    places = [(each.stream, each.offset) for (each,) in await asyncio.gather(*rest)]
    assert places == list(zip(streams, [1, 2, 1, 3, 2], strict=True)), "each gets its own place"
    del line.announced[0]
    assert line.announced == sorted(places, key=lambda place: streams.index(place[0]))


@pytest.mark.gen_test
async def test_several_of_a_group_keep_the_order_of_each_stream_between_groups(line: Line) -> None:
    gate = line.store.hold("append")
    first = line.queue.append(drafts(1))
    await gate.reached()
    groups = [["s1", "u1"], ["u1"], ["s1", "u1", "s1"], ["s1"], ["u1"]]
    rest = [line.queue.append([draft(f"session:{name}") for name in names]) for names in groups]
    line.store.release("append")
    await first
    offsets = [[each.offset for each in group] for group in await asyncio.gather(*rest)]
    assert offsets == [[2, 1], [2], [3, 3, 4], [5], [4]]
    for stream in ("session:s1", "session:u1"):
        told = [offset for name, offset in line.announced if name == stream]
        assert told == list(range(1, len(told) + 1))


@pytest.mark.gen_test
async def test_what_arrives_during_a_transaction_goes_into_the_next_one(line: Line) -> None:
    gate = line.store.hold("append")
    first = line.queue.append(drafts(1))
    await gate.reached()
    rest = [line.queue.append(drafts(count)) for count in (1, 3, 2)]
    assert len(line.queue) == 6
    line.store.release("append")
    found = [sent.offset for group in await asyncio.gather(first, *rest) for sent in group]
    assert found == list(range(1, 8))
    assert line.batches == [1, 6]
    assert len(line.queue) == 0


@pytest.mark.gen_test
async def test_a_transaction_has_a_largest_size_and_groups_stay_whole(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(append_queue, "BATCH", 4)
    await asyncio.gather(*[line.queue.append(drafts(count)) for count in (2, 1, 2, 9, 4)])
    assert line.batches == [3, 2, 9, 4]
    assert line.announced == [("session:s1", offset) for offset in range(1, 19)]


@pytest.mark.gen_test
async def test_nothing_is_announced_before_it_is_stored(line: Line) -> None:
    gate = line.store.hold("committed")
    sent = line.queue.append(drafts(2))
    await gate.reached()
    assert line.store.last == {"session:s1": 2}
    await settle()
    assert (line.announced, sent.done(), line.queue.has("session:s1")) == ([], False, True)
    line.store.release("committed")
    await sent
    assert not line.queue.has("session:s1")


@pytest.mark.gen_test
async def test_one_group_is_announced_while_the_next_one_is_stored(line: Line) -> None:
    first = line.queue.append(drafts(1))
    gate = line.store.hold("committed")
    await gate.reached()
    second = line.queue.append(drafts(1))
    line.store.release("committed")
    gate = line.store.hold("append")
    await gate.reached()
    await first
    assert line.announced == [("session:s1", 1)]
    line.store.release("append")
    await second
    assert line.announced == [("session:s1", 1), ("session:s1", 2)]


@pytest.mark.gen_test
async def test_several_go_out_under_a_cork_and_one_alone_does_not(line: Line) -> None:
    await line.queue.append(drafts(1))
    assert line.corked_at == []
    line.takes_s = 0.001
    await line.queue.append(drafts(6))
    assert line.corked_at == [1, 4, 7], "anew in each turn of the loop"


@pytest.mark.gen_test
async def test_several_are_answered_under_a_cork_and_one_alone_is_not(line: Line) -> None:
    line.promised = []
    first, second = line.queue.append(drafts(1)), line.queue.append(drafts(1))
    await until(lambda: len(line.promised or ()) == 2)
    del line.corked_at[:]
    line.promised[0].resolve(PublishResult(1, 1, 0))
    assert (first.done(), second.done(), line.corked_at) == (True, False, [2])
    line.promised[1].resolve(PublishResult(2, 2, 0))
    assert (second.result()[0].receipt, line.corked_at) == (PublishResult(2, 2, 0), [2])


@pytest.mark.gen_test
async def test_a_locked_database_is_tried_again_in_order(line: Line) -> None:
    line.store.failures.extend([StorageUnavailable("locked")] * 3)
    first, second = line.queue.append(drafts(2)), line.queue.append(drafts(1))
    assert [sent.offset for sent in [*await first, *await second]] == [1, 2, 3]
    assert line.batches == [3, 3, 3, 3]


@pytest.mark.gen_test
async def test_a_database_that_stays_locked_fails_every_waiting_append(line: Line) -> None:
    line.store.failures.extend([StorageUnavailable("locked")] * 4)
    gate = line.store.hold("append")
    failing = [line.queue.append(drafts(1)), line.queue.append(drafts(1, "user:u1"))]
    await gate.reached()
    later = line.queue.append(drafts(1))
    line.store.release("append")
    for future in failing:
        with pytest.raises(StorageUnavailable, match="locked"):
            await future
    assert [sent.offset for sent in await later] == [1]
    assert line.announced == [("session:s1", 1)]
    assert not line.queue.has("user:u1")


@pytest.mark.gen_test
async def test_a_full_disk_is_not_tried_again_and_harms_only_its_group(line: Line) -> None:
    line.store.failures.append(StorageFull("full"))
    with pytest.raises(StorageFull):
        await line.queue.append(drafts(3))
    assert [sent.offset for sent in await line.queue.append(drafts(1))] == [1]
    assert line.batches == [3, 1]


@pytest.mark.gen_test
async def test_an_unexpected_error_is_logged_and_raised(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    line.store.failures.append(ZeroDivisionError("a fault in the program"))
    with caplog.at_level(logging.ERROR), pytest.raises(ZeroDivisionError):
        await line.queue.append(drafts(2))
    assert "messages not stored count=2" in caplog.text
    assert caplog.records[0].exc_info is not None
    assert [sent.offset for sent in await line.queue.append(drafts(1))] == [1]


@pytest.mark.gen_test
async def test_an_unexpected_error_of_one_fails_no_other(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    poison = drafts(2)
    line.store.poison = poison[1].message_id
    before, bad, after = map(line.queue.append, (drafts(1), poison, drafts(1)))
    with caplog.at_level(logging.ERROR), pytest.raises(ZeroDivisionError):
        await bad
    assert [(await each)[0].offset for each in (before, after)] == [1, 2]
    assert line.batches == [4, 1, 2, 1]


@pytest.mark.gen_test
async def test_an_error_while_announcing_leaves_nobody_waiting(
    line: Line, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    announce_one = line.announce_one

    def fail_at_b(draft: Draft, place: Appended) -> Outcome:
        if draft.stream == "b":
            raise RuntimeError("broken")
        return announce_one(draft, place)

    monkeypatch.setattr(line, "announce_one", fail_at_b)
    (of_b,) = await line.queue.append([draft("b")])
    assert (of_b.stream, of_b.offset, of_b.receipt) == ("b", 1, NO_RECIPIENTS)
    assert "broken" in caplog.text
    await line.queue.append([draft("a")])
    assert line.announced == [("a", 1)]
    assert not line.queue.has("b")


@pytest.mark.gen_test
async def test_a_commit_that_was_said_to_have_failed_is_announced_once(line: Line) -> None:
    line.store.fails_after_commit = True
    line.store.failures.append(StorageUnavailable("outcome unknown"))
    keyed = draft(dedup=("client:u1", "k1"))
    sent = await line.queue.append([*drafts(1), keyed])
    assert [(each.offset, each.is_new) for each in sent] == [(1, True), (2, True)]
    assert line.announced == [("session:s1", 1), ("session:s1", 2)]


@pytest.mark.gen_test
async def test_a_repeated_key_is_answered_with_the_first_and_not_announced(line: Line) -> None:
    first = draft(dedup=("client:u1", "k1"))
    (sent,) = await line.queue.append([first])
    again, other = await line.queue.append([draft(dedup=("client:u1", "k1")), draft()])
    assert (again.message_id, again.offset, again.is_new) == (sent.message_id, 1, False)
    assert again.receipt == PublishResult()
    assert (other.offset, other.is_new) == (2, True)
    assert line.announced == [("session:s1", 1), ("session:s1", 2)]


@pytest.mark.gen_test
async def test_both_of_a_kind_in_one_transaction_are_one(line: Line) -> None:
    pair = [draft(dedup=("client:u1", "k1")) for _ in range(2)]
    futures = [line.queue.append([each]) for each in pair]
    ((first,), (second,)) = await asyncio.gather(*futures)
    assert (first.is_new, second.is_new) == (True, False)
    assert second.message_id == first.message_id == pair[0].message_id
    assert line.announced == [("session:s1", 1)]


@pytest.mark.gen_test
async def test_an_append_over_the_limit_is_refused_immediately(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(append_queue, "WAITING_LIMIT", 3)
    gate = line.store.hold("append")
    accepted = [line.queue.append(drafts(1))]
    await gate.reached()  # what is being stored does not wait any more
    accepted.append(line.queue.append(drafts(2)))
    with pytest.raises(StorageUnavailable, match="too many"):
        line.queue.append(drafts(2))
    accepted.append(line.queue.append(drafts(1)))
    line.store.release("append")
    assert [len(sent) for sent in await asyncio.gather(*accepted)] == [1, 2, 1]
    assert len(await line.queue.append(drafts(3))) == 3


@pytest.mark.gen_test
async def test_the_bytes_that_wait_are_bounded_too(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(append_queue, "WAITING_LIMIT_BYTES", 100)
    gate = line.store.hold("append")
    first = line.queue.append(drafts(1))
    await gate.reached()
    second = line.queue.append([draft(payload=b"{" + b" " * 60 + b"}")])
    with pytest.raises(StorageUnavailable):
        line.queue.append([draft(payload=b"{" + b" " * 60 + b"}")])
    line.store.release("append")
    await asyncio.gather(first, second)
    assert len(await line.queue.append([draft(payload=b"{" + b" " * 90 + b"}")])) == 1


@pytest.mark.gen_test
async def test_the_loop_gets_its_turn_while_much_is_announced(line: Line) -> None:
    line.takes_s = append_queue.SLICE_S / 4
    seen: list[int] = []

    async def watch() -> None:
        while len(line.announced) < 100:
            seen.append(len(line.announced))
            await asyncio.sleep(0)

    watching = asyncio.ensure_future(watch())
    await line.queue.append(drafts(100))
    await watching
    during = [count for count in seen if count]
    assert max(b - a for a, b in zip([0, *during], [*during, 100], strict=True)) <= 5


@pytest.mark.gen_test
async def test_results_that_come_while_the_rest_of_a_group_is_announced_are_not_lost(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = iter(range(1, 4))

    def announce_one(*_: object) -> Outcome:
        result: Promise[PublishResult] = Promise()
        result.resolve(PublishResult(next(counts)))
        return result

    monkeypatch.setattr(line, "announce_one", announce_one)
    sent = await line.queue.append(drafts(3))
    assert [each.receipt.matched for each in sent] == [1, 2, 3]


@pytest.mark.gen_test
async def test_a_cancelled_append_does_not_affect_others(line: Line) -> None:
    first, second = line.queue.append(drafts(1)), line.queue.append(drafts(1))
    waiting = asyncio.ensure_future(asyncio.wait_for(first, None))
    await asyncio.sleep(0)
    waiting.cancel()
    assert [sent.offset for sent in await second] == [2]
    line.store.failures.append(StorageFull("full"))
    line.queue.append(drafts(1))  # and the result is not awaited
    await line.queue.finish()
    assert line.announced == [("session:s1", 1), ("session:s1", 2)]


@pytest.mark.gen_test
async def test_progress_comes_with_success_and_with_failure(line: Line) -> None:
    for failure in (None, StorageFull("full")):
        gate = line.store.hold("append")
        if failure is not None:
            line.store.failures.append(failure)
        sent = line.queue.append(drafts(1))
        await gate.reached()
        waiting = [asyncio.ensure_future(line.queue.progress()) for _ in range(2)]
        await settle()
        assert not any(each.done() for each in waiting)
        waiting.pop().cancel()  # one who gives up does not take it from the others
        line.store.release("append")
        await waiting[0]
        assert not line.queue.has("session:s1")
        assert (await asyncio.gather(sent, return_exceptions=True))[0] is not None


@pytest.mark.gen_test
async def test_to_finish_is_to_have_stored_all_that_was_accepted(line: Line) -> None:
    for _ in range(3):
        line.queue.append(drafts(2))
    await line.queue.finish()
    assert len(line.announced) == 6
    assert len(line.tasks) == 0
    await line.queue.finish()


@pytest.mark.gen_test
async def test_storage_gets_everything_that_it_is_to_know(line: Line) -> None:
    keyed = draft(
        "user:u1", sender="u2", origin='{"a":1}', dedup=("s", "k"), has_ttl=True, expires_at=5.0
    )
    await line.queue.append([keyed])
    ((item,),) = line.store.batches
    assert (item.stream, item.message_id, item.type) == (
        "user:u1",
        keyed.message_id,
        "new_message",
    )
    assert item.payload == keyed.payload
    assert (item.sender, item.origin, item.dedup) == ("u2", '{"a":1}', ("s", "k"))
    assert (item.has_ttl, item.expires_at, item.at, item.audience) == (True, 5.0, keyed.at, None)


@pytest.mark.gen_test
async def test_nothing_is_accepted_after_the_finish(line: Line) -> None:
    gate = line.store.hold("append")
    sent = line.queue.append(drafts(1))
    await gate.reached()
    finishing = asyncio.ensure_future(line.queue.finish())
    await settle()
    with pytest.raises(StorageUnavailable, match="stopping"):
        line.queue.append(drafts(1))
    line.store.release("append")
    await finishing
    assert len(await sent) == 1


@pytest.mark.gen_test
async def test_publishers_do_not_wait_for_a_queue_that_is_cancelled(line: Line) -> None:
    gate = line.store.hold("append")
    sent = [line.queue.append(drafts(1))]
    await gate.reached()
    sent.append(line.queue.append(drafts(1)))
    await line.tasks.cancel()
    for each in sent:
        with pytest.raises(StorageUnavailable, match="stopped"):
            await each
    assert len(line.queue) == 0
    assert not line.queue.has("session:s1")


@pytest.mark.gen_test
async def test_what_is_being_stored_while_others_are_announced_ends_with_the_queue(
    line: Line,
) -> None:
    line.takes_s = 1.0  # so each announcement lets others run
    gate = line.store.hold("append")
    line.queue.append(drafts(50))
    await gate.reached()
    later = line.queue.append(drafts(1))
    line.store.release("append")
    gate = line.store.hold("append")
    await gate.reached()
    await line.tasks.cancel()
    with pytest.raises(StorageUnavailable, match="stopped"):
        await later
    await settle()
    assert asyncio.all_tasks() == {asyncio.current_task()}
