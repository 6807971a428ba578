"""What each node gives to clients that come back: everything, and how fast."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict

from scripts.reliability.client import Connection
from scripts.reliability.cluster_nodes import FAULTS_OF_CLIENTS, Cluster
from scripts.reliability.journal import Journal, Position
from scripts.reliability.report import percentile

TIMES = 200
SERIES = 3
"""At most; a busy machine makes one slow, and a slow server makes all slow."""
LIMIT_MS = 100.0
"""For 99 of 100."""
MISSED = 100
"""Messages that each client has missed."""
ANSWER_S = 20.0


class Resumes:
    """Clients that connect to any node, one after the other, and ask for what they have missed."""

    def __init__(self, cluster: Cluster, chance: random.Random) -> None:
        self._cluster = cluster
        self._chance = chance
        self.p99_ms = 0.0
        """Of the best series: from asking until all of it is there."""
        self._took_ms: list[float] = []
        self.wrong: list[str] = []

    async def measure(self, journal: Journal, times: int) -> None:
        """Compare each answer with the database, as the journal has found it."""
        stored: dict[str, list[Position]] = defaultdict(list)
        for position in sorted(journal.found.values(), key=lambda each: each.offset):
            if position.stream.startswith("session:"):
                stored[position.stream].append(position)
        for number in range(SERIES if times == TIMES else 1):
            self._took_ms = []
            await self._series(stored, times)
            p99_ms = percentile(self._took_ms, 99)
            self.p99_ms = p99_ms if number == 0 else min(self.p99_ms, p99_ms)
            if self.p99_ms <= LIMIT_MS:
                break

    async def _series(self, stored: dict[str, list[Position]], times: int) -> None:
        for number in range(times):
            index = number % len(self._cluster.nodes)
            stream, positions = self._chance.choice(sorted(stored.items()))
            try:
                async with asyncio.timeout(ANSWER_S):
                    await self._resume(index, stream, positions[-MISSED:])
            except FAULTS_OF_CLIENTS as error:
                self.wrong.append(f"n{index + 1}: {stream}: {error!r}")

    async def _resume(self, index: int, stream: str, missed: list[Position]) -> None:
        since = {"epoch": missed[0].epoch, "offset": missed[0].offset - 1}
        connection = await Connection.open(self._cluster.nodes[index].socket_url, "late")
        try:
            began = time.perf_counter()
            answer = await connection.call("resume", streams={stream: since})
            self._took_ms.append((time.perf_counter() - began) * 1000)
        finally:
            connection.cut()
        part = answer["streams"][stream] if "streams" in answer else {"messages": []}
        got = [Position(p["id"], p["stream"], p["epoch"], p["offset"]) for p in part["messages"]]
        if got != missed:
            self.wrong.append(f"n{index + 1}: {stream}: {len(got)} of {len(missed)} messages")
