"""The largest reads that clients can ask for: how much memory they cost, and whom they delay."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from scripts.benchmark.http_client import HttpClient
from scripts.benchmark.tokens import make_token
from scripts.reliability.client import Connection, Gone
from scripts.reliability.report import Verdict, percentile
from scripts.reliability.server import API, Server

SESSION = "large"
OTHER = "small"
READER = "reader"
MESSAGE_BYTES = 990_000


@dataclass(frozen=True)
class ReadSettings:
    """How much there is to be read, and for how long."""

    messages: int = 300
    """Of almost 1 MB each, in one session; a third of them in an inbox."""
    streams: int = 30
    """Sessions with eight such messages each, resumed together."""
    seconds: float = 8.0
    """For which one user reads without a pause."""
    growth_limit_mib: float = 150.0
    delay_limit_ms: float = 20.0


Act = Callable[[Server, str], Awaitable[None]]
"""Something that a client asks for; gets the epoch of all streams."""


async def torment(server: Server, settings: ReadSettings, say: Callable[[str], None]) -> Verdict:
    """Ask for each of the reads in a fresh process, then for the worst one again and again."""
    await server.start()
    say(f"keeping {settings.messages + settings.streams * 8 + settings.messages // 3} MB")
    epoch = await _fill(server, settings)
    verdict = Verdict(f"reads: {settings.messages} messages of 1 MB in one session")
    acts: dict[str, Act] = {
        "a page of 1000 over REST": _page,
        "four who ask for it and do not read": _unread_pages,
        "resume from the beginning": _resume,
        f"resume of {settings.streams} streams": _resume_many(settings.streams),
        "an inbox at connect": _inbox,
    }
    for name, act in acts.items():
        await server.stop()
        await server.start()
        say(name)
        growth, longest_ms = await _cost(server, act, epoch)
        verdict.limit(f"{name}: MiB more", growth, settings.growth_limit_mib)
        verdict.figure(f"{name}: longest ping, ms", longest_ms)
    say("one user reads without a pause, another one now and then")
    alone, beside = await _delays(server, settings)
    verdict.figure("a small page, alone: ms, p99", percentile(alone, 99))
    verdict.figure("beside a busy reader: ms, p99", percentile(beside, 99))
    delay_ms = max(0.0, percentile(beside, 99) - percentile(alone, 99))
    verdict.time("delayed by: ms", delay_ms, settings.delay_limit_ms)
    verdict.limit("exit status after SIGTERM", await server.stop(), 0)
    return verdict


async def _fill(server: Server, settings: ReadSettings) -> str:
    """Keep what is to be read; returns the epoch."""
    large = msgspec.json.encode({"type": "note", "keep": True, "data": "x" * MESSAGE_BYTES})
    targets = [f"sessions/{SESSION}"] * settings.messages
    targets += [f"sessions/{SESSION}{n % settings.streams}" for n in range(settings.streams * 8)]
    targets += [f"users/{READER}"] * (settings.messages // 3)
    epoch = ""
    async with HttpClient(server.port, make_token("backend", "service")) as http:
        for target in targets:
            epoch = (await http.post(f"{API}/{target}/messages", large))["epoch"]
        small = msgspec.json.encode({"type": "note", "keep": True, "data": "x" * 100})
        for _ in range(100):
            await http.post(f"{API}/sessions/{OTHER}/messages", small)
    return epoch


async def _page(server: Server, epoch: str) -> None:
    async with HttpClient(server.port, make_token(READER, "service")) as http:
        await http.get(f"{API}/sessions/{SESSION}/history?limit=1000")


async def _unread_pages(server: Server, epoch: str) -> None:
    """As much as the server offers to those who take nothing."""
    token = make_token(READER, "service")
    head = f"Host: 127.0.0.1:{server.port}\r\nAuthorization: Bearer {token}\r\n\r\n"
    path = f"{API}/sessions/{SESSION}/history?limit=1000"
    writers = []
    for _ in range(4):
        # No reader: what does not fit into the socket stays with the server.
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
        writer.write(f"GET {path} HTTP/1.1\r\n{head}".encode())
        writers.append((reader, writer))
    await asyncio.sleep(3)
    for _, writer in writers:
        writer.transport.abort()


async def _resume(server: Server, epoch: str) -> None:
    await _resumed(server, {f"session:{SESSION}": {"epoch": epoch, "offset": 0}})


def _resume_many(count: int) -> Act:
    async def act(server: Server, epoch: str) -> None:
        place = {"epoch": epoch, "offset": 0}
        await _resumed(server, {f"session:{SESSION}{number}": place for number in range(count)})

    return act


async def _resumed(server: Server, streams: dict[str, dict[str, object]]) -> None:
    connection = await Connection.open(server.socket_url, "u1")
    await connection.call("resume", streams=streams)
    await connection.close()


async def _inbox(server: Server, epoch: str) -> None:
    """Connect, take what comes for a second."""
    connection = await Connection.open(server.socket_url, READER)
    await asyncio.sleep(1)
    connection.cut()


async def _cost(server: Server, act: Act, epoch: str) -> tuple[float, float]:
    """MiB that the process grew by at its worst, and the longest ping of somebody else in ms."""
    async with _pings(server) as pings_ms:
        await asyncio.sleep(0.3)
        before = _status_mib(server.pid, "VmRSS")
        _note_peak_anew(server.pid)
        await act(server, epoch)
    return max(0.0, _status_mib(server.pid, "VmHWM") - before), max(pings_ms)


@asynccontextmanager
async def _pings(server: Server) -> AsyncIterator[list[float]]:
    """Round trips of somebody who only pings, in ms, for as long as this lasts."""
    found: list[float] = []
    connection = await Connection.open(server.socket_url, "bystander")

    is_over = asyncio.Event()

    async def ping() -> None:
        while not is_over.is_set():
            began = time.monotonic()
            await connection.call("ping")
            found.append((time.monotonic() - began) * 1000)
            await asyncio.sleep(0.005)

    pinging = asyncio.ensure_future(ping())
    try:
        yield found
    finally:
        # Not cancelled: until Python 3.12, ``wait_for`` may take a cancellation for an answer.
        is_over.set()
        with suppress(Gone, TimeoutError):
            await pinging
        await connection.close()


async def _delays(server: Server, settings: ReadSettings) -> tuple[list[float], list[float]]:
    """How long a small page takes one user, in ms: alone, and while another reads all the time."""
    alone = await _small_pages(server, settings.seconds / 2)
    busy = [asyncio.ensure_future(_read_on(server)) for _ in range(4)]
    await asyncio.sleep(0.5)
    beside = await _small_pages(server, settings.seconds)
    for task in busy:
        task.cancel()
    await asyncio.gather(*busy, return_exceptions=True)
    return alone, beside


async def _small_pages(server: Server, seconds: float) -> list[float]:
    found: list[float] = []
    until = time.monotonic() + seconds
    async with HttpClient(server.port, make_token("other", "service")) as http:
        while time.monotonic() < until:
            began = time.monotonic()
            await http.get(f"{API}/sessions/{OTHER}/history?limit=20")
            found.append((time.monotonic() - began) * 1000)
            await asyncio.sleep(0.005)
    return found


async def _read_on(server: Server) -> None:
    """Large pages, one after the other, until cancelled; they are thrown away unread."""
    async with HttpClient(server.port, make_token(READER, "service")) as http:
        while True:
            await http.get(f"{API}/sessions/{SESSION}/history?limit=1000")


def _note_peak_anew(pid: int) -> None:
    """Let the kernel forget how much memory a process once had (VmHWM)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="utf-8")


def _status_mib(pid: int, name: str) -> float:
    """A value of ``/proc/PID/status``, which are in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) / 1024
    raise LookupError(name)
