"""The client processes together: work is shared out among them, and their answers added up."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import sys
from collections.abc import AsyncIterator, Iterable
from typing import Any

from scripts.benchmark.client import LINE_LIMIT
from scripts.benchmark.fleet import Fleet
from scripts.benchmark.procfs import cpus_s
from scripts.benchmark.servers import ROOT


class CrewError(Exception):
    """A client process that failed or fell silent."""


class Worker:
    """One client process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, cores: set[int]) -> Worker:
        """Start a process on these cores only."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "scripts.benchmark.client",
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_LIMIT,
            start_new_session=True,
        )
        os.sched_setaffinity(process.pid, cores)
        return cls(process)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    async def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Have something done; return the answer. Raises ``CrewError``."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise CrewError("a client process without pipes")
        stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
        line = await stdout.readline()
        if not line:
            raise CrewError(f"a client process ended during {do}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise CrewError(f"{do}: {answer['error']}")
        return answer

    async def stop(self) -> None:
        """End the process, and its connections with it."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


class Crew:
    """Several client processes that load one server, or the nodes of one in turn."""

    def __init__(self, workers: list[Worker], server: Fleet) -> None:
        self.workers = workers
        self._server = server
        self._used = 0
        self._more: list[Worker] = []

    @classmethod
    async def start(cls, size: int, server: Fleet, cores: set[int]) -> Crew:
        """Start so many processes."""
        workers = await asyncio.gather(*(Worker.start(cores) for _ in range(size)))
        return cls(list(workers), server)

    async def __aenter__(self) -> Crew:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(worker.stop() for worker in self.workers))

    @property
    def target(self) -> dict[str, Any]:
        """What a client has to know of the first node."""
        return self._target(0)

    def _target(self, worker: int) -> dict[str, Any]:
        """What a client has to know of the node that a process connects to: each to the next."""
        urls = self._server.socket_urls
        return {"url": urls[worker % len(urls)], "has_tokens": self._server.kind.has_tokens}

    def of_other_nodes(self, answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The answers of the processes whose connections are not to the first node."""
        count = len(self._server.socket_urls)
        return [answer for number, answer in enumerate(answers) if number % count]

    def cpu_s(self) -> float:
        """Processor time that the clients have used."""
        return cpus_s(worker.pid for worker in (*self.workers, *self._more))

    @contextlib.asynccontextmanager
    async def one_more(self, cores: set[int], niceness: int = 0) -> AsyncIterator[Worker]:
        """Start a process that ``ask`` leaves alone, and whose processor time is the clients'."""
        worker = await Worker.start(cores)
        self._more.append(worker)
        try:
            os.setpriority(os.PRIO_PROCESS, worker.pid, niceness)
            yield worker
        finally:
            self._more.remove(worker)
            await worker.stop()

    def users(self, count: int) -> int:
        """Take so many users that nobody was yet; return the first one's number."""
        first, self._used = self._used, self._used + count
        return first

    async def ask(self, do: str, **arguments: Any) -> list[dict[str, Any]]:
        """Have every process do the same."""
        return await asyncio.gather(*(worker.ask(do, **arguments) for worker in self.workers))

    async def connect(
        self, count: int, timed_every: int = 1, *, is_stream: bool = False
    ) -> dict[str, Any]:
        """Open so many connections; time those of each ``timed_every``-th.

        ``is_stream``: they are event streams.
        """
        answers = await asyncio.gather(
            *(
                worker.ask(
                    "connect",
                    **self._target(number),
                    first=self.users(share),
                    count=share,
                    timed_every=timed_every,
                    deflates=self._server.kind.deflates,
                    is_stream=is_stream,
                )
                for number, (worker, share) in enumerate(
                    zip(self.workers, self._shares(count), strict=True)
                )
            )
        )
        return together(answers)

    async def open_senders(self, count: int) -> list[str]:
        """Open so many connections, each in a session of its own; return the users."""
        parts = [(self.users(share), share) for share in self._shares(count)]
        await asyncio.gather(
            *(
                worker.ask("open_senders", **self._target(number), first=first, count=share)
                for number, (worker, (first, share)) in enumerate(
                    zip(self.workers, parts, strict=True)
                )
            )
        )
        return [f"u{first + number}" for first, share in parts for number in range(share)]

    async def open_answers(self, count: int, watchers: int) -> None:
        """Begin so many answers in sessions of their own, with so many watchers each."""
        await asyncio.gather(
            *(
                worker.ask(
                    "open_answers",
                    **self._target(number),
                    first=self.users(share),
                    answers=share,
                    watchers=watchers,
                )
                for number, (worker, share) in enumerate(
                    zip(self.workers, self._shares(count), strict=True)
                )
            )
        )

    async def open_askers(self, count: int) -> list[str]:
        """Open a connection into each of so many sessions; return the sessions."""
        sessions = [f"asked-{self.users(1)}" for _ in range(count)]
        size = len(self.workers)
        await asyncio.gather(
            *(
                worker.ask("open_askers", **self._target(number), sessions=sessions[number::size])
                for number, worker in enumerate(self.workers)
            )
        )
        return sessions

    async def churn(self, cycles: int, at_once: int) -> dict[str, Any]:
        """Connect and leave so many times, about ``at_once`` beside each other in all."""
        answers = await asyncio.gather(
            *(
                worker.ask(
                    "churn",
                    **self.target,
                    first=self.users(share),
                    cycles=share,
                    at_once=max(1, beside),
                )
                for worker, share, beside in zip(
                    self.workers, self._shares(cycles), self._shares(at_once), strict=True
                )
            )
        )
        return together(answers)

    def _shares(self, count: int) -> list[int]:
        size = len(self.workers)
        return [count // size + (number < count % size) for number in range(size)]


def together(answers: list[dict[str, Any]]) -> dict[str, Any]:
    """How long the slowest process took, and what failed in all of them."""
    faults: dict[str, int] = {}
    for answer in answers:
        for fault, times in answer["faults"].items():
            faults[fault] = faults.get(fault, 0) + times
    return {
        "seconds": max(answer["seconds"] for answer in answers),
        "failed": sum(faults.values()),
        "faults": faults,
    }


def percentile_ms(micros: Iterable[int], rank: float) -> float | None:
    """A percentile (nearest rank) of times in µs, in ms; None without any."""
    ordered = sorted(micros)
    if not ordered:
        return None
    return ordered[max(0, math.ceil(len(ordered) * rank / 100) - 1)] / 1000
