"""What uploads cost: how fast a large one is, and what others notice of smaller ones."""

from __future__ import annotations

import asyncio

from scripts.benchmark.crew import percentile_ms
from scripts.benchmark.stage import Stage, merged
from scripts.benchmark.talking import CALM_PAUSE_S
from scripts.benchmark.workloads import SETTLE_S, Figures, Size, shares

LARGE_TIMES = 3
"""Large files, one after the other."""
SMALL_BYTES = 20_000_000
UPLOAD_ENVIRONMENT = {"WSSERVER_MAX_FILE_BYTES": str(2**30), "WSSERVER_FILE_QUOTA_BYTES": "0"}


async def uploads(stage: Stage, size: Size) -> Figures:
    """Large uploads alone; then clients that ping, without and with uploads of 20 MB."""
    target = {**stage.crew.target, "first": stage.crew.users(1)}
    opened = await stage.crew.connect(size.connections)
    async with stage.crew.one_more(stage.client_cores) as uploader:
        with stage.measure() as used:
            large = await uploader.ask(
                "upload", **target, length=size.megabytes << 20, times=LARGE_TIMES, seconds=0
            )
        await asyncio.sleep(SETTLE_S)
        before = await stage.crew.ask("echo", seconds=size.seconds, pause_s=CALM_PAUSE_S)
        await asyncio.sleep(SETTLE_S)  # the last pings are not to go on in the next stretch
        uploading = asyncio.create_task(
            uploader.ask("upload", **target, length=SMALL_BYTES, times=1, seconds=size.seconds)
        )
        during = await stage.crew.ask("echo", seconds=size.seconds, pause_s=CALM_PAUSE_S)
        small = await uploading
    p99_before = percentile_ms(merged(before, "micros"), 99)
    p99_during = percentile_ms(merged(during, "micros"), 99)
    return {
        "mb_per_s": large["bytes"] / large["seconds"] / 1e6,
        "mb_per_cpu_s": large["bytes"] / used.server_s / 1e6 if used.server_s else None,
        "small": small["count"],
        "p99_before_ms": p99_before,
        "p99_during_ms": p99_during,
        "p99_more_ms": None
        if p99_before is None or p99_during is None
        else p99_during - p99_before,
        "lost": size.connections - opened["failed"] - sum(each["clients"] for each in during),
        "failed": opened["failed"],
        **shares(stage, used),
    }
