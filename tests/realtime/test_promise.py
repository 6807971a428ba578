"""What is done with a result that is not there yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.realtime.live_server import settle
from wsserver.realtime.futures import then


def later() -> asyncio.Future[int]:
    return asyncio.get_running_loop().create_future()


def fail(_: int) -> int:
    raise ZeroDivisionError("in the change")


@pytest.mark.gen_test
async def test_the_changed_result_comes_out() -> None:
    future = later()
    changed = then(future, str)
    future.set_result(5)
    assert await changed == "5"
    assert await then(future, lambda number: number + 1) == 6


@pytest.mark.gen_test
@pytest.mark.parametrize("change", [str, fail])
async def test_an_exception_of_either_comes_out(change: Callable[[int], object]) -> None:
    future = later()
    changed = then(future, change)
    if change is str:
        future.set_exception(ZeroDivisionError())
    else:
        future.set_result(5)
    with pytest.raises(ZeroDivisionError):
        await changed


@pytest.mark.gen_test
async def test_what_is_cancelled_is_cancelled_for_those_who_wait() -> None:
    future = later()
    changed = then(future, fail)
    future.cancel()
    await settle()
    assert changed.cancelled()


@pytest.mark.gen_test
async def test_it_is_done_even_if_nobody_waits_any_more() -> None:
    done: list[int] = []
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: complaints.append(about))
    for change in (done.append, fail):
        future = later()
        then(future, change).cancel()
        future.set_result(5)
        await settle()
    assert (done, complaints) == ([5], [])


@pytest.mark.gen_test
async def test_changes_come_in_the_order_of_the_results() -> None:
    order: list[int] = []
    futures = [later() for _ in range(5)]
    changed = [then(future, order.append) for future in reversed(futures)]
    for number, future in enumerate(futures):
        future.set_result(number)
    await asyncio.gather(*changed)
    assert order == [0, 1, 2, 3, 4]
