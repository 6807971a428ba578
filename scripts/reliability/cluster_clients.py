"""Publishers and subscribers of a cluster: they move on to another node when theirs is gone."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from itertools import count
from typing import Any

import msgspec

from scripts.benchmark.http_client import HttpClient
from scripts.benchmark.tokens import make_token
from scripts.reliability.client import Connection, Gone
from scripts.reliability.cluster_nodes import FAULTS_OF_CLIENTS, Cluster
from scripts.reliability.cluster_presence import opened
from scripts.reliability.cluster_times import Times
from scripts.reliability.journal import Journal, JournalEntry, Position, position_of
from scripts.reliability.server import API, Server

SESSIONS = ("s1", "s2", "s3")
PAUSE_S = 0.02
"""Between two messages of one publisher."""
AGAIN_S = 0.1
"""Before the same message is sent again."""
ANSWER_S = 20.0
"""Without an answer for so long, a client tries another node."""
AGAIN_SHARE = 0.05
"""Of the acknowledged messages are sent again with the same key, to any node."""
SILENT_S = 3.0


class Publisher:
    """Publishes one message after the other, each until it is acknowledged, on whatever node."""

    def __init__(
        self,
        name: str,
        cluster: Cluster,
        journal: Journal,
        chance: random.Random,
        times: Times,
    ) -> None:
        self._name = name
        self._times = times
        self._began = 0.0
        self._cluster = cluster
        self._journal = journal
        self._chance = chance
        self._numbers = count()
        self.retried = 0
        self.ends = False
        """Set to end it after the message that it is publishing."""

    async def run(self) -> None:
        """Publish until ``ends``."""
        entry: JournalEntry | None = None
        is_again = False
        """Whether it was acknowledged already: the answer has to be the same, on any node."""
        while not (self.ends and entry is None):
            node = self._cluster.any_node(self._chance)
            if node is None:
                await asyncio.sleep(PAUSE_S)
                continue
            with suppress(*FAULTS_OF_CLIENTS):
                async with (
                    asyncio.timeout(ANSWER_S),
                    HttpClient(node.port, make_token(self._name, "service")) as http,
                ):
                    for _ in range(20):  # then another node
                        if entry is None:
                            if self.ends:
                                return
                            entry = self._begin()
                            is_again = False
                        await self._publish(http, entry)
                        if not is_again and self._chance.random() < AGAIN_SHARE:
                            is_again = True
                            self._began = self._times.began()
                            break
                        entry = None
                        await asyncio.sleep(PAUSE_S)
            if entry is not None:
                self.retried += 1
                await asyncio.sleep(AGAIN_S)

    def _begin(self) -> JournalEntry:
        stream = self._chance.choice([*(f"session:{each}" for each in SESSIONS), "user:reader"])
        self._began = self._times.began()
        return self._journal.begin(f"{self._name}-{next(self._numbers)}", stream)

    async def _publish(self, http: HttpClient, entry: JournalEntry) -> None:
        kind, _, id_ = entry.stream.partition(":")
        if kind == "session":
            path = f"/sessions/{id_}/messages"
            body: dict[str, Any] = {"type": "new_message", "content": entry.key}
        else:
            path = f"/users/{id_}/messages"
            body = {"type": "torture.note", "keep": True, "data": entry.key}
        answer = await http.post(API + path, msgspec.json.encode(body), entry.key)
        self._journal.acknowledge(entry, position_of(answer))
        self._times.acknowledged(self._began)


class Subscriber:
    """Follows all streams, through every end of its connection, from the positions it has seen.

    On one connection each offset has to be the one after the last: no gap, nothing twice.
    """

    def __init__(self, name: str, cluster: Cluster, journal: Journal, chance: random.Random):
        self._user = name
        self._cluster = cluster
        self._journal = journal
        self._chance = chance
        self.seen: dict[str, list[Position]] = {f"session:{each}": [] for each in SESSIONS}
        if name == "reader":
            self.seen["user:reader"] = []
        self.inbox: set[int] = set()
        """Offsets of the inbox that have come, in whatever order."""
        self.connects = 0
        self.connection: Connection | None = None
        """The one that it has now."""
        self._ended_by = ""
        """Why its last connection ended."""
        self._is_refused = False
        """Whether it joined, but could not resume: what came meanwhile follows on nothing."""
        self._is_strict = False
        """False between a join and the end of the resume behind it, which may bring the same."""

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            node = self._cluster.any_node(self._chance)
            if node is not None:
                try:
                    await self._follow(node)
                except FAULTS_OF_CLIENTS as error:
                    self._ended_by = repr(error)
            await asyncio.sleep(self._chance.uniform(0.01, 0.2))

    async def _follow(self, node: Server) -> None:
        connection = await opened(self._cluster, node, self._user, self._take)
        self.connection = connection
        try:
            async with asyncio.timeout(ANSWER_S):
                self._is_strict = True
                self._is_refused = False
                with connection.holding():
                    try:
                        await self._resume(connection)
                    except BaseException:
                        self._is_refused = True
                        raise
                self._is_strict = True
            self.connects += 1
            while not connection.ended.is_set():
                # A node that is stopped, or cut off from the network, says nothing at all.
                with suppress(TimeoutError):
                    await asyncio.wait_for(connection.ended.wait(), SILENT_S)
                if not connection.ended.is_set():
                    await asyncio.wait_for(connection.ask("ping"), SILENT_S)
        finally:
            self.connection = None
            connection.cut()

    async def _resume(self, connection: Connection) -> None:
        wanted = {}
        for name, seen in self.seen.items():
            kind, _, id_ = name.partition(":")
            position = {"epoch": seen[-1].epoch, "offset": seen[-1].offset} if seen else None
            if kind == "session" and position is None:
                self._is_strict = False
                joined = await connection.call("join_session", session_id=id_)
                if "epoch" not in joined:
                    raise Gone(str(joined))
                position = {"epoch": joined["epoch"], "offset": 0}
            if position is not None:
                wanted[name] = position
        answer = await connection.call("resume", streams=wanted)
        if "streams" not in answer:
            raise Gone(str(answer))
        for name, part in answer["streams"].items():
            if not part["recovered"]:
                self._fault(f"{name} not recovered: {part['reason']}")
            for push in part["messages"]:
                self._note(push)

    def _take(self, payload: bytes) -> None:
        if self._is_refused:
            return
        push = msgspec.json.decode(payload)
        if "offset" in push and push["type"] != "ack":
            self._note(push)
            if push.get("stream") == "user:reader" and self.connection is not None:
                with suppress(Gone):
                    self.connection.ask("ack", ids=[push["id"]])

    def _note(self, push: dict[str, Any]) -> None:
        seen = self.seen.get(push.get("stream", ""))
        if seen is None:
            return
        position = Position(push["id"], push["stream"], push["epoch"], push["offset"])
        if position.stream.startswith("user:"):
            # Messages of an inbox are redelivered until acknowledged: repetitions are expected.
            self.inbox.add(position.offset)
            if not seen or position.offset > seen[-1].offset:
                seen.append(position)
            return
        expected = seen[-1].offset + 1 if seen else 1
        if position.offset == expected:
            seen.append(position)
        elif position.offset < expected:
            if self._is_strict:
                self._fault(f"{position.stream}: {position.offset} twice")
        else:
            self._fault(f"{position.stream}: {position.offset} where {expected} was due")
            seen.append(position)

    def _fault(self, text: str) -> None:
        self._journal.findings.other.append(f"{self._user}: {text}")

    async def misses(self, users: set[str]) -> str:
        """What its node says of the users in a session, other than these; empty: nothing.

        Raises what the connection does.
        """
        connection = self.connection
        if connection is None:
            return f"{self._user} is not connected: {self._ended_by}"
        answer = await connection.call("presence", session_id=SESSIONS[0])
        found = {each["user_id"] for each in answer.get("users", ())}
        if found == users:
            return ""
        return f"{self._user} sees {sorted(found)} in {SESSIONS[0]}"

    def is_at(self, ends: dict[str, int]) -> bool:
        """Whether it has seen the streams up to these offsets."""
        return all(
            (seen[-1].offset if seen else 0) >= ends.get(name, 0)
            if name.startswith("session:")
            else len(self.inbox) >= ends.get(name, 0)
            for name, seen in self.seen.items()
        )

    def behind(self, ends: dict[str, int]) -> str:
        """Where it is, where it should be, and why its last connection ended."""
        at = {name: seen[-1].offset if seen else 0 for name, seen in self.seen.items()}
        missing = sorted(set(range(1, ends.get("user:reader", 0) + 1)) - self.inbox)[:10]
        inbox = f" without {missing} of its inbox" if self.inbox and missing else ""
        return f"{self._user} is at {at}{inbox} of {ends}; its last connection: {self._ended_by}"

    def check(self) -> None:
        """Compare what was seen with what is stored."""
        stored = {(each.stream, each.offset): each for each in self._journal.found.values()}
        for seen in self.seen.values():
            for position in seen:
                if stored.get((position.stream, position.offset)) != position:
                    self._fault(f"seen, but not stored: {position}")
