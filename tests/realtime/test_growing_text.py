"""The text of an answer: which appends it takes, what storage still needs, pauses and rate."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from wsserver.errors import AnswerTooLong, OutOfOrder
from wsserver.realtime.answers.growing_text import (
    STALLS_LIMIT,
    GrowingText,
    Stall,
    StoredText,
    rate_of,
)

LIMIT = 40
TEXTS = st.sampled_from(["", "a", "bc", "你好", "🙂", "x" * 15])


def new(content: str = "", limit: int = LIMIT) -> GrowingText:
    return GrowingText(content, limit, wall=100.0, now=1.0)


def append(text: GrowingText, seq: int, part: str, at: float = 0.0) -> int:
    return text.append(seq, part, wall=100.0 + at, now=1.0 + at).length


class TextMachine(RuleBasedStateMachine):
    """Producers that repeat, skip and race, against a plain list of texts; restarts in between."""

    def __init__(self) -> None:
        super().__init__()
        self.text = new("start ")
        self.taken: list[str] = []
        self.stored = StoredText("start ", 0, None, 100.0, 100.0)

    @property
    def content(self) -> str:
        return "start " + "".join(self.taken)

    @rule(part=TEXTS)
    def next(self, part: str) -> None:
        if len((self.content + part).encode()) > LIMIT:
            with pytest.raises(AnswerTooLong):
                append(self.text, len(self.taken) + 1, part)
            return
        self.taken.append(part)
        assert append(self.text, len(self.taken), part) == len(self.content)

    @rule(seq=st.integers(-2, 30), part=TEXTS)
    def any(self, seq: int, part: str) -> None:
        if seq == len(self.taken) + 1:
            return
        if seq and seq == len(self.taken) and part == self.taken[-1]:
            accepted = self.text.append(seq, part, wall=100.0, now=1.0)
            assert (accepted.length, accepted.is_new) == (len(self.content), False)
            return
        with pytest.raises(OutOfOrder) as refused:
            append(self.text, seq, part)
        assert refused.value.details == {"expected": len(self.taken) + 1}

    @rule(parts=st.lists(TEXTS, max_size=2))
    def save(self, parts: list[str]) -> None:
        """What is appended while storage writes is written the next time."""
        unsaved = self.text.unsaved()
        for part in parts:
            self.next(part)
        self.text.saved(unsaved)
        digest = None if unsaved.seq == 0 else new_digest(self.taken[unsaved.seq - 1])
        content = self.stored.content + unsaved.text
        assert (content, unsaved.length) == (
            "start " + "".join(self.taken[: unsaved.seq]),
            len(content),
        )
        self.stored = StoredText(content, unsaved.seq, digest, 100.0, 100.0)

    @rule()
    def restart(self) -> None:
        """What was not stored is gone, and asked for again."""
        self.text = GrowingText.restored(self.stored, LIMIT, wall=100.0, now=1.0)
        del self.taken[self.stored.seq :]

    @invariant()
    def agrees(self) -> None:
        assert self.text.content == self.content
        assert self.text.length == len(self.content)
        assert self.text.size == len(self.content.encode())
        assert self.text.expected == len(self.taken) + 1


def new_digest(text: str) -> str | None:
    other = new(limit=1000)
    append(other, 1, text)
    return other.last_digest


TestText = TextMachine.TestCase


def test_a_first_text_is_limited_like_the_others() -> None:
    with pytest.raises(AnswerTooLong, match="at most 40 bytes"):
        new("好" * 14)
    assert new("好" * 13).length == 13


def test_the_limit_is_for_the_whole_text_in_bytes() -> None:
    text = new()
    append(text, 1, "好" * 13)
    with pytest.raises(AnswerTooLong, match="at most 40 bytes"):
        append(text, 2, "好")
    assert append(text, 2, "x") == 14


def test_a_limit_that_was_lowered_refuses_further_text_only() -> None:
    stored = StoredText("x" * 50, 3, None, 100.0, 100.0)
    text = GrowingText.restored(stored, LIMIT, wall=100.0, now=1.0)
    assert text.content == "x" * 50
    with pytest.raises(AnswerTooLong):
        append(text, 4, "y")
    assert append(text, 4, "") == 50


def test_pauses_of_more_than_two_seconds_are_stalls() -> None:
    text = new()
    append(text, 1, "late", 7.0)  # the time until the first text is none
    append(text, 2, "a", 9.0)
    append(text, 3, "", 10.0)  # shows that the producer lives, and is no text
    append(text, 4, "b", 11.5)
    assert text.stalls == [Stall(109.0, 2500)]
    assert (text.first_text_at, text.last_text_at) == (107.0, 111.5)


def test_a_pause_goes_on_over_a_restart() -> None:
    stored = StoredText("a", 1, None, 90.0, 96.0, (Stall(91.0, 4000),))
    text = GrowingText.restored(stored, LIMIT, wall=100.0, now=1.0)
    append(text, 2, "b", 1.0)
    assert text.stalls == [Stall(91.0, 4000), Stall(96.0, 5000)]


def test_a_clock_that_was_set_back_makes_no_stall() -> None:
    stored = StoredText("a", 1, None, 90.0, 999.0)
    text = GrowingText.restored(stored, LIMIT, wall=100.0, now=1.0)
    append(text, 2, "b", 1.0)
    assert text.stalls == []


def test_stalls_are_limited() -> None:
    text = new(limit=10_000)
    for seq in range(1, STALLS_LIMIT + 10):
        append(text, seq, "x", seq * 3.0)
    assert len(text.stalls) == STALLS_LIMIT


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_rate_needs_time_between_two_texts(first_at: float, last_at: float) -> None:
    rate = rate_of(100, first_at, last_at)
    assert (rate is not None) == (last_at > first_at)


def test_the_rate_is_in_characters_a_second() -> None:
    assert rate_of(50, 10.0, 14.0) == 12.5
    assert rate_of(0, None, None) is None
