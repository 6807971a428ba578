"""Streams of two nodes over one store: the position of each, gaps, what readers see."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from math import inf

import pytest
from tornado.ioloop import IOLoop

from tests.support.fake_clock import FakeClock
from tests.support.fake_stream_store import (
    DAY_S,
    EPOCH,
    ME,
    FakeStore,
    NoGrowingTexts,
    draft,
    drafts,
    offsets,
)
from tests.support.live_server import settle
from tests.support.stream_node import PLENTY
from tests.support.waiting import until
from wsserver.cluster.broker import (
    NO_RECIPIENTS,
    Outcome,
    Publication,
    PublishResult,
    Signal,
    begin_each,
)
from wsserver.errors import StorageUnavailable
from wsserver.promise import Promise
from wsserver.protocol.targets import Target, user
from wsserver.protocol.types import Position
from wsserver.realtime.streams import sequencer, stream_follower
from wsserver.realtime.streams.drafts import Draft
from wsserver.realtime.streams.retention_policy import Retention
from wsserver.realtime.streams.shared_streams import HeadReader, SharedStreams
from wsserver.tasks import Tasks

INBOX = "user:u1"
U1 = user("u1")
ONE = PublishResult(1, 1, 0)


class Network:
    """Between two nodes; ``losing`` drops what is sent to the other one, ``late`` keeps it."""

    def __init__(self) -> None:
        self.nodes: list[SharedNode] = []
        self.is_losing = False
        self.late: list[Callable[[], object]] | None = None

    def send(self, sender: SharedNode, publication: Publication) -> None:
        for node in self.nodes:
            if node is sender or self.is_losing or publication.target not in node.followed_targets:
                continue
            if self.late is None:
                node.streams.follower.deliver(publication)
            else:
                self.late.append(lambda node=node: node.streams.follower.deliver(publication))  # type: ignore[misc]


class SharedNode:
    """One node; it is the broker and the connections, too."""

    def __init__(self, network: Network, store: FakeStore, clock: FakeClock) -> None:
        self.network = network
        self.followed_targets: set[Target] = set()
        self.got: list[tuple[str, int]] = []
        self.outcomes: list[Outcome] = []
        self.sent: list[Publication] = []
        self.results: Promise[PublishResult] | None = None
        """Of other nodes, still to come; None: there at once."""
        self.together: list[int] = []
        """Numbers of those that were passed on in one go."""
        self.corked_at: list[int] = []
        """How many were delivered by then."""
        self.gap_listeners: list[Callable[[], None]] = []
        self.tasks = Tasks()
        self.streams = SharedStreams(
            store,
            self,  # type: ignore[arg-type]
            self,
            clock,
            self.tasks,
            growing=NoGrowingTexts(),
            on_unreached=lambda _: None,
            cork=lambda: self.corked_at.append(len(self.got)),
            retention=Retention(DAY_S, 7 * DAY_S),
            replay_limit=50,
        )
        network.nodes.append(self)

    @property
    def offsets(self) -> list[int]:
        return [offset for _, offset in self.got]

    # As the broker

    def begin(self, publication: Publication) -> Outcome:
        outcome = self.streams.follower.deliver(publication)
        self.sent.append(publication)
        self.outcomes.append(outcome)
        self.network.send(self, publication)
        return ONE if self.results is None else self.results

    def begin_all(
        self, publications: Sequence[Publication], until: float, uncounted: Collection[str] = ()
    ) -> list[Outcome]:
        def begin(publication: Publication) -> Outcome:
            outcome = self.begin(publication)
            return NO_RECIPIENTS if publication.message_id in uncounted else outcome

        return begin_each(begin, publications, until)

    def follow(self, target: Target) -> None:
        self.followed_targets.add(target)

    def unfollow(self, target: Target) -> None:
        self.followed_targets.discard(target)

    async def followed(self, target: Target) -> None:
        await asyncio.sleep(0)

    def add_gap_listener(self, listener: Callable[[], None]) -> None:
        self.gap_listeners.append(listener)

    # As the connections

    def deliver(self, publication: Publication) -> PublishResult:
        self.got.append((publication.epoch, publication.offset))
        return ONE

    def deliver_all(self, publications: Sequence[Publication], until: float = inf) -> list[Outcome]:
        self.together.append(len(publications))
        return begin_each(self.deliver, publications, until)

    def signal(self, signal: Signal) -> None:
        raise AssertionError(signal)

    async def joins(self) -> int:
        """A connection of u1; returns the position that it is given."""
        recovery = (await self.streams.recover({INBOX: None}, ME, 0))[INBOX]
        self.streams.follower.follow(U1)
        return recovery.offset

    async def keep(self, count: int = 1) -> None:
        for _ in range(count):
            await self.streams.append([draft_for_u1()])

    async def resumes(self, offset: int) -> list[int]:
        wanted = {INBOX: Position(EPOCH, offset)}
        recovery = (await self.streams.recover(wanted, ME, PLENTY))[INBOX]
        assert recovery.reason is None, recovery
        return offsets(recovery.messages)


def draft_for_u1() -> Draft:
    made = draft(INBOX)
    made.message.target = U1
    return made


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def pair(
    io_loop: IOLoop, network: Network, store: FakeStore, clock: FakeClock
) -> tuple[SharedNode, SharedNode]:
    return SharedNode(network, store, clock), SharedNode(network, store, clock)


Pair = tuple[SharedNode, SharedNode]


@pytest.mark.gen_test
async def test_an_own_message_waits_for_the_one_before_it(pair: Pair, network: Network) -> None:
    one, two = pair
    assert await two.joins() == 0
    network.late = []
    await one.keep()
    await two.keep()
    assert two.offsets == []
    (outcome,) = two.outcomes
    assert isinstance(outcome, Promise)
    network.late[0]()
    assert two.offsets == [1, 2]
    assert outcome.result() == ONE


@pytest.mark.gen_test
async def test_a_message_that_waits_when_its_last_reader_leaves_has_a_result(
    pair: Pair, network: Network
) -> None:
    one, two = pair
    await two.joins()
    network.late = []
    await one.keep()
    await two.keep()
    (outcome,) = two.outcomes
    assert isinstance(outcome, Promise)
    assert not outcome.done()
    two.streams.follower.unfollow(U1)
    assert outcome.result() == NO_RECIPIENTS


@pytest.mark.gen_test
async def test_what_is_lost_is_read_from_the_database(pair: Pair, network: Network) -> None:
    one, two = pair
    await two.joins()
    network.is_losing = True
    await one.keep(3)
    network.is_losing = False
    await one.keep()
    await until(lambda: two.offsets == [1, 2, 3, 4])
    network.is_losing = True
    await one.keep(2)
    await two.streams.follower.compare()
    await until(lambda: two.offsets == [1, 2, 3, 4, 5, 6])


@pytest.mark.gen_test
async def test_messages_that_were_read_before_they_were_received_are_counted_each_once(
    pair: Pair, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = pair
    await two.joins()
    network.late = []
    await one.keep(500)
    await two.streams.follower.compare()
    await until(lambda: len(two.offsets) == 500)
    assert [receive() for receive in network.late] == [ONE] * 500
    assert [receive() for receive in network.late] == [NO_RECIPIENTS] * 500
    monkeypatch.setattr(stream_follower, "UNCLAIMED_LIMIT", 2)
    network.late = []
    await one.keep(3)
    await two.streams.follower.compare()
    await until(lambda: len(two.offsets) == 503)
    assert [receive() for receive in network.late] == [NO_RECIPIENTS, ONE, ONE]


@pytest.mark.gen_test
async def test_what_is_about_to_be_published_is_not_read_from_the_database(
    pair: Pair, store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_follower, "TAIL_PATIENCE_S", 0)
    monkeypatch.setattr(stream_follower, "LOOK_AGAIN_S", 0)
    one, _ = pair
    await one.joins()
    gate = store.hold("committed")
    sent = one.streams.append(drafts(3, INBOX))
    await gate.reached()
    await one.streams.follower.compare()
    await settle()
    store.release("committed")
    await sent
    assert (one.offsets, one.streams.follower.repaired) == ([1, 2, 3], 0)
    assert [call for call in store.calls if call[0] == "gap"] == []


@pytest.mark.gen_test
async def test_a_stream_that_moves_on_is_not_read_from_the_database(
    pair: Pair, network: Network, store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_follower, "TAIL_PATIENCE_S", 1000)
    one, two = pair
    await two.joins()
    network.late = []
    await one.keep(2)
    follower = two.streams.follower
    await follower.compare()
    place = follower._places[INBOX]
    network.late[0]()
    follower._look(place, 0, True)
    assert (two.offsets, place.is_repairing) == ([1], False)
    follower._look(place, 1, False)
    assert not place.is_repairing, "it is looked at once more"
    follower._look(place, 1, True)
    await until(lambda: two.offsets == [1, 2])


@pytest.mark.gen_test
async def test_several_that_arrive_together_are_written_under_a_cork(pair: Pair) -> None:
    one, two = pair
    await two.joins()
    await one.keep(2)
    assert two.corked_at == []
    await one.joins()
    network = one.network
    network.late = []
    await two.keep(2)
    one.streams.follower.deliver_all(two.sent[-2:])
    assert (one.corked_at, one.offsets) == ([2], [1, 2, 3, 4])


@pytest.mark.gen_test
async def test_a_long_gap_is_read_in_pages(
    pair: Pair, network: Network, store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_follower, "PAGE", 300)
    monkeypatch.setattr(sequencer, "HELD_LIMIT", 5)
    one, two = pair
    await two.joins()
    network.is_losing = True
    await one.streams.append(drafts(1000, INBOX))
    network.is_losing = False
    await one.keep(10)
    place = two.streams.follower._places[INBOX]
    assert len(place.sequence._held or {}) == 5
    await until(lambda: two.offsets == list(range(1, 1011)))
    assert two.streams.follower._room.left == stream_follower.HELD_LIMIT_BYTES
    assert place.results == {}
    assert len([call for call in store.calls if call[0] == "gap"]) >= 4


@pytest.mark.gen_test
async def test_a_reader_sees_all_that_was_answered_before(pair: Pair, network: Network) -> None:
    one, two = pair
    assert await two.joins() == 0
    network.is_losing = True
    await one.keep(3)
    assert await two.resumes(0) == [1, 2, 3]
    assert two.offsets == [1, 2, 3]  # its connections have got them by then
    assert (await two.streams.open(INBOX)).head == 3
    await one.keep()
    assert (await two.streams.open(INBOX)).head == 4
    two.streams.follower.unfollow(U1)
    await asyncio.sleep(0)
    assert two.followed_targets == set()
    await one.keep()
    assert (await two.streams.open(INBOX)).head == 5
    assert await two.joins() == 5


@pytest.mark.gen_test
async def test_messages_between_the_head_and_the_subscription_are_not_lost(
    pair: Pair, store: FakeStore
) -> None:
    one, two = pair
    gate = store.hold("headed")
    joining = asyncio.ensure_future(two.joins())
    await gate.reached()
    await one.keep(2)
    store.release("headed")
    assert await joining == 2
    await one.keep()
    assert two.offsets[-1] == 3


@pytest.mark.gen_test
async def test_deleted_messages_are_not_served_from_memory(pair: Pair, store: FakeStore) -> None:
    one, two = pair
    await two.joins()
    await one.keep(4)
    assert await two.resumes(0) == [1, 2, 3, 4]
    store.retain(INBOX, 3)
    wanted = {INBOX: Position(EPOCH, 0)}
    assert (await two.streams.recover(wanted, ME, PLENTY))[INBOX].reason == "expired"
    assert await two.resumes(2) == [3, 4]


@pytest.mark.gen_test
async def test_a_stream_that_was_pruned_begins_anew(pair: Pair, store: FakeStore) -> None:
    one, two = pair
    await two.joins()
    await one.keep(2)
    store.epochs[INBOX] = "epoch_2"
    store.last[INBOX] = 0
    store.messages[INBOX] = []
    await one.keep()
    await until(lambda: two.got == [(EPOCH, 1), (EPOCH, 2), ("epoch_2", 1)])
    assert (await two.streams.open(INBOX)).epoch == "epoch_2"


@pytest.mark.gen_test
async def test_a_database_that_is_away_delays_a_repair(
    pair: Pair, network: Network, store: FakeStore
) -> None:
    one, two = pair
    await two.joins()
    network.is_losing = True
    await one.keep()
    network.is_losing = False
    store.read_failures.extend([StorageUnavailable("away")] * 2)
    await one.keep()
    await until(lambda: len(store.read_failures) == 1)
    with pytest.raises(StorageUnavailable):
        await two.resumes(0)
    assert two.offsets == []
    await two.streams.follower.compare()
    await until(lambda: two.offsets == [1, 2])


@pytest.mark.gen_test
async def test_a_connection_that_comes_without_joining_gets_what_follows(
    pair: Pair, network: Network
) -> None:
    """Such as one whose organization was assigned while it was connected."""
    one, two = pair
    await one.keep(2)
    two.streams.follower.follow(U1)
    await until(lambda: two.streams.follower.position(INBOX) == (EPOCH, 2))
    network.is_losing = True
    await one.keep()
    await two.streams.follower.compare()
    await until(lambda: two.offsets == [3])


@pytest.mark.gen_test
async def test_many_readers_share_a_query_that_begins_after_they_asked(
    pair: Pair, store: FakeStore
) -> None:
    one, two = pair
    gate = store.hold("headed")
    first = asyncio.ensure_future(two.streams.open(INBOX))
    await gate.reached()
    await one.keep()
    others = [asyncio.ensure_future(two.streams.open(INBOX)) for _ in range(20)]
    await asyncio.sleep(0)
    store.release("headed")
    assert (await first).name == INBOX
    assert [(await each).head for each in others] == [1] * 20
    assert len([call for call in store.calls if call[0] == "heads"]) == 2


@pytest.mark.gen_test
async def test_nobody_waits_for_heads_that_are_not_read_any_more(io_loop: IOLoop) -> None:
    store, tasks = FakeStore(), Tasks()
    gate = store.hold("heads")
    reader = HeadReader(store, tasks)
    first = asyncio.ensure_future(reader.read([INBOX]))
    await gate.reached()
    second = asyncio.ensure_future(reader.read([INBOX]))
    await settle()
    await tasks.cancel()
    await asyncio.wait([first, second])
    assert first.cancelled()
    assert second.cancelled()


@pytest.mark.gen_test
async def test_no_node_is_waited_for_if_nobody_asks_how_many_got_a_message(pair: Pair) -> None:
    one, two = pair
    await two.joins()
    one.results = Promise()
    counted, uncounted = draft_for_u1(), draft_for_u1()
    uncounted.message.is_counted = False
    first, second = one.streams.append([counted]), one.streams.append([uncounted])
    (sent,) = await second
    assert (sent.offset, sent.receipt) == (2, NO_RECIPIENTS)
    assert two.offsets == [1, 2]
    assert not first.done()
    one.results.resolve(ONE)
    assert [each.receipt for each in await first] == [ONE]


@pytest.mark.gen_test
async def test_messages_that_follow_each_other_are_passed_on_together(
    pair: Pair, network: Network
) -> None:
    one, two = pair
    await two.joins()
    network.late = []
    await one.keep(7)
    sent = one.sent
    outcomes = two.streams.follower.deliver_all([*sent[:3], sent[4], sent[1], sent[3], *sent[5:]])
    assert two.offsets == [1, 2, 3, 4, 5, 6, 7]
    assert two.together == [3, 2]
    of_late = outcomes[3]
    assert isinstance(of_late, Promise)
    assert of_late.result() == ONE  # it waited for the one before it
    expected = [ONE, ONE, ONE, of_late, NO_RECIPIENTS, ONE, ONE, ONE]
    assert outcomes == expected
    assert await two.resumes(3) == [4, 5, 6, 7]


@pytest.mark.gen_test
async def test_an_error_at_one_message_holds_no_other_back(
    pair: Pair, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = pair
    await two.joins()
    network.late = []
    await one.keep(4)
    deliver = two.deliver

    def fail_at_the_first(publication: Publication) -> PublishResult:
        if publication.offset == 1:
            raise RuntimeError("broken")
        return deliver(publication)

    monkeypatch.setattr(two, "deliver", fail_at_the_first)
    sent = one.sent
    outcomes = two.streams.follower.deliver_all([sent[1], sent[0], *sent[2:]])
    assert two.offsets == [2, 3, 4]
    of_late = outcomes[0]
    assert isinstance(of_late, Promise)
    assert of_late.result() == ONE
    assert outcomes == [of_late, NO_RECIPIENTS, ONE, ONE]


@pytest.mark.gen_test
async def test_of_many_messages_those_after_a_time_are_left(pair: Pair, network: Network) -> None:
    one, two = pair
    await two.joins()
    network.late = []
    await one.keep(stream_follower.TOGETHER + 1)
    assert len(two.streams.follower.deliver_all(one.sent, 0.0)) == stream_follower.TOGETHER
    assert len(two.offsets) == stream_follower.TOGETHER
