"""Promises: callbacks, awaiting, exceptions."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from wsserver.promise import Promise


def fail(_: object) -> int:
    raise ZeroDivisionError("in the change")


@pytest.mark.gen_test
async def test_the_changed_result_comes_out() -> None:
    promise: Promise[int] = Promise()
    changed = promise.then(str)
    assert not changed.done()
    promise.resolve(5)
    assert (changed.done(), changed.result(), await changed) == (True, "5", "5")
    assert await promise.then(lambda number: number + 1) == 6


@pytest.mark.gen_test
@pytest.mark.parametrize("change", [str, fail])
async def test_an_exception_of_either_comes_out(change: Callable[[int], object]) -> None:
    promise: Promise[int] = Promise()
    changed = promise.then(change)
    if change is str:
        promise.reject(ZeroDivisionError())
    else:
        promise.resolve(5)
    with pytest.raises(ZeroDivisionError):
        await changed
    with pytest.raises(ZeroDivisionError):
        changed.result()


@pytest.mark.gen_test
async def test_one_who_stops_waiting_takes_nothing_away_from_the_others() -> None:
    promise: Promise[int] = Promise()

    async def wait() -> int:
        return await promise

    waiting = [asyncio.ensure_future(wait()) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.wait(waiting[:1])
    promise.resolve(5)
    assert await waiting[1] == 5


def test_callbacks_are_called_immediately_in_order_of_registration() -> None:
    heard: list[tuple[str, int]] = []
    promise: Promise[int] = Promise()

    def note(name: str, done: Promise[int]) -> None:
        heard.append((name, done.result()))

    for name in "abc":
        promise.when_done(partial(note, name))
    promise.resolve(7)
    assert heard == [("a", 7), ("b", 7), ("c", 7)]
    promise.when_done(partial(note, "late"))
    assert heard[-1] == ("late", 7)


def test_the_traceback_does_not_grow_with_the_number_of_callbacks() -> None:
    def story(error: Exception) -> int:
        return len(list(traceback.walk_tb(error.__traceback__)))

    promise: Promise[int] = Promise()
    lengths = []
    try:
        fail(None)
    except ZeroDivisionError as error:
        promise.reject(error)
    promises: list[Promise[Any]] = [promise, promise.then(str), promise, promise.then(str)]
    for each in promises:
        with pytest.raises(ZeroDivisionError) as caught:
            each.result()
        lengths.append(story(caught.value))
    assert lengths == [lengths[0]] * 4
    with pytest.raises(ZeroDivisionError) as caught:
        promise.result()
    assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "fail"


def test_one_who_fails_is_logged_and_keeps_nothing_from_the_next(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard: list[int] = []
    promise: Promise[int] = Promise()
    promise.when_done(fail)
    promise.when_done(lambda done: heard.append(done.result()))
    promise.resolve(5)
    assert heard == [5]
    assert "ZeroDivisionError: in the change" in caplog.text
