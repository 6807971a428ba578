"""One server with its clients, and what both use while something is measured."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

from scripts.benchmark.client import MARK
from scripts.benchmark.crew import Crew
from scripts.benchmark.fleet import Fleet
from scripts.benchmark.http_client import HttpClient
from scripts.benchmark.procfs import busy_s, cpu_s
from scripts.benchmark.servers import Kind, Server, companion_kind
from scripts.benchmark.tokens import make_token

PUBLISH_TIMEOUT_S = 120.0
_TEXT = (
    "Package 1Z999AA10123456784 left the warehouse and will arrive on Thursday between 9:00 and "
    "12:00. You can still choose another day."
)


@dataclass
class Used:
    """What a stretch of time took; in seconds."""

    wall_s: float = 0.0
    server_s: float = 0.0
    """That of all its nodes and workers."""
    backends_s: float = 0.0
    """That of a private PostgreSQL and Valkey."""
    clients_s: float = 0.0
    """The clients' processor time, this process's and the companion's included."""
    others_s: float = 0.0
    """That of everything else on the machine."""


class Stage:
    """A server and the crew that loads it, each on its own cores."""

    def __init__(
        self, server: Fleet, crew: Crew, client_cores: set[int], companion: Server | None = None
    ) -> None:
        self.server = server
        self.crew = crew
        self.client_cores = client_cores
        self._companion = companion

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls,
        kind: Kind,
        processes: int,
        cores: tuple[set[int], set[int]],
        environment: dict[str, str],
        companion: str | None = None,
    ) -> AsyncIterator[Stage]:
        """Start everything, and end it whatever happens.

        ``companion``: the module of a service that the server uses. It runs where the clients do,
        and its port stands for ``{companion}`` in ``environment``.
        """
        async with contextlib.AsyncExitStack() as stack:
            beside = None
            if companion is not None:
                beside = await Server.start(companion_kind(companion), cores[1])
                stack.push_async_callback(beside.stop)
                port = str(beside.port)
                environment = {
                    name: value.replace("{companion}", port) for name, value in environment.items()
                }
            server = await stack.enter_async_context(Fleet.start(kind, cores[0], environment))
            crew = await stack.enter_async_context(await Crew.start(processes, server, cores[1]))
            yield cls(server, crew, cores[1], beside)

    def client(self) -> HttpClient:
        """A connection for requests, of somebody who may make them."""
        has_tokens = self.server.kind.has_tokens
        return HttpClient(self.server.port, make_token("bench", "admin") if has_tokens else None)

    async def broadcast(
        self, count: int, *, publishers: int = 1, rate: float | None = None, size: int = 0
    ) -> None:
        """Publish so many, each publisher's after the answer to its last, or ``rate`` a second."""
        numbers = iter(range(count))
        began = time.monotonic()

        async def publish() -> None:
            async with self.client() as client:
                for number in numbers:
                    if rate is not None:
                        await asyncio.sleep(began + number / rate - time.monotonic())
                    await client.post(self.server.kind.publish_path, message(size))

        async with asyncio.timeout(PUBLISH_TIMEOUT_S), asyncio.TaskGroup() as group:
            for _ in range(publishers):
                group.create_task(publish())

    @contextlib.contextmanager
    def measure(self) -> Iterator[Used]:
        """Fill in what was used when the block is left."""
        used = Used()
        before = self._now()
        yield used
        wall_s, server_s, clients_s, backends_s, all_s = (
            late - early for late, early in zip(self._now(), before, strict=True)
        )
        used.wall_s, used.server_s, used.clients_s = wall_s, server_s, clients_s
        used.backends_s = backends_s
        used.others_s = max(0.0, all_s - server_s - clients_s - backends_s)

    def client_share(self, used: Used) -> float:
        """Which part of their cores the clients used; near 1, they were what was measured."""
        return used.clients_s / used.wall_s / len(self.client_cores)

    def _now(self) -> tuple[float, float, float, float, float]:
        clients_s = self.crew.cpu_s() + cpu_s(os.getpid())
        if self._companion is not None:
            clients_s += self._companion.cpu_s()
        backends_s = self.server.backends_cpu_s()
        return time.monotonic(), self.server.cpu_s(), clients_s, backends_s, busy_s()


def message(size: int = 0) -> bytes:
    """A broadcast's JSON, with the time in it; about 300 bytes, or ``size`` where that is more."""
    sent = MARK.decode() + f'{time.monotonic_ns():020d}"'
    head = f'{{"type":"announcement","data":{{{sent},"channel":"orders","title":"It has shipped",'
    tail = f'"body":"{_TEXT}","link":"https://example.com/orders/991182"'
    padding = max(0, size - len(head) - len(tail) - len(',"padding":""}}'))
    return f'{head}{tail},"padding":"{"x" * padding}"}}}}'.encode()


def merged(answers: list[dict[str, Any]], key: str) -> list[int]:
    """One list out of the lists of all answers."""
    return [value for answer in answers for value in answer[key]]


def total(answers: list[dict[str, Any]], key: str) -> int:
    """The sum of all answers."""
    return sum(answer[key] for answer in answers)
