"""What tests start, one after another, and what stops it at their end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from tornado.ioloop import IOLoop


class Living(Protocol):
    """Something with a life of its own."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


T = TypeVar("T", bound=Living)


@contextmanager
def lives(io_loop: IOLoop, build: Callable[..., T]) -> Iterator[Callable[..., Awaitable[T]]]:
    """A function that builds one with options, on the loop, and starts it; all are stopped."""
    made: list[T] = []

    async def make(**options: Any) -> T:
        made.append(build(**options))
        await made[-1].start()
        return made[-1]

    yield make
    for each in made:
        io_loop.run_sync(each.stop)
