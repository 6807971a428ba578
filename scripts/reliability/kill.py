"""SIGKILL at random moments under load, then a restart: is what was acknowledged still there?"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from itertools import count
from typing import Any

import msgspec

from scripts.benchmark.http_client import HttpClient, RequestError
from scripts.benchmark.tokens import make_token
from scripts.reliability.client import Connection, Gone
from scripts.reliability.journal import Journal, JournalEntry, Position, SqliteRows, position_of
from scripts.reliability.report import Verdict, percentile
from scripts.reliability.server import API, Server

READY_LIMIT_S = 3.0
LONGEST_LIFE_S = 0.8
SESSIONS = ("s1", "s2", "s3")
INBOX = "user:away"
IN_FLIGHT = 8
"""Messages that a publisher over a socket sends before it waits for the first answer."""
BATCH = 20
REPEATED = 3
"""Acknowledged messages that each publisher sends once more when the server is back."""
ENVIRONMENT = {
    # Nothing may go for its number: everything acknowledged is looked for.
    "WSSERVER_STREAM_LIMIT": "1000000",
    # The listener may have to catch up with more than one life of the server.
    "WSSERVER_QUEUE_LIMIT_BYTES": str(64 * 1024 * 1024),
}
_FAULTS = (OSError, EOFError, Gone, TimeoutError)

Publish = Callable[[list[JournalEntry]], Awaitable[None]]


@dataclass(frozen=True)
class KillSettings:
    """How long the torment lasts."""

    rounds: int = 100
    publishers: int = 4
    """Over REST; as many over sockets, and half as many with batches."""


class Listener:
    """A client that follows the sessions through every crash."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.seen: dict[str, list[Position]] = {f"session:{name}": [] for name in SESSIONS}

    async def follow(self, server: Server) -> None:
        """Come back with the positions, and listen until the server is gone."""
        connection = await Connection.open(server.socket_url, "listener", self._take)
        wanted = {}
        with connection.holding():
            for name, seen in self.seen.items():
                if seen:
                    wanted[name] = {"epoch": seen[-1].epoch, "offset": seen[-1].offset}
                else:
                    joined = await connection.call("join_session", session_id=name[8:])
                    wanted[name] = {"epoch": joined["epoch"], "offset": 0}
            answer = await connection.call("resume", streams=wanted)
            for name, part in answer["streams"].items():
                if not part["recovered"]:
                    self._journal.findings.other.append(f"{name} not recovered: {part['reason']}")
                for push in part["messages"]:
                    self._note(push)
        await connection.ended.wait()

    def _take(self, payload: bytes) -> None:
        push = msgspec.json.decode(payload)
        if "offset" in push:
            self._note(push)

    def _note(self, push: dict[str, Any]) -> None:
        seen = self.seen.get(push["stream"])
        if seen is None:
            return
        position = Position(push["id"], push["stream"], push["epoch"], push["offset"])
        if not seen or position.offset > seen[-1].offset:
            seen.append(position)

    def check(self) -> None:
        """Check that all messages seen, also before a crash, are in the file without a gap."""
        stored = {
            (position.stream, position.offset): position
            for position in self._journal.found.values()
        }
        for name, seen in self.seen.items():
            for position in seen:
                if stored.get((name, position.offset)) != position:
                    self._journal.findings.other.append(f"seen, but not stored: {position}")
            offsets = [position.offset for position in seen]
            if offsets != list(range(1, len(offsets) + 1)):
                self._journal.findings.other.append(f"{name}: the listener has gaps")


class Load:
    """The publishers of one life of the server; what they leave unknown, the next life retries."""

    def __init__(
        self, server: Server, journal: Journal, settings: KillSettings, chance: random.Random
    ) -> None:
        self._server = server
        self._journal = journal
        self._settings = settings
        self._chance = chance
        self._numbers = count()
        self._batches: dict[str, list[JournalEntry]] = {}
        self.open: dict[str, list[JournalEntry]] = {}
        """By publisher: what was never acknowledged."""
        self.done: dict[str, list[JournalEntry]] = {}
        self.retried = 0

    async def run(self, *, is_endless: bool = True) -> None:
        """Publish until the server is gone; or only what is unknown."""
        n = self._settings.publishers
        crews = [self._over_rest(f"rest{i}", is_endless) for i in range(n)]
        crews += [self._over_socket(f"socket{i}", is_endless) for i in range(n)]
        crews += [self._with_batches(f"batch{i}", is_endless) for i in range(max(1, n // 2))]
        await asyncio.gather(*crews)

    def _begin(self, name: str, stream: str) -> JournalEntry:
        entry = self._journal.begin(f"{name}-{next(self._numbers)}", stream)
        self.open.setdefault(name, []).append(entry)
        return entry

    def _settle(self, name: str, entry: JournalEntry, answer: dict[str, Any]) -> None:
        was_open = entry.position is None
        self._journal.acknowledge(entry, position_of(answer))
        if was_open:
            self.open[name].remove(entry)
            self.done.setdefault(name, []).append(entry)

    def _again(self, name: str) -> list[JournalEntry]:
        """What is unknown, oldest first, and a few that are not."""
        unknown = list(self.open.get(name, ()))
        self.retried += len(unknown)
        known = self.done.get(name, [])
        return unknown + self._chance.sample(known, min(REPEATED, len(known)))

    async def _over_rest(self, name: str, is_endless: bool) -> None:
        streams = [*(f"session:{each}" for each in SESSIONS), INBOX, "broadcast"]

        async def publish(http: HttpClient, entry: JournalEntry) -> None:
            kind, _, id_ = entry.stream.partition(":")
            if kind == "session":
                path, body = f"/sessions/{id_}/messages", _message(entry.key)
            else:
                path = f"/users/{id_}/messages" if id_ else "/broadcast"
                body = {"type": "torture.note", "keep": True, "data": entry.key}
            answer = await http.post(API + path, msgspec.json.encode(body), entry.key)
            self._settle(name, entry, answer)

        with suppress(*_FAULTS):
            async with HttpClient(self._server.port, make_token(name, "service")) as http:
                for entry in self._again(name):
                    await publish(http, entry)
                while is_endless:
                    await publish(http, self._begin(name, self._chance.choice(streams)))

    async def _over_socket(self, name: str, is_endless: bool) -> None:
        with suppress(*_FAULTS):
            connection = await Connection.open(self._server.socket_url, name)
            for session_id in SESSIONS:
                await connection.call("join_session", session_id=session_id)
            again = self._again(name)
            while again or is_endless:
                entries, again = again[:IN_FLIGHT], again[IN_FLIGHT:]
                while is_endless and len(entries) < IN_FLIGHT:
                    session_id = self._chance.choice(SESSIONS)
                    entries.append(self._begin(name, f"session:{session_id}"))
                asked = [
                    connection.ask(
                        "send_message",
                        session_id=entry.stream[8:],
                        content=entry.key,
                        client_message_id=entry.key,
                    )
                    for entry in entries
                ]
                for entry, answer in zip(entries, asked, strict=True):
                    self._settle(name, entry, msgspec.json.decode(await answer))
            await connection.close()

    async def _with_batches(self, name: str, is_endless: bool) -> None:
        async def publish(http: HttpClient, key: str, entries: list[JournalEntry]) -> None:
            messages = [
                {**_message(each.key), "target": {"type": "session", "id": each.stream[8:]}}
                for each in entries
            ]
            body = msgspec.json.encode({"messages": messages})
            answer = await http.post(f"{API}/messages/batch", body, key)
            for entry, result in zip(entries, answer["results"], strict=True):
                self._settle(name, entry, result)

        with suppress(*_FAULTS):
            async with HttpClient(self._server.port, make_token(name, "service")) as http:
                for key, entries in list(self._batches.items()):
                    if key.startswith(name):
                        self.retried += sum(entry.position is None for entry in entries)
                        await publish(http, key, entries)
                        del self._batches[key]
                while is_endless:
                    stream = f"session:{self._chance.choice(SESSIONS)}"
                    entries = [self._begin(name, stream) for _ in range(BATCH)]
                    key = f"{name}:{entries[0].key}"
                    self._batches[key] = entries
                    await publish(http, key, entries)
                    del self._batches[key]


def _message(key: str) -> dict[str, Any]:
    return {"type": "new_message", "content": key}


async def torment(
    server: Server,
    settings: KillSettings,
    chance: random.Random,
    say: Callable[[str], None],
) -> Verdict:
    """Run all rounds; the server's folder should be new."""
    journal = Journal()
    listener = Listener(journal)
    load = Load(server, journal, settings, chance)
    unknown = 0
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.kill)
        for number in range(1, settings.rounds + 1):
            await _live(server, load, listener, chance.uniform(0.0, LONGEST_LIFE_S))
            await server.start()
            unknown += len(journal.unknown())
            journal.check(SqliteRows(server.database))
            listener.check()
            await server.kill()
            if number % 10 == 0 or journal.findings.all:
                say(f"round {number}: {journal.rows:,} stored, {len(journal.findings.all)} faults")
            if journal.findings.all:
                break
        await server.start()
        await load.run(is_endless=False)
        rows = journal.rows
        journal.check(SqliteRows(server.database))
        added = journal.rows - rows
        left = len(journal.unknown())
        status = await server.stop()
    findings = journal.findings
    ready_ms = [seconds * 1000 for seconds in server.ready_s]
    verdict = Verdict(f"kill: {settings.rounds} times SIGKILL under load")
    verdict.figure("messages published", len(journal.entries))
    verdict.figure("of them acknowledged", journal.acknowledged)
    verdict.figure("in the file", journal.rows)
    verdict.figure("outcome unknown after a kill", unknown)
    verdict.figure("sent again with the same key", load.retried)
    verdict.figure("of the last ones, stored only then", added)
    verdict.figure("seen by a listener across the kills", sum(map(len, listener.seen.values())))
    verdict.limit("acknowledged and lost", len(findings.lost), 0)
    verdict.limit("stored twice, or answered in two ways", len(findings.doubled), 0)
    verdict.limit("never acknowledged in the end", left, 0)
    verdict.limit("other faults", len(findings.other), 0)
    verdict.limit("in the file without having been published", _strays(journal), 0)
    verdict.figure("ready after, ms, median", percentile(ready_ms, 50))
    verdict.time("ready after, ms, the longest", max(ready_ms), READY_LIMIT_S * 1000)
    verdict.limit("exit status after SIGTERM", status, 0)
    verdict.notes = findings.all[:10]
    return verdict


def _strays(journal: Journal) -> int:
    return len(journal.found.keys() - journal.entries.keys())


async def _live(server: Server, load: Load, listener: Listener, seconds: float) -> None:
    """One life of the server: started, loaded, killed."""
    await server.start()
    tasks = [asyncio.ensure_future(load.run()), asyncio.ensure_future(listener.follow(server))]
    try:
        await asyncio.sleep(seconds)
    finally:
        await server.kill()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, RequestError) or (
            isinstance(outcome, BaseException) and not isinstance(outcome, _FAULTS)
        ):
            raise outcome
