"""What the supervisor decides, as a function of events and time."""

from __future__ import annotations

import random

from wsserver.workers.fleet import (
    GRACE_S,
    HURRY_S,
    PREPARE_S,
    Action,
    Announce,
    Exit,
    Fleet,
    Kill,
    Send,
    Start,
)

DRAIN_S = 8.0


def running(count: int = 2) -> Fleet:
    """A fleet whose workers 1 to ``count`` accept connections: processes 1 to ``count``."""
    fleet = Fleet(count, DRAIN_S)
    fleet.start(0.0)
    for process in range(1, count + 1):
        fleet.accepting(process, 1.0)
    return fleet


# Start


def test_the_others_wait_until_worker_1_accepts() -> None:
    fleet = Fleet(3, DRAIN_S)
    assert fleet.start(0.0) == [
        Start(1, 1, waits=False),
        Start(2, 2, waits=True),
        Start(3, 3, waits=True),
    ]
    assert fleet.prepared(2, 0.5) == []
    assert fleet.accepting(1, 1.0) == [Send(2, "go"), Send(3, "go")]
    assert fleet.accepting(3, 2.0) == []
    assert fleet.accepting(2, 2.0) == [Announce()]


def test_worker_1_that_ends_at_its_first_start_ends_everything_with_its_status() -> None:
    for status, expected in ((78, 78), (75, 75), (1, 1), (-9, 1), (0, 1)):
        fleet = Fleet(2, DRAIN_S)
        fleet.start(0.0)
        assert fleet.ended(1, status, 1.0) == [Send(2, "stop")]
        assert fleet.ended(2, 0, 1.0) == [Exit(expected)]


def test_a_worker_that_crashes_while_it_waits_for_worker_1_waits_again() -> None:
    fleet = Fleet(2, DRAIN_S)
    fleet.start(0.0)
    assert fleet.ended(2, -9, 0.5) == [Start(3, 2, waits=True)]
    assert fleet.accepting(1, 1.0) == [Send(3, "go")]


def test_a_fault_that_all_workers_find_ends_with_78() -> None:
    fleet = Fleet(2, DRAIN_S)
    fleet.start(0.0)
    assert fleet.ended(2, 78, 0.5) == [Send(1, "stop")]
    assert fleet.ended(1, 78, 0.6) == [Exit(78)]


def test_another_worker_that_ends_with_78_at_its_first_start_ends_everything() -> None:
    fleet = Fleet(2, DRAIN_S)
    fleet.start(0.0)
    fleet.accepting(1, 1.0)
    assert fleet.ended(2, 78, 2.0) == [Send(1, "stop")]
    assert fleet.ended(1, 0, 3.0) == [Exit(78)]


def test_another_worker_that_crashes_at_its_first_start_is_started_again() -> None:
    fleet = Fleet(2, DRAIN_S)
    fleet.start(0.0)
    fleet.accepting(1, 1.0)
    assert fleet.ended(2, -9, 2.0) == [Start(3, 2, waits=False)]
    assert fleet.accepting(3, 3.0) == [Announce()]


# Restart


def test_a_worker_that_ends_is_restarted_at_once_then_with_backoff() -> None:
    fleet = running()
    assert fleet.ended(2, -9, 5.0) == [Start(3, 2, waits=False)]
    assert fleet.ended(3, 1, 5.1) == []
    assert fleet.due == 5.1 + 0.25
    assert fleet.tick(5.3) == []
    assert fleet.tick(5.4) == [Start(4, 2, waits=False)]
    assert fleet.accepting(4, 6.0) == []  # announced before


def test_a_status_of_78_after_the_first_start_is_restarted_too() -> None:
    fleet = running()
    assert fleet.ended(1, 78, 5.0) == [Start(3, 1, waits=False)]


# Stop


def test_a_stop_drains_all_and_ends_with_0() -> None:
    fleet = running()
    assert fleet.stop(10.0) == [Send(1, "stop"), Send(2, "stop")]
    assert fleet.ended(2, 0, 11.0) == []
    assert fleet.ended(1, 0, 11.0) == [Exit(0)]


def test_a_second_stop_hurries_and_a_third_changes_nothing() -> None:
    fleet = running()
    fleet.stop(10.0)
    assert fleet.stop(11.0) == [Send(1, "hurry"), Send(2, "hurry")]
    assert fleet.stop(11.5) == []
    assert fleet.due == 11.0 + HURRY_S
    assert fleet.tick(11.0 + HURRY_S) == [Kill(1), Kill(2)]
    fleet.ended(1, 1, 17.0)
    assert fleet.ended(2, -9, 17.0) == [Exit(1)]


def test_workers_that_do_not_end_are_killed() -> None:
    fleet = running()
    fleet.stop(10.0)
    assert fleet.due == 10.0 + DRAIN_S + GRACE_S
    fleet.ended(1, 0, 11.0)
    assert fleet.tick(10.0 + DRAIN_S + GRACE_S) == [Kill(2)]
    assert fleet.ended(2, -9, 30.0) == [Exit(1)]


def test_a_stop_while_a_restart_is_waited_for() -> None:
    fleet = running()
    fleet.ended(2, 1, 5.0)
    fleet.ended(3, 1, 5.0)
    assert fleet.stop(5.1) == [Send(1, "stop")]
    assert fleet.ended(1, 0, 6.0) == [Exit(0)]
    assert fleet.tick(100.0) == []


def test_a_stop_before_worker_1_accepts() -> None:
    fleet = Fleet(2, DRAIN_S)
    fleet.start(0.0)
    assert fleet.stop(0.1) == [Send(1, "stop"), Send(2, "stop")]
    assert fleet.accepting(1, 0.2) == []
    assert fleet.ended(2, 0, 0.3) == []
    assert fleet.ended(1, 0, 0.3) == [Exit(0)]


# Rolling restart


def test_a_rolling_restart_replaces_one_worker_after_the_other() -> None:
    fleet = running()
    assert fleet.reload(10.0) == [Start(3, 1, waits=True)]
    assert fleet.prepared(3, 11.0) == [Send(1, "hand_over")]
    assert fleet.ended(1, 0, 12.0) == [Send(3, "go")]
    assert fleet.accepting(3, 13.0) == [Start(4, 2, waits=True)]
    assert fleet.prepared(4, 14.0) == [Send(2, "hand_over")]
    assert fleet.ended(2, 0, 15.0) == [Send(4, "go")]
    assert fleet.accepting(4, 16.0) == []
    assert fleet.due is None


def test_a_second_reload_during_the_first_replaces_all_once_more() -> None:
    fleet = running(1)
    fleet.reload(10.0)
    assert fleet.reload(10.5) == []
    assert fleet.reload(10.6) == []
    fleet.prepared(2, 11.0)
    fleet.ended(1, 0, 12.0)
    assert fleet.accepting(2, 13.0) == [Start(3, 1, waits=True)]
    fleet.prepared(3, 14.0)
    fleet.ended(2, 0, 15.0)
    assert fleet.accepting(3, 16.0) == []


def test_a_successor_that_ends_stops_the_rolling_restart_and_the_old_worker_stays() -> None:
    fleet = running()
    fleet.reload(10.0)
    assert fleet.ended(3, 78, 11.0) == []
    assert fleet.reload(12.0) == [Start(4, 1, waits=True)]


def test_a_successor_that_is_not_prepared_in_time_is_killed() -> None:
    fleet = running()
    fleet.reload(10.0)
    assert fleet.due == 10.0 + PREPARE_S
    assert fleet.tick(10.0 + PREPARE_S) == [Kill(3)]


def test_an_old_worker_that_does_not_drain_in_time_is_killed() -> None:
    fleet = running()
    fleet.reload(10.0)
    fleet.prepared(3, 11.0)
    assert fleet.tick(11.0 + DRAIN_S + GRACE_S) == [Kill(1)]
    assert fleet.ended(1, -9, 40.0) == [Send(3, "go")]


def test_a_worker_that_crashes_while_its_successor_is_prepared_is_followed_by_it() -> None:
    fleet = running()
    fleet.reload(10.0)
    assert fleet.ended(1, -9, 10.5) == [Send(3, "go")]
    assert fleet.prepared(3, 11.0) == []
    assert fleet.accepting(3, 12.0) == [Start(4, 2, waits=True)]


def test_workers_that_are_started_anyway_need_no_successor() -> None:
    fleet = running(3)
    fleet.ended(2, 1, 9.0)
    fleet.ended(4, 1, 9.0)  # waits for its restart
    fleet.reload(9.1)
    fleet.prepared(5, 9.2)
    fleet.ended(1, 0, 9.2)
    assert fleet.accepting(5, 9.2) == [Start(6, 3, waits=True)]


def test_a_stop_during_a_rolling_restart_ends_old_and_new() -> None:
    fleet = running()
    fleet.reload(10.0)
    assert fleet.stop(10.5) == [Send(1, "stop"), Send(3, "stop"), Send(2, "stop")]
    assert fleet.prepared(3, 10.6) == []
    for process in (3, 1):
        assert fleet.ended(process, 0, 11.0) == []
    assert fleet.ended(2, 0, 11.0) == [Exit(0)]


def test_a_reload_before_all_accept_or_while_stopping_does_nothing() -> None:
    fleet = Fleet(2, DRAIN_S)
    fleet.start(0.0)
    assert fleet.reload(0.5) == []
    fleet = running()
    fleet.stop(2.0)
    assert fleet.reload(3.0) == []


def test_whatever_happens_a_stop_ends_everything() -> None:
    """Random events: the actions' processes are modelled, and the end is always reached."""
    for seed in range(300):
        chance = random.Random(seed)
        fleet = Fleet(chance.randint(1, 4), DRAIN_S)
        alive: dict[int, int] = {}
        now, exits = 0.0, 0

        def do(actions: list[Action], alive: dict[int, int] = alive) -> int:
            for action in actions:
                if isinstance(action, Start):
                    assert list(alive.values()).count(action.number) <= 1, "two processes at most"
                    alive[action.process] = action.number
                if isinstance(action, (Send, Kill)):
                    assert action.process in alive
            return sum(isinstance(action, Exit) for action in actions)

        exits += do(fleet.start(now))
        for _ in range(60):
            now += chance.random() * 10
            event = chance.choice("aaaappeert")
            process = chance.choice(list(alive) or [0])
            if event == "a":
                exits += do(fleet.accepting(process, now))
            elif event == "p":
                exits += do(fleet.prepared(process, now))
            elif event == "e" and process in alive:
                del alive[process]
                exits += do(fleet.ended(process, chance.choice((0, 1, 78, -9)), now))
            elif event == "r":
                exits += do(fleet.reload(now))
            else:
                exits += do(fleet.tick(now))
        if not exits:
            exits += do(fleet.stop(now))
        for process in list(alive):
            del alive[process]
            exits += do(fleet.ended(process, 0, now))
        assert exits == 1, seed


# Workers that stand still


def test_a_worker_that_nothing_is_heard_of_is_killed_and_started_again() -> None:
    fleet = Fleet(2, DRAIN_S)
    fleet.start(0.0)
    for process in (1, 2):
        fleet.accepting(process, 1.0, 30.0)
    assert fleet.due == 31.0
    fleet.alive(1, 20.0)
    assert fleet.tick(30.9) == []
    assert fleet.tick(31.0) == [Kill(2, "does not answer")]
    assert fleet.tick(31.1) == []
    assert fleet.tick(31.0 + HURRY_S) == [Kill(2, "does not answer")]
    assert fleet.ended(2, -9, 37.0) == [Start(3, 2, waits=False)]
    assert fleet.tick(49.9) == []  # the new one has not begun to accept
    fleet.accepting(3, 49.9, 30.0)
    assert fleet.tick(50.0) == [Kill(1, "does not answer")]
    assert fleet.tick(79.8) == [Kill(1, "does not answer")]
    fleet.alive(3, 79.8)
    assert Kill(3, "does not answer") not in fleet.tick(80.0)


def test_workers_that_stood_still_with_their_supervisor_are_given_time() -> None:
    fleet = Fleet(2, DRAIN_S)
    fleet.start(0.0)
    for process in (1, 2):
        fleet.accepting(process, 1.0, 30.0)
    fleet.resumed(5000.0)
    assert fleet.tick(5029.0) == []
    assert len(fleet.tick(5030.0)) == 2


def test_a_worker_that_drains_has_its_own_time() -> None:
    fleet = Fleet(1, DRAIN_S)
    fleet.start(0.0)
    fleet.accepting(1, 1.0, 1.0)
    fleet.stop(1.5)
    assert fleet.tick(1.5 + DRAIN_S) == []


def test_without_a_limit_nothing_is_killed() -> None:
    fleet = running()
    assert fleet.due is None
    assert fleet.tick(1e9) == []


def test_each_worker_has_the_timeouts_of_its_own_settings() -> None:
    fleet = Fleet(1, DRAIN_S)
    fleet.start(0.0)
    fleet.accepting(1, 1.0, 5.0)
    fleet.reload(2.0, DRAIN_S + 50.0)
    fleet.prepared(2, 2.5)
    fleet.ended(1, 0, 3.0)
    fleet.accepting(2, 3.5)  # it reports no more that it runs
    assert fleet.tick(1000.0) == []
    fleet.stop(1000.0)
    assert fleet.tick(1000.0 + DRAIN_S + 50.0) == []
    assert fleet.tick(1000.0 + DRAIN_S + 50.0 + GRACE_S) == [Kill(2)]
