from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any

import pytest

from tests.support.live_server import settle
from wsserver.realtime.observability import events as events_module
from wsserver.realtime.observability.events import EventBus
from wsserver.tasks import Tasks


class Failures:
    count = 0

    def __call__(self) -> None:
        self.count += 1


@pytest.fixture
def failures() -> Failures:
    return Failures()


@pytest.fixture
def tasks() -> Tasks:
    return Tasks()


@pytest.fixture
def bus(tasks: Tasks, clock: Any, failures: Failures) -> EventBus:
    return EventBus(tasks, clock, failures)


@pytest.mark.gen_test
async def test_sync_and_async_handlers_get_name_time_and_fields(bus: EventBus) -> None:
    seen: list[Any] = []

    async def later(event: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        seen.append(event)

    bus.add_event_handler("custom_event", seen.append)
    bus.add_event_handler("custom_event", later)
    bus.emit("custom_event", user_id="u1")
    expected = {
        "name": "custom_event",
        "timestamp": "2023-11-14T22:13:20.000Z",
        "user_id": "u1",
    }
    assert seen == [expected]  # sync handlers have run already
    await settle()
    assert seen == [expected, expected]


@pytest.mark.parametrize(
    ("glob", "names"),
    [
        ("*", ["session_joined", "session_left", "user_connected", "billing.paid"]),
        ("session_*", ["session_joined", "session_left"]),
        ("*_left", ["session_left"]),
        ("user_connected", ["user_connected"]),
        ("billing.?aid", ["billing.paid"]),
        ("[su]*_[jc]*", ["session_joined", "user_connected"]),
        ("Session_*", []),
        ("session", []),
    ],
)
def test_names_may_be_globs(bus: EventBus, glob: str, names: list[str]) -> None:
    seen: list[str] = []
    bus.add_event_handler(glob, lambda event: seen.append(event["name"]))
    for name in ("session_joined", "session_left", "user_connected", "billing.paid"):
        bus.emit(name)
    assert seen == names


@pytest.mark.gen_test
async def test_a_failing_handler_is_logged_and_counted_and_affects_no_other(
    bus: EventBus, failures: Failures, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Any] = []

    def breaks(event: Any) -> None:
        raise ZeroDivisionError("sync")

    async def breaks_later(event: Any) -> None:
        raise ZeroDivisionError("async")

    for handler in (breaks, breaks_later, seen.append):
        bus.add_event_handler("*", handler)
    with caplog.at_level(logging.ERROR):
        bus.emit("x")
        await settle()
    assert len(seen) == 1
    assert failures.count == 2
    assert [record.exc_info is not None for record in caplog.records] == [True, True]
    assert "name=x" in caplog.text


def test_a_handler_cannot_spoil_the_event_for_the_next(bus: EventBus) -> None:
    seen: list[Any] = []
    bus.add_event_handler("x", lambda event: event.clear())
    bus.add_event_handler("x", seen.append)
    bus.emit("x", n=1)
    assert seen[0]["n"] == 1


def test_a_removed_handler_is_called_no_more(bus: EventBus) -> None:
    seen: list[Any] = []
    bus.add_event_handler("x*", seen.append)
    bus.remove_event_handler("x*", seen.append)
    bus.emit("x")
    assert seen == []
    with pytest.raises(ValueError, match="no such handler"):
        bus.remove_event_handler("x*", seen.append)


def test_a_handler_may_remove_itself_while_it_runs(bus: EventBus) -> None:
    seen: list[Any] = []

    def once(event: Any) -> None:
        bus.remove_event_handler("x", once)
        seen.append("once")

    bus.add_event_handler("x", once)
    bus.add_event_handler("x", lambda event: seen.append("other"))
    bus.emit("x")
    bus.emit("x")
    assert seen == ["once", "other", "other"]


def test_what_cannot_be_called_is_no_handler(bus: EventBus) -> None:
    handler: Any = "not callable"
    with pytest.raises(TypeError):
        bus.add_event_handler("x", handler)


@pytest.mark.gen_test
async def test_slow_handlers_are_bounded_and_dropped_events_are_counted_and_logged(
    bus: EventBus, tasks: Tasks, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(events_module, "MAX_RUNNING", 3)
    done = asyncio.Event()
    started: list[Any] = []

    async def slow(event: Any) -> None:
        started.append(event)
        await done.wait()

    bus.add_event_handler("x", slow)
    quick: list[Any] = []
    bus.add_event_handler("x", quick.append)
    for _ in range(10):
        bus.emit("x")
    await settle()
    assert (len(started), len(tasks), bus.dropped, len(quick)) == (3, 3, 7, 10)
    assert [record.args[1] for record in caplog.records if isinstance(record.args, tuple)] == [
        1,
        2,
        4,
    ]
    done.set()
    await settle()
    bus.emit("x")
    await settle()
    assert (len(started), bus.dropped) == (4, 7)
    gc.collect()  # a coroutine that was dropped unawaited would warn here


@pytest.mark.gen_test
async def test_handlers_may_return_any_awaitable(bus: EventBus) -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    bus.add_event_handler("x", lambda event: future)
    bus.emit("x")
    future.set_result(None)
    await settle()
    assert bus._running == 0


@pytest.mark.gen_test
async def test_a_handler_may_choose_by_a_test_of_names(bus: EventBus) -> None:
    seen: list[Any] = []

    def is_short(name: str) -> bool:
        return len(name) < 3

    bus.add_event_handler(is_short, seen.append)
    assert (bus.hears("ab"), bus.hears("abc")) == (True, False)
    bus.emit("ab")
    bus.emit("abc")
    assert [event["name"] for event in seen] == ["ab"]
    bus.remove_event_handler(is_short, seen.append)
    bus.emit("ab")
    assert (len(seen), bus.hears("ab")) == (1, False)


@pytest.mark.gen_test
async def test_a_predicate_that_fails_affects_no_other_handler(
    bus: EventBus, failures: Failures, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Any] = []
    bus.add_event_handler(lambda name: bool(1 / 0), seen.append)
    bus.add_event_handler("*", seen.append)
    with caplog.at_level(logging.ERROR):
        bus.emit("a")
    assert len(seen) == failures.count == 1
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.gen_test
async def test_handlers_are_remembered_for_so_many_names_only(bus: EventBus) -> None:
    seen: list[Any] = []
    bus.add_event_handler("x*", seen.append)
    for number in range(events_module.KNOWN_NAMES + 10):
        bus.emit(f"x{number}")
        assert len(bus._by_name) <= events_module.KNOWN_NAMES
    assert len(seen) == events_module.KNOWN_NAMES + 10
