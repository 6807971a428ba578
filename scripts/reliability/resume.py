"""Everybody comes back at once: many clients, each with a thousand messages to catch up with."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from scripts.benchmark.http_client import HttpClient
from scripts.benchmark.tokens import make_token
from scripts.reliability.client import Connection
from scripts.reliability.report import Verdict, percentile
from scripts.reliability.server import API, Server

AT_ONCE = 32
_OFFSET = re.compile(rb'"offset":(\d+)\}')


@dataclass(frozen=True)
class ResumeSettings:
    """How many come back, and to how much."""

    clients: int = 500
    messages: int = 1000
    limit_s: float = 2.0


@dataclass(frozen=True)
class Crowd:
    """What came of everybody's resuming at once."""

    answered_s: list[float]
    """Each client's, from the moment in which the first one asked."""
    incomplete: int


async def torment(server: Server, settings: ResumeSettings, say: Callable[[str], None]) -> Verdict:
    """Resume from memory, and from the file after a restart; one session, and one for each."""
    shared = ["everybody"] * settings.clients
    own = [f"own{number}" for number in range(settings.clients)]
    await server.start()
    epoch = await _fill(server, shared[:1], settings)
    verdict = Verdict(
        f"resume: {settings.clients} clients, {settings.messages:,} messages each, all at once"
    )
    crowds = [("one session, from memory", shared, True)]
    await _tell(server, crowds, epoch, settings, verdict)
    say("one session: done, restarting")
    await server.stop()
    await server.start()
    await _tell(server, [("one session, after a restart", shared, True)], epoch, settings, verdict)
    say("filling a session for each client")
    await _fill(server, own, settings)
    await server.stop()
    await server.start()
    await _tell(server, [("own sessions, after a restart", own, False)], epoch, settings, verdict)
    verdict.limit("exit status after SIGTERM", await server.stop(), 0)
    return verdict


async def _tell(
    server: Server,
    crowds: Sequence[tuple[str, Sequence[str], bool]],
    epoch: str,
    settings: ResumeSettings,
    verdict: Verdict,
) -> None:
    for name, sessions, has_limit in crowds:
        crowd = await _come_back(server, sessions, epoch, settings)
        last_ms = max(crowd.answered_s, default=0) * 1000
        verdict.limit(f"{name}: incomplete answers", crowd.incomplete, 0)
        verdict.figure(f"{name}: ms, median", percentile(crowd.answered_s, 50) * 1000)
        if has_limit:
            verdict.time(f"{name}: ms, the last one", last_ms, settings.limit_s * 1000)
        else:
            verdict.figure(f"{name}: ms, the last one", last_ms)


async def _come_back(
    server: Server, sessions: Sequence[str], epoch: str, settings: ResumeSettings
) -> Crowd:
    """Connect all, then let all ask in the same moment."""
    connections: list[Connection] = []
    numbers = iter(range(len(sessions)))

    async def connect() -> None:
        for number in numbers:
            connections.append(await Connection.open(server.socket_url, f"u{number}"))

    await asyncio.gather(*(connect() for _ in range(AT_ONCE)))
    answered_s: list[float] = []
    incomplete = 0
    began = time.monotonic()
    asked = []
    for connection, session_id in zip(connections, sessions, strict=True):
        streams = {f"session:{session_id}": {"epoch": epoch, "offset": 0}}
        future = connection.ask("resume", streams=streams)
        future.add_done_callback(lambda _: answered_s.append(time.monotonic() - began))
        asked.append(future)
    wanted = list(range(1, settings.messages + 1))
    for answer in await asyncio.gather(*asked, return_exceptions=True):
        offsets = _OFFSET.findall(answer) if isinstance(answer, bytes) else []
        incomplete += list(map(int, offsets)) != wanted
    for connection in connections:
        connection.cut()
    return Crowd(answered_s, incomplete)


async def _fill(server: Server, sessions: Sequence[str], settings: ResumeSettings) -> str:
    """Keep the messages in each session; returns the epoch."""
    epoch = ""
    async with HttpClient(server.port, make_token("backend", "service")) as http:
        for session_id in sessions:
            message = {
                "type": "new_message",
                "content": "x" * 64,
                "target": {"type": "session", "id": session_id},
            }
            body = msgspec.json.encode({"messages": [message] * settings.messages})
            answer = await http.post(f"{API}/messages/batch", body)
            epoch = answer["results"][-1]["epoch"]
            if answer["results"][-1]["offset"] != settings.messages:
                raise RuntimeError(f"not all were kept: {answer['results'][-1]}")
    return epoch
