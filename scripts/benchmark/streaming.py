"""What event streams cost, beside WebSockets of the same server."""

from __future__ import annotations

import asyncio

from scripts.benchmark.stage import Stage
from scripts.benchmark.workloads import SETTLE_S, Figures, Size, broadcasts, timed_every

IDLE_FACTOR = 4
"""So many times as many idle streams, which are weighed."""


async def event_streams(stage: Stage, size: Size) -> Figures:
    """Broadcasts to event streams; more of them that are idle; broadcasts to WebSockets."""
    every = timed_every(size)
    opened = await stage.crew.connect(size.connections, timed_every=every, is_stream=True)
    streamed = await broadcasts(stage, size)
    await asyncio.sleep(SETTLE_S)
    before = stage.server.rss_bytes()
    idle = await stage.crew.connect(IDLE_FACTOR * size.connections, is_stream=True)
    await asyncio.sleep(SETTLE_S)
    weighed = IDLE_FACTOR * size.connections - idle["failed"]
    kb_each = (stage.server.rss_bytes() - before) / 1024 / max(1, weighed)
    await stage.crew.ask("close_streams")
    await asyncio.sleep(SETTLE_S)
    connected = await stage.crew.connect(size.connections, timed_every=every)
    pushed = await broadcasts(stage, size)
    own, other = streamed["per_cpu_s"], pushed["per_cpu_s"]
    return {
        **streamed,
        "socket_per_cpu_s": other,
        "ratio": own / other if own and other else None,
        "socket_p99_ms": pushed["p99_ms"],
        "socket_payload_bytes": pushed["payload_bytes"],
        "kb_each": kb_each,
        "connects_per_s": weighed / idle["seconds"],
        "missing": (streamed["missing"] or 0) + (pushed["missing"] or 0),
        "failed": opened["failed"] + idle["failed"] + connected["failed"],
    }
