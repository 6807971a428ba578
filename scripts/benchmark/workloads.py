"""W1 to W5: what every server is measured by."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from scripts.benchmark.crew import percentile_ms
from scripts.benchmark.stage import Stage, Used, merged, total

Figures = dict[str, float | None]
"""What a workload found, by the keys of ``report.COLUMNS``."""

COLLECT_TIMEOUT_S = 60.0
WARM_UP_CONNECTIONS = 500
SETTLE_S = 1.0
TIMED_MESSAGES = 50_000
"""About how many deliveries are timed; taking the time of each would slow the clients down."""


@dataclass(frozen=True)
class Size:
    """How much of it."""

    connections: int
    messages: int = 0
    seconds: float = 0.0
    publishers: int = 1
    rate: float | None = None
    sessions: int = 0
    megabytes: int = 0
    """Of a file, in MiB."""


async def fan_out(stage: Stage, size: Size) -> Figures:
    """Broadcasts to all connections: each must arrive everywhere."""
    opened = await stage.crew.connect(size.connections, timed_every=timed_every(size))
    return {**await broadcasts(stage, size), "failed": opened["failed"]}


def timed_every(size: Size) -> int:
    """Of how many connections one takes times."""
    return max(1, size.connections * size.messages // TIMED_MESSAGES)


async def broadcasts(stage: Stage, size: Size) -> Figures:
    """Broadcasts to the connections that are open."""
    await _warm_up(stage)
    await stage.crew.ask("expect", messages=size.messages)
    began_ns = time.monotonic_ns()
    with stage.measure() as used:
        await stage.broadcast(size.messages, publishers=size.publishers, rate=size.rate)
        answers = await stage.crew.ask("collect", timeout_s=COLLECT_TIMEOUT_S)
    received = total(answers, "received")
    wall_s = (max(answer["completed_ns"] for answer in answers) - began_ns) / 1e9
    micros = merged(answers, "micros")
    return {
        "per_s": received / wall_s,
        "per_cpu_s": received / used.server_s if used.server_s else None,
        "p50_ms": percentile_ms(micros, 50),
        "p99_ms": percentile_ms(micros, 99),
        **_on_other_nodes(stage, answers),
        "payload_bytes": total(answers, "payload_bytes") / received if received else None,
        "missing": total(answers, "missing"),
        **shares(stage, used),
    }


async def echo(stage: Stage, size: Size) -> Figures:
    """Each connection pings as soon as it has its pong."""
    opened = await stage.crew.connect(size.connections)
    with stage.measure() as used:
        answers = await stage.crew.ask("echo", seconds=size.seconds)
    pongs = total(answers, "pongs")
    micros = merged(answers, "micros")
    return {
        "per_s": pongs / max(answer["seconds"] for answer in answers),
        "per_cpu_s": pongs / used.server_s if used.server_s else None,
        "p50_ms": percentile_ms(micros, 50),
        "p99_ms": percentile_ms(micros, 99),
        "failed": opened["failed"],
        **shares(stage, used),
    }


async def idle(stage: Stage, size: Size) -> Figures:
    """Connections that say nothing: how fast they come, and what they weigh."""
    # What the first ones bring in (modules, pools, arenas) is not theirs alone.
    await stage.crew.connect(min(WARM_UP_CONNECTIONS, size.connections))
    await asyncio.sleep(SETTLE_S)
    before = stage.server.rss_bytes()
    with stage.measure() as used:
        opened = await stage.crew.connect(size.connections)
    await asyncio.sleep(SETTLE_S)
    connected = size.connections - opened["failed"]
    return {
        "kb_each": (stage.server.rss_bytes() - before) / 1024 / max(1, connected),
        "connects_per_s": connected / opened["seconds"],
        "connects_per_cpu_s": connected / used.server_s if used.server_s else None,
        "failed": opened["failed"],
        **shares(stage, used),
    }


def _on_other_nodes(stage: Stage, answers: list[dict[str, Any]]) -> Figures:
    """Delivery by the nodes on which nothing was published."""
    others = stage.crew.of_other_nodes(answers)
    return {"other_p99_ms": percentile_ms(merged(others, "micros"), 99)} if others else {}


async def _warm_up(stage: Stage) -> None:
    await stage.crew.ask("expect", messages=1)
    await stage.broadcast(1)
    await stage.crew.ask("collect", timeout_s=COLLECT_TIMEOUT_S)


def shares(stage: Stage, used: Used) -> Figures:
    """Who used how much of the machine meanwhile."""
    return {
        "server_cpu": used.server_s / used.wall_s,
        **({} if stage.server.kind.is_plain else {"backends_cpu": used.backends_s / used.wall_s}),
        "client_cpu": stage.client_share(used),
        "other_cpu": used.others_s / used.wall_s,
    }
