"""Start objects in a fixture, and stop them at its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from tornado.ioloop import IOLoop


class Startable(Protocol):
    """An object with ``start`` and ``stop``."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


T = TypeVar("T", bound=Startable)
R = TypeVar("R")


def run(io_loop: IOLoop, work: Callable[[], Awaitable[R]]) -> R:
    """Run a coroutine function on a loop; its result."""
    result: R = io_loop.run_sync(work)
    return result


@contextmanager
def starter(io_loop: IOLoop, build: Callable[..., T]) -> Iterator[Callable[..., Awaitable[T]]]:
    """A function that builds an object on the loop and starts it; all are stopped at the end."""
    made: list[T] = []

    async def make(**options: Any) -> T:
        made.append(build(**options))
        await made[-1].start()
        return made[-1]

    yield make
    for each in made:
        io_loop.run_sync(each.stop)
