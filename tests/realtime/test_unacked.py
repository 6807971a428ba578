from __future__ import annotations

import pytest

from wsserver.realtime.inbox.unacked import TICK_S, Due, Feed, UnackedIndex, UnackedMessage

WALL = 1_700_000_000.0


class Bench:
    """A ledger, and a clock that only this test moves."""

    def __init__(self, timeout_s: float = 10.0, retries: int = 3, limit: int = 1000) -> None:
        self.ledger = UnackedIndex(timeout_s, retries, limit)
        self.now = 1000.0

    def feed(
        self,
        connection_id: str = "c1",
        user_id: str = "u1",
        *,
        plain: bool = False,
        offset: int = 0,
    ) -> Feed:
        return self.ledger.open(Feed(connection_id, user_id, not plain, "e1", offset))

    def send(self, feed: Feed, offset: int, *, expires_in_s: float = 1e6) -> bool:
        return self.ledger.sent(feed, item(offset, expires_in_s), self.now)

    def due(self) -> list[tuple[str, str, int]]:
        """What is due now, sent again at once."""
        due = self.take()
        for each in due:
            self.ledger.again(each, self.now)
        return [(each.feed.connection_id, each.item.message_id, each.number) for each in due]

    def take(self) -> list[Due]:
        return self.ledger.due(self.now, WALL + self.now - 1000.0)

    def pass_time(self, seconds: float) -> list[tuple[float, str, str, int]]:
        """Tick by tick; returns what was sent again, with the seconds since the start."""
        seen = []
        for _ in range(round(seconds / TICK_S)):
            self.now += TICK_S
            seen += [(self.now - 1000.0, *each) for each in self.due()]
        return seen


def item(offset: int, expires_in_s: float = 1e6) -> UnackedMessage:
    return UnackedMessage(f"m{offset}", offset, "sender", None, WALL + expires_in_s)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_an_unacknowledged_message_is_due_after_the_timeout_and_three_times(bench: Bench) -> None:
    bench.send(bench.feed(), 1)
    assert bench.pass_time(100) == [
        (10.0, "c1", "m1", 1),
        (20.0, "c1", "m1", 2),
        (30.0, "c1", "m1", 3),
    ]
    assert bench.ledger.items("u1", ["m1"])  # it waits for the next connection


def test_no_retries_mean_none() -> None:
    bench = Bench(retries=0)
    bench.send(bench.feed(), 1)
    assert bench.pass_time(50) == []


def test_each_message_has_its_own_time(bench: Bench) -> None:
    feed = bench.feed()
    bench.send(feed, 1)
    bench.pass_time(4)
    bench.send(feed, 2)
    assert [(at, id_) for at, _, id_, _ in bench.pass_time(20)] == [
        (10.0, "m1"),
        (14.0, "m2"),
        (20.0, "m1"),
        (24.0, "m2"),
    ]


def test_what_is_settled_is_due_on_no_connection_of_its_user(bench: Bench) -> None:
    for connection_id in ("c1", "c2"):
        feed = bench.feed(connection_id)
        bench.send(feed, 1)
        bench.send(feed, 2)
    other = bench.feed("c3", "u2")
    bench.send(other, 1)
    bench.ledger.settled("u1", ["m1", "unknown"])
    bench.ledger.settled("nobody", ["m1"])
    assert [(c, id_) for _, c, id_, _ in bench.pass_time(11)] == [
        ("c1", "m2"),
        ("c2", "m2"),
        ("c3", "m1"),
    ]


def test_each_connection_is_retried_by_itself(bench: Bench) -> None:
    bench.send(bench.feed("c1"), 1)
    bench.pass_time(5)
    bench.send(bench.feed("c2"), 1)
    assert [(at, c) for at, c, _, _ in bench.pass_time(11)] == [(10.0, "c1"), (15.0, "c2")]


def test_nothing_is_due_after_it_has_expired(bench: Bench) -> None:
    bench.send(bench.feed(), 1, expires_in_s=15.0)
    assert [at for at, *_ in bench.pass_time(50)] == [10.0]


def test_nothing_is_due_on_a_connection_that_has_gone(bench: Bench) -> None:
    bench.send(bench.feed("c1"), 1)
    second = bench.feed("c2")
    bench.send(second, 1)
    bench.ledger.forget("c1")
    bench.ledger.forget("unknown")
    assert [c for _, c, _, _ in bench.pass_time(11)] == ["c2"]
    bench.ledger.forget("c2")
    assert len(bench.ledger) == 0
    assert bench.pass_time(50) == []


def test_a_plain_client_gets_nothing_again(bench: Bench) -> None:
    assert bench.send(bench.feed(plain=True), 1) is False
    assert bench.pass_time(50) == []
    assert bench.ledger.items("u1", ["m1"])


def test_the_first_send_to_a_client_that_acknowledges_is_distinguished(bench: Bench) -> None:
    plain, first, second = bench.feed("c0", plain=True), bench.feed("c1"), bench.feed("c2")
    assert [bench.send(feed, 1) for feed in (plain, first, second)] == [False, True, False]


def test_what_is_settled_meanwhile_is_not_given_back(bench: Bench) -> None:
    bench.send(bench.feed(), 1)
    bench.now += 10.0
    (due,) = bench.take()
    assert bench.ledger.is_open(due)
    bench.ledger.settled("u1", ["m1"])
    assert not bench.ledger.is_open(due)
    bench.ledger.again(due, bench.now)
    assert bench.pass_time(50) == []


def test_what_is_taken_for_a_connection_that_goes_is_not_given_back(bench: Bench) -> None:
    bench.send(bench.feed("c1"), 1)
    bench.send(bench.feed("c2"), 1)
    bench.now += 10.0
    first, second = bench.take()
    bench.ledger.forget("c1")
    assert [bench.ledger.is_open(each) for each in (first, second)] == [False, True]


def test_what_could_not_be_sent_does_not_count(bench: Bench) -> None:
    bench.send(bench.feed(), 1)
    for _ in range(5):
        bench.now += 10.0
        (due,) = bench.take()
        assert due.number == 1
        bench.ledger.postpone(due, bench.now)
    assert [number for *_, number in bench.pass_time(100)] == [1, 2, 3]


def test_past_the_limit_the_longest_known_message_is_let_go() -> None:
    bench = Bench(limit=2)
    feed = bench.feed()
    for offset in (1, 2, 3):
        bench.send(feed, offset)
    assert len(bench.ledger) == 2
    assert [id_ for _, _, id_, _ in bench.pass_time(11)] == ["m2", "m3"]


def test_what_an_offset_covers(bench: Bench) -> None:
    feed = bench.feed()
    for offset in (1, 2, 3):
        bench.send(feed, offset)
    assert [each.message_id for each in bench.ledger.covered("u1", 2)] == ["m1", "m2"]
    assert bench.ledger.covered("nobody", 2) == []


def test_a_live_message_is_taken_once_and_in_turn(bench: Bench) -> None:
    feed = bench.feed(offset=4)
    assert not feed.takes("e1", 4)  # it was given from storage
    assert feed.takes("e1", 5)
    bench.send(feed, 5)
    assert not feed.takes("e1", 5)


def test_live_messages_wait_until_storage_has_been_given(bench: Bench) -> None:
    feed = bench.feed(offset=4)
    feed.is_behind = True
    assert not feed.takes("e1", 7)
    feed.caught_up(0)  # storage was read before that one came
    assert feed.is_behind
    assert not feed.takes("e1", 8)
    feed.caught_up(8)
    assert not feed.is_behind
    assert not feed.takes("e1", 8)
    assert feed.takes("e1", 9)


def test_a_new_numbering_begins_at_its_beginning(bench: Bench) -> None:
    feed = bench.feed(offset=4)
    assert feed.takes("e2", 1)
    bench.send(feed, 1)
    assert not feed.takes("e2", 1)
    assert feed.takes("e2", 2)
