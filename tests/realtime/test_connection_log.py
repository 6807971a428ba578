from __future__ import annotations

from typing import Any

import pytest

from tests.support.fake_clock import FakeClock
from tests.support.fake_connections import fake_connection
from wsserver.identity.claims import Claims
from wsserver.realtime.connections.connection_log import ConnectionLog, interval_of
from wsserver.realtime.connections.hub import Hub


class Place:
    def __init__(self, clock: FakeClock, limit: int = 1000) -> None:
        self.clock = clock
        self.connection_log = ConnectionLog(clock, limit)
        self.hub = Hub(self.connection_log)

    def come(self, user: str = "u1", **claims: Any) -> Any:
        connection = fake_connection(user, **claims)
        self.hub.add(connection)
        return connection

    def deliver(self) -> int:
        self.connection_log.tick += 1
        return self.connection_log.tick


@pytest.fixture
def place(clock: FakeClock) -> Place:
    return Place(clock)


def test_an_end_is_noted_with_its_reason_and_its_time(place: Place) -> None:
    connection = place.come("u1", organization_id="o1", role="manager")
    place.deliver()
    place.clock.advance(5)
    place.hub.remove(connection, 4502, "bye")
    (stay,) = place.connection_log.ended_since(1)
    assert (stay.connection_id, stay.user_id) == (connection.connection_id, "u1")
    assert (stay.organization_id, stay.role, stay.session_id) == ("o1", "manager", None)
    assert (stay.from_tick, stay.to_tick) == (0, 1)
    assert (stay.code, stay.reason, stay.ended_at) == (4502, "bye", place.clock.wall())


def test_a_stay_without_a_delivery_is_not_worth_a_note(place: Place) -> None:
    place.deliver()
    connection = place.come()
    place.hub.join(connection, "s1")
    place.hub.leave(connection, "s1")
    place.hub.remove(connection, 1000, "")
    assert len(place.connection_log) == 0


def test_joining_again_does_not_begin_a_stay_anew(place: Place) -> None:
    connection = place.come()
    place.hub.join(connection, "s1")
    place.deliver()
    place.hub.join(connection, "s1")
    place.hub.leave(connection, "s1")
    assert [stay.from_tick for stay in place.connection_log.ended_since(1)] == [0]


@pytest.mark.parametrize(
    ("is_open", "code", "unsent_since"),
    [
        (False, 4002, 990.0),  # the wire has ended it
        (False, 1006, 990.0),
        (True, 4001, 990.0),  # no connection to receive pending messages
        (True, 4502, None),  # it still goes out, before the close frame
        (True, 1012, None),
    ],
)
def test_what_waited_when_a_connection_was_lost_may_be_lost(
    place: Place, is_open: bool, code: int, unsent_since: float | None
) -> None:
    connection = place.come()
    place.deliver()
    connection.websocket.is_open = is_open
    connection.websocket.waiting_since = 990.0
    place.hub.remove(connection, code, "")
    assert place.connection_log.ended_since(1)[0].unsent_since == unsent_since


def test_for_what_went_out_before_the_old_claims_count(place: Place) -> None:
    connection = place.come("u1", organization_id="o1")
    place.hub.join(connection, "s1")
    place.deliver()
    place.hub.reclaim(connection, Claims(sub="u1", exp=3e9, organization_id="o2"))
    assert {(s.session_id, s.organization_id) for s in place.connection_log.ended_since(1)} == {
        (None, "o1"),
        ("s1", "o1"),
    }
    assert connection.since_tick == connection.sessions["s1"] == 1
    assert interval_of(connection).organization_id == "o2"


def test_claims_that_are_the_same_but_for_their_time_change_nothing(place: Place) -> None:
    connection = place.come("u1", organization_id="o1")
    place.deliver()
    place.hub.reclaim(connection, Claims(sub="u1", exp=4e9, organization_id="o1"))
    assert len(place.connection_log) == 0
    assert connection.since_tick == 0


def test_entries_older_than_any_query_are_forgotten(place: Place) -> None:
    for _ in range(3):
        connection = place.come()
        place.deliver()
        place.hub.remove(connection, 1000, "")
    place.connection_log.forget(2)
    assert [stay.to_tick for stay in place.connection_log.ended_since(0)] == [3, 2]
    place.connection_log.forget(4)
    assert len(place.connection_log) == 0
    assert place.connection_log.known_from == 0


def test_the_log_is_bounded_and_says_from_where_on_it_is_whole(clock: FakeClock) -> None:
    place = Place(clock, limit=3)
    for _ in range(5):
        connection = place.come()
        place.deliver()
        place.hub.remove(connection, 1000, "")
    assert len(place.connection_log) == 3
    assert [stay.to_tick for stay in place.connection_log.ended_since(0)] == [5, 4, 3]
    assert place.connection_log.known_from == 3
