"""Round robin between callers, one running job for each."""

from __future__ import annotations

import random

from wsserver.storage.engine.fair_queue import FairQueue


def drain(queue: FairQueue[str]) -> str:
    """Run one job after the other until there are none."""
    order = []
    while (turn := queue.take()) is not None:
        order.append(turn.job)
        queue.finished(turn.caller)
    return " ".join(order)


def queue_of(*jobs: str) -> FairQueue[str]:
    """Each job's caller is its first letter; ``-1`` has none."""
    queue: FairQueue[str] = FairQueue()
    for job in jobs:
        queue.put(None if job[0] == "-" else job[0], job)
    return queue


def test_callers_take_turns() -> None:
    assert drain(queue_of("a1", "a2", "a3", "b1", "c1", "b2")) == "a1 b1 c1 a2 b2 a3"


def test_a_caller_has_one_job_running_at_a_time() -> None:
    queue = queue_of("a1", "a2", "b1")
    first, second = queue.take(), queue.take()
    assert first is not None
    assert second is not None
    assert (first.job, second.job, queue.take()) == ("a1", "b1", None)
    assert len(queue) == queue.waiting_of("a") == 1
    assert not queue.finished("b")
    assert queue.finished("a")
    assert drain(queue) == "a2"
    assert queue.put("a", "a3")  # nothing of it is left behind


def test_jobs_without_a_caller_do_not_wait_for_each_other() -> None:
    queue = queue_of("-1", "a1", "-2")
    taken = [turn.job for turn in (queue.take(), queue.take(), queue.take()) if turn is not None]
    assert taken == ["-1", "a1", "-2"]
    assert not queue.finished(None)


def test_nothing_is_lost_and_each_callers_order_is_kept() -> None:
    chance = random.Random(7)
    queue: FairQueue[str] = FairQueue()
    given: dict[str, list[str]] = {name: [] for name in "abcde"}
    done: dict[str, list[str]] = {name: [] for name in "abcde"}
    running: list[str] = []
    for number in range(2000):
        name = chance.choice("abcde")
        given[name].append(f"{number}")
        queue.put(name, f"{number}")
        while chance.random() < 0.6 and (turn := queue.take()) is not None:
            assert turn.caller is not None
            assert turn.caller not in running
            running.append(turn.caller)
            done[turn.caller].append(turn.job)
            if len(running) > 2:
                queue.finished(running.pop(chance.randrange(len(running))))
    for name in running:
        queue.finished(name)
    while (turn := queue.take()) is not None:
        assert turn.caller is not None
        done[turn.caller].append(turn.job)
        queue.finished(turn.caller)
    assert done == given
    assert len(queue) == 0
