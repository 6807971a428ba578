from __future__ import annotations

import sys
from typing import Any

from tests.support.fake_clock import FakeClock
from tests.support.fake_connections import fake_connection
from wsserver.cluster.broker import Publication
from wsserver.protocol.targets import EVERYONE, session
from wsserver.realtime.connections.connection_log import ConnectionLog
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.delivery import trace_buffer as module
from wsserver.realtime.delivery.trace_buffer import TraceBuffer


class Desk:
    def __init__(self, clock: FakeClock, retention_s: float = 600.0, **limits: Any) -> None:
        self.clock = clock
        self.connection_log = ConnectionLog(clock)
        self.traces = TraceBuffer(self.connection_log, clock, retention_s, **limits)

    def deliver(self, *names: str, **fields: Any) -> None:
        for name in names:
            self.traces.delivered(Publication(name, "x", session("s1"), b"{}", **fields))

    def known(self, *names: str) -> str:
        return " ".join(name for name in names if self.traces.find(name) is not None)


def test_a_message_is_remembered_with_what_its_publication_said(clock: FakeClock) -> None:
    desk = Desk(clock)
    clock.advance(3)
    desk.deliver("a", accepted_at=7.0, stream="session:s1", epoch="e", offset=4, role="user")
    entry = desk.traces.find("a")
    assert entry is not None
    assert (entry.message_id, entry.type, entry.target) == ("a", "x", session("s1"))
    assert (entry.accepted_at, entry.role) == (7.0, "user")
    assert (entry.stream, entry.epoch, entry.offset) == ("session:s1", "e", 4)
    assert entry.tick == desk.connection_log.tick == 1
    clock.advance(2)
    assert desk.traces.wall_of(entry.delivered_at) == clock.wall() - 2
    assert desk.traces.find("b") is None


def test_messages_are_remembered_for_their_time(clock: FakeClock) -> None:
    desk = Desk(clock, 10.0)
    desk.deliver("a")
    clock.advance(6)
    desk.deliver("b")
    clock.advance(4)
    assert desk.known("a", "b") == "b"
    assert len(desk.traces) == 2
    desk.traces.expire()
    assert len(desk.traces) == 1
    clock.advance(6)
    desk.traces.expire()
    assert len(desk.traces) == 0


def test_many_are_let_go_of_some_at_a_time(clock: FakeClock, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "BATCH", 3)
    desk = Desk(clock, 10.0)
    desk.deliver(*"abcdefg")
    clock.advance(10)
    left = []
    while len(desk.traces):
        desk.traces.expire()
        left.append(len(desk.traces))
    assert left == [4, 1, 0]


def test_who_has_gone_is_forgotten_with_the_last_message_they_were_there_for(
    clock: FakeClock,
) -> None:
    desk = Desk(clock, 10.0)
    hub = Hub(desk.connection_log)
    for name in "ab":
        connection = fake_connection()
        hub.add(connection)
        desk.deliver(name)
        hub.remove(connection, 1000, "")
        clock.advance(6)
    desk.traces.expire()
    assert [stay.to_tick for stay in desk.connection_log.ended_since(0)] == [2]
    clock.advance(6)
    desk.traces.expire()
    assert len(desk.connection_log) == 0


def test_the_oldest_makes_room(clock: FakeClock) -> None:
    desk = Desk(clock, limit=3)
    desk.deliver(*"abcde")
    assert desk.known(*"abcde") == "c d e"
    assert len(desk.traces) == 3


def test_a_message_delivered_twice_is_remembered_as_the_second_time(clock: FakeClock) -> None:
    desk = Desk(clock, limit=3)
    desk.deliver("a", "b", "a", "c")
    entry = desk.traces.find("a")
    assert entry is not None
    assert entry.tick == 3
    desk.deliver("d", "e")
    assert desk.known(*"abcde") == "c d e"


def test_no_time_at_all_switches_it_off(clock: FakeClock) -> None:
    desk = Desk(clock, 0.0)
    desk.deliver("a")
    desk.traces.failed("a", ["c1"])
    desk.traces.marked("a", "u1", "c1", "delivered")
    desk.traces.expire()
    assert len(desk.traces) == desk.connection_log.tick == 0
    assert desk.known("a") == ""


def test_progress_is_noted_once_and_with_its_first_time(clock: FakeClock) -> None:
    desk = Desk(clock)
    desk.deliver("a")
    desk.traces.marked("unknown", "u1", "c1", "delivered")
    for state in ("delivered", "delivered", "read"):
        clock.advance(1)
        desk.traces.marked("a", "u1", "c1", state)
    entry = desk.traces.find("a")
    assert entry is not None
    now = clock.wall()
    assert entry.marks == {("u1", "c1"): {"delivered": now - 2, "read": now}}
    assert entry.details == 2


def test_details_are_bounded_over_all_messages(clock: FakeClock) -> None:
    desk = Desk(clock, details_limit=4)
    desk.deliver("a", "b")
    desk.traces.failed("a", ["c1", "c2"])
    for number in range(4):
        desk.traces.marked("b", f"u{number}", f"c{number}", "delivered")
    first, second = desk.traces.find("a"), desk.traces.find("b")
    assert first is not None
    assert second is not None
    assert (first.failed, first.is_whole) == (frozenset(), False)
    assert (len(second.marks or ()), second.is_whole) == (4, True)


def test_an_entry_without_its_excluded_users_is_not_used(clock: FakeClock) -> None:
    desk = Desk(clock, details_limit=4)
    desk.deliver("a", exclude_users=frozenset({"u1", "u2"}))
    desk.deliver("b", exclude_users=frozenset({"u1", "u2", "u3"}))
    assert desk.known("a", "b") == "b"
    desk.deliver("c", exclude_users=frozenset(f"u{n}" for n in range(5)))
    assert desk.known(*"abc") == ""
    desk.deliver("d")
    assert desk.known(*"abcd") == "d"


def test_details_leave_with_their_message(clock: FakeClock) -> None:
    desk = Desk(clock, limit=2, details_limit=4)
    for name in "abcdefgh":
        desk.deliver(name)
        desk.traces.failed(name, ["c1", "c2"])
    assert desk.known(*"abcdefgh") == "g h"
    entry = desk.traces.find("g")
    assert entry is not None
    assert entry.is_whole


def test_a_message_takes_the_same_room_whatever_its_audience(clock: FakeClock) -> None:
    desk = Desk(clock)
    small = Publication("a", "x", EVERYONE, b"{}")
    large = Publication("b", "x", EVERYONE, b"x" * 60_000)
    for publication in (small, large):
        desk.traces.delivered(publication)
    sizes = {sys.getsizeof(desk.traces.find(name)) for name in "ab"}
    assert len(sizes) == 1
    assert sizes.pop() < 250
