"""The order of a stream on several nodes: each message comes once, whatever pub/sub does."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from wsserver.realtime.streams import sequencer
from wsserver.realtime.streams.sequencer import ByteBudget, Sequencer

SIZE = 10
ROOM = 60
PAGE = 2
NODES = st.integers(0, 1)


class Sent(NamedTuple):
    """A message on its way to a node."""

    node: int
    epoch: str
    offset: int


class Page(NamedTuple):
    """What was read from the database, in one snapshot."""

    epoch: str
    until: int
    end: int
    items: list[tuple[int, int]]


class Node:
    """A node: its position, and what its subscribers have got."""

    def __init__(self, room: ByteBudget) -> None:
        self.sequence: Sequencer[int] = Sequencer(room)
        self.seen: list[tuple[str, int]] = []
        self.asked: tuple[str | None, int] | None = None
        """Where the page begins."""
        self.page: Page | None = None
        """What it has read, and not passed on yet."""

    def got(self, ready: list[int] | None) -> None:
        self.seen += [(str(self.sequence.epoch), offset) for offset in ready or ()]


class StreamMachine(RuleBasedStateMachine):
    """Two nodes publish to one stream; pub/sub loses, delays, doubles and reorders."""

    @initialize()
    def begin(self) -> None:
        self.epoch = "e1"
        self.head = 0
        self.stored: list[int] = []
        self.kept: list[tuple[str, int]] = []
        """All that was published and has not expired, of all epochs."""
        self.room = ByteBudget(ROOM)
        self.on_the_way: list[Sent] = []
        self.ends: list[tuple[str, int]] = [("e1", 0)]
        """The ends of the stream so far: a comparison may be late."""
        self.nodes = [Node(self.room) for _ in range(2)]
        for node in self.nodes:
            node.sequence.start("e1", 0)

    @rule(by=NODES, is_announced=st.booleans())
    def publish(self, by: int, is_announced: bool) -> None:
        """Without an announcement: the node was killed after the commit."""
        self.head += 1
        self.stored.append(self.head)
        self.kept.append((self.epoch, self.head))
        self.ends.append((self.epoch, self.head))
        if is_announced:
            self.on_the_way += [Sent(node, self.epoch, self.head) for node in range(2)]

    @precondition(lambda self: self.on_the_way)
    @rule(data=st.data(), is_doubled=st.booleans())
    def arrive(self, data: st.DataObject, is_doubled: bool) -> None:
        sent = data.draw(st.sampled_from(self.on_the_way))
        if not is_doubled:
            self.on_the_way.remove(sent)
        self.receive(sent)

    @precondition(lambda self: self.on_the_way)
    @rule(of=NODES)
    def overtake(self, of: int) -> None:
        """The last message that was sent to a node arrives first."""
        sent = [each for each in self.on_the_way if each.node == of]
        if sent:
            self.on_the_way.remove(sent[-1])
            self.receive(sent[-1])

    @precondition(lambda self: self.on_the_way)
    @rule(of=NODES)
    def follow(self, of: int) -> None:
        """The first message on the way to a node arrives."""
        sent = [each for each in self.on_the_way if each.node == of]
        if sent:
            self.on_the_way.remove(sent[0])
            self.receive(sent[0])

    def receive(self, sent: Sent) -> None:
        node = self.nodes[sent.node]
        node.got(node.sequence.received(sent.epoch, sent.offset, sent.offset, SIZE))

    @precondition(lambda self: len(self.on_the_way) > 6)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        self.on_the_way.pop(data.draw(st.integers(0, len(self.on_the_way) - 1)))

    @rule(of=NODES, data=st.data())
    def compare(self, of: int, data: st.DataObject) -> None:
        end = data.draw(st.sampled_from(self.ends[-4:]))
        if not self.nodes[of].sequence.has(*end):
            self.nodes[of].sequence.expect(*end)

    @precondition(lambda self: any(node.sequence.is_behind for node in self.nodes))
    @rule(of=NODES)
    def read(self, of: int) -> None:
        """Read a page, which is passed on later."""
        node = self.nodes[of]
        if node.asked is None and node.sequence.is_behind:
            epoch, after = node.asked = node.sequence.epoch, node.sequence.reading()
            start = after if epoch == self.epoch else 0
            found = [offset for offset in self.stored if offset > start]
            until = found[PAGE - 1] if len(found) > PAGE else self.head
            items = [(offset, offset) for offset in found[:PAGE]]
            node.page = Page(self.epoch, until, self.head, items)

    @precondition(lambda self: any(node.page is not None for node in self.nodes))
    @rule(of=NODES)
    def pass_on(self, of: int) -> None:
        node = self.nodes[of]
        if node.page is not None:
            before, node.asked = node.asked, None
            page, node.page = node.page, None
            node.got(node.sequence.page(*page))
            if (node.sequence.epoch, node.sequence.delivered) == before:
                node.sequence.give_up()

    @precondition(lambda self: self.stored)
    @rule(data=st.data())
    def expire(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(self.stored))
        self.stored.remove(offset)
        self.kept.remove((self.epoch, offset))

    @precondition(lambda self: self.head >= 6)
    @rule(is_noticed=st.booleans())
    def prune(self, is_noticed: bool) -> None:
        """The stream is empty for a month, and begins anew; late messages are still on the way."""
        self.catch_up()
        self.epoch = f"e{int(self.epoch[1:]) + 1}"
        self.head, self.stored = 0, []
        self.ends.append((self.epoch, 0))
        if is_noticed:
            self.catch_up()

    @invariant()
    def in_order_and_once(self) -> None:
        for node in self.nodes if hasattr(self, "nodes") else ():
            order = [(int(epoch[1:]), offset) for epoch, offset in node.seen]
            assert order == sorted(set(order))

    @invariant()
    def room_is_counted(self) -> None:
        if hasattr(self, "nodes"):
            held = [n.sequence._held or {} for n in self.nodes]
            assert all(len(each) <= sequencer.HELD_LIMIT for each in held)
            assert self.room.left == ROOM - SIZE * sum(map(len, held))

    def catch_up(self) -> None:
        """The next comparison and readings bring everything."""
        for index, node in enumerate(self.nodes):
            self.pass_on(index)
            node.sequence.expect(self.epoch, self.head)
            for _ in range(50):
                if not node.sequence.is_behind:
                    break
                self.read(index)
                self.pass_on(index)
            assert not node.sequence.is_behind
            assert node.sequence.has(self.epoch, self.head)

    def teardown(self) -> None:
        if hasattr(self, "nodes"):
            self.catch_up()
            for node in self.nodes:
                assert not set(self.kept) - set(node.seen)


@pytest.fixture(autouse=True)
def little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequencer, "HELD_LIMIT", 3)


TestEveryInterleaving = StreamMachine.TestCase
TestEveryInterleaving.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def test_the_first_received_message_decides_where_an_unknown_stream_begins() -> None:
    sequence: Sequencer[str] = Sequencer(ByteBudget(100))
    assert sequence.received("e", 7, "g", 1) == ["g"]
    assert sequence.received("e", 7, "g", 1) is None
    assert sequence.received("e", 9, "i", 1) == []
    assert sequence.is_behind
    assert sequence.received("e", 8, "h", 1) == ["h", "i"]
    assert not sequence.is_behind


def test_a_message_that_arrives_while_the_database_is_read_comes_once() -> None:
    sequence: Sequencer[str] = Sequencer(ByteBudget(100))
    sequence.start("e", 0)
    assert sequence.received("e", 3, "c", 1) == []
    assert sequence.reading() == 0
    assert sequence.received("e", 1, "a", 1) == ["a"]
    page = [(1, "a"), (2, "b"), (3, "c"), (4, "d")]
    assert sequence.page("e", 4, 4, page) == ["b", "c", "d"]
    assert sequence.received("e", 4, "d", 1) is None


def test_a_closed_stream_gives_its_room_back() -> None:
    room = ByteBudget(100)
    sequence: Sequencer[str] = Sequencer(room)
    sequence.start("e", 0)
    sequence.received("e", 2, "b", 60)
    sequence.received("e", 3, "c", 60)  # does not fit: it is read from the database
    assert room.left == 40
    sequence.close()
    assert room.left == 100
