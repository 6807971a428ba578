"""A bad network: every client is cut off again and again, and gets everything all the same."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec

from scripts.benchmark.http_client import HttpClient
from scripts.benchmark.tokens import make_token
from scripts.reliability.client import Connection
from scripts.reliability.report import Verdict, percentile
from scripts.reliability.server import API, Server

SESSION = "jitter"
PATIENCE_S = 60.0
AT_ONCE = 32


@dataclass(frozen=True)
class JitterSettings:
    """How bad the network is."""

    clients: int = 500
    messages: int = 600
    rate: float = 10.0
    """Messages a second."""
    every_s: float = 15.0
    away_s: float = 2.0
    replay_limit_s: float = 2.0


class Wanderer:
    """A client that comes and goes, and drops what it has by its offset."""

    def __init__(self, server: Server, number: int, expected: int) -> None:
        self._server = server
        self._name = f"u{number}"
        self._expected = expected
        self._connection: Connection | None = None
        self._epoch = ""
        self.seen: list[int] = []
        self.repeated = 0
        self.replays_s: list[float] = []
        self.refusals: list[str] = []
        self.cuts = 0
        self.complete = asyncio.Event()

    async def come(self) -> None:
        """Connect, and catch up from where it was."""
        began = time.monotonic()
        connection = await Connection.open(self._server.socket_url, self._name, self._take)
        self._connection = connection
        since: dict[str, Any] = {}
        if self._epoch:
            offset = self.seen[-1] if self.seen else 0
            since = {"since": {"epoch": self._epoch, "offset": offset}}
        with connection.holding():
            joined = await connection.call("join_session", session_id=SESSION, **since)
            for push in joined["messages"]:
                self._note(push["offset"])
        if since:
            self.replays_s.append(time.monotonic() - began)
            if not joined["recovered"]:
                self.refusals.append(joined["reason"])
        self._epoch = joined["epoch"]

    async def wander(self, every_s: float, away_s: float, first_s: float) -> None:
        """Be cut off every so often, until cancelled."""
        await asyncio.sleep(first_s)
        while True:
            if self._connection is not None:
                self._connection.cut()
            self.cuts += 1
            await asyncio.sleep(away_s)
            await self.come()
            await asyncio.sleep(every_s - away_s)

    def _take(self, payload: bytes) -> None:
        if b'"new_message"' in payload:
            self._note(msgspec.json.decode(payload)["offset"])

    def _note(self, offset: int) -> None:
        if self.seen and offset <= self.seen[-1]:
            self.repeated += 1
            return
        self.seen.append(offset)
        if offset == self._expected:
            self.complete.set()

    @property
    def is_whole(self) -> bool:
        """Did it get everything, in order?"""
        return self.seen == list(range(1, self._expected + 1))


async def torment(
    server: Server, settings: JitterSettings, chance: random.Random, say: Callable[[str], None]
) -> Verdict:
    """Publish while everybody comes and goes."""
    await server.start()
    wanderers = [Wanderer(server, number, settings.messages) for number in range(settings.clients)]
    await _each(wanderers, Wanderer.come)
    say(f"{settings.clients} clients, {settings.messages} messages")
    going = [
        asyncio.ensure_future(
            each.wander(settings.every_s, settings.away_s, chance.uniform(0, settings.every_s))
        )
        for each in wanderers
    ]
    await _publish(server, settings)
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_S + settings.every_s):
            await asyncio.gather(*(each.complete.wait() for each in wanderers))
    for task in going:
        task.cancel()
    outcomes = await asyncio.gather(*going, return_exceptions=True)
    failures = [each for each in outcomes if not isinstance(each, asyncio.CancelledError)]
    status = await server.stop()

    replays_ms = [seconds * 1000 for each in wanderers for seconds in each.replays_s]
    verdict = Verdict(
        f"jitter: {settings.clients} clients cut off every {settings.every_s:g} s for"
        f" {settings.away_s:g} s, {settings.messages} messages"
    )
    verdict.figure("times that one was cut off", sum(each.cuts for each in wanderers))
    verdict.figure("deliveries", sum(len(each.seen) for each in wanderers))
    whole = sum(each.is_whole for each in wanderers)
    verdict.limit("clients that miss something or the order", settings.clients - whole, 0)
    verdict.limit("resumes refused", sum(len(each.refusals) for each in wanderers), 0)
    verdict.limit("clients that could not come back", len(failures), 0)
    verdict.figure("came twice, and dropped by offset", sum(each.repeated for each in wanderers))
    verdict.figure("connect and replay, ms, median", percentile(replays_ms, 50))
    limit_ms = settings.replay_limit_s * 1000
    verdict.time("connect and replay, ms, p99", percentile(replays_ms, 99), limit_ms)
    verdict.limit("exit status after SIGTERM", status, 0)
    verdict.notes = [f"{type(each).__name__}: {each}" for each in failures[:5]]
    return verdict


async def _publish(server: Server, settings: JitterSettings) -> None:
    body = msgspec.json.encode({"type": "new_message", "content": "x" * 64})
    began = time.monotonic()
    async with HttpClient(server.port, make_token("backend", "service")) as http:
        for number in range(settings.messages):
            await asyncio.sleep(max(0.0, began + number / settings.rate - time.monotonic()))
            await http.post(f"{API}/sessions/{SESSION}/messages", body)


async def _each(wanderers: list[Wanderer], act: Callable[[Wanderer], Any]) -> None:
    """Let all do something, not too many at once."""
    rest = iter(wanderers)

    async def some() -> None:
        for each in rest:
            await act(each)

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
