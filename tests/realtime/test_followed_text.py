"""A growing answer on another node: its watchers get each text once, whatever pub/sub loses."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from wsserver.realtime.answers.followed_text import FollowedText, Piece, Whole

TEXTS = st.sampled_from(["a", "b", "ab", "ba", "你好", "c" * 5])


class AnswerMachine(RuleBasedStateMachine):
    """Two nodes follow an answer whose owners change; signals are lost, doubled and late.

    Signals of one owner arrive in their order, except for copies; those of several owners in any.
    """

    @initialize()
    def begin(self) -> None:
        self.owners = [Whole(1, 0, "")]
        """The text of each owner; the last one is the present one, the others do not know it."""
        self.stored = Whole(1, 0, "")
        self.since = [0]
        self.nodes = [FollowedText(self.owners[0]) for _ in range(2)]
        self.clients = ["", ""]
        self.is_behind = [False, False]
        self.queues: list[list[list[tuple[int, int, Piece]]]] = [[[]], [[]]]
        """By node and owner: signals on their way."""

    @property
    def owner(self) -> Whole:
        return self.owners[-1]

    @rule(text=TEXTS, is_zombie=st.booleans(), is_lost=st.tuples(st.booleans(), st.booleans()))
    def append(self, text: str, is_zombie: bool, is_lost: tuple[bool, bool]) -> None:
        number = 0 if is_zombie else len(self.owners) - 1
        owner = self.owners[number]
        piece = Piece(len(owner.content), owner.seq + 1, text)
        self.owners[number] = Whole(owner.generation, piece.seq, owner.content + text)
        for node in range(2):
            if not is_lost[node]:
                signal = (owner.generation, self.since[number], piece)
                self.queues[node][number].append(signal)

    @rule()
    def store(self) -> None:
        self.stored = self.owner

    @precondition(lambda self: len(self.owners) < 3)
    @rule(is_announced=st.tuples(st.booleans(), st.booleans()))
    def take_over(self, is_announced: tuple[bool, bool]) -> None:
        """Another node goes on where storage ends."""
        whole = Whole(len(self.owners) + 1, self.stored.seq, self.stored.content)
        self.owners.append(whole)
        self.stored = whole
        self.since.append(len(whole.content))
        for node in range(2):
            self.queues[node].append([])
            if is_announced[node]:
                piece = Piece(len(whole.content), whole.seq, "")
                self.queues[node][-1].append((whole.generation, self.since[-1], piece))

    @rule(node=st.integers(0, 1), number=st.integers(0, 2), is_doubled=st.booleans())
    def deliver(self, node: int, number: int, is_doubled: bool) -> None:
        number = min(number, len(self.owners) - 1)
        queue = self.queues[node][number]
        if not queue:
            return
        signal = queue[0] if is_doubled else queue.pop(0)
        try:
            self.push(node, self.nodes[node].received(*signal))
        except LookupError:
            self.is_behind[node] = True

    @rule(node=st.integers(0, 1))
    def catch_up(self, node: int) -> None:
        self.push(node, self.nodes[node].caught_up(self.owner))
        self.is_behind[node] = False

    @rule(node=st.integers(0, 1), number=st.integers(0, 2))
    def catch_up_late(self, node: int, number: int) -> None:
        """A former owner answers that has not noticed yet."""
        self.push(node, self.nodes[node].caught_up(self.owners[min(number, len(self.owners) - 1)]))

    def push(self, node: int, piece: Piece | None) -> None:
        """What a page does: it drops what comes after the first ``at`` characters."""
        if piece is not None:
            assert piece.at <= len(self.clients[node])
            self.clients[node] = self.clients[node][: piece.at] + piece.text

    @invariant()
    def clients_have_what_their_node_has(self) -> None:
        for node, client in zip(self.nodes, self.clients, strict=True):
            assert client == node.content
            assert len(client) == node.length

    @invariant()
    def texts_are_those_of_one_owner(self) -> None:
        for node in self.nodes:
            assert self.owners[node.generation - 1].content.startswith(node.content)

    def teardown(self) -> None:
        if not hasattr(self, "nodes"):
            return
        for node in range(2):
            while queue := self.queues[node][-1]:
                try:
                    self.push(node, self.nodes[node].received(*queue.pop(0)))
                except LookupError:
                    self.catch_up(node)
            self.catch_up(node)
            assert self.clients[node] == self.owner.content
            assert self.nodes[node].seq == self.owner.seq


TestAnswer = AnswerMachine.TestCase


def test_texts_that_overlap_are_given_out_once() -> None:
    text = FollowedText(Whole(1, 2, "hello"))
    assert text.received(1, 0, Piece(3, 3, "lo wor")) == Piece(5, 3, " wor")
    assert text.received(1, 0, Piece(5, 3, " wor")) is None
    assert (text.content, text.seq) == ("hello wor", 3)


def test_a_gap_is_noticed() -> None:
    text = FollowedText(Whole(1, 0, "he"))
    with pytest.raises(LookupError):
        text.received(1, 0, Piece(4, 2, "o"))
    assert text.content == "he"
    assert text.caught_up(Whole(1, 2, "hello")) == Piece(2, 2, "llo")


def test_a_new_owner_goes_back_to_what_was_stored() -> None:
    text = FollowedText(Whole(1, 5, "hello world"))
    assert text.received(2, 5, Piece(5, 3, "")) == Piece(5, 3, "")
    assert text.content == "hello"
    assert text.received(1, 0, Piece(11, 6, "!")) is None
    assert text.received(2, 5, Piece(5, 4, ", you")) == Piece(5, 4, ", you")


def test_the_first_text_of_a_new_owner_may_be_lost() -> None:
    text = FollowedText(Whole(1, 5, "hello world"))
    with pytest.raises(LookupError):
        text.received(2, 5, Piece(7, 5, "c"))
    assert text.caught_up(Whole(2, 5, "help abc")) == Piece(3, 5, "p abc")
    assert text.content == "help abc"


def test_the_same_text_of_a_new_owner_is_not_given_out_again() -> None:
    text = FollowedText(Whole(1, 5, "hello"))
    assert text.caught_up(Whole(2, 4, "hello")) is None
    assert (text.generation, text.seq) == (2, 4)


def test_what_is_older_than_the_own_text_changes_nothing() -> None:
    text = FollowedText(Whole(2, 5, "hello"))
    assert text.caught_up(Whole(2, 3, "hel")) is None
    assert text.caught_up(Whole(1, 9, "other text")) is None
    assert text.content == "hello"
