"""What only a server in real life meets: slow readers, coming and going, very many."""

from __future__ import annotations

import asyncio
import re
import time
from itertools import pairwise

from scripts.benchmark.crew import percentile_ms
from scripts.benchmark.pauses import longest_ms, read
from scripts.benchmark.stage import Stage, merged, total
from scripts.benchmark.task_counts import latest
from scripts.benchmark.workloads import COLLECT_TIMEOUT_S, SETTLE_S, Figures, Size, shares

SLOW_READERS = 50
SLOW_MESSAGE_BYTES = 32 * 1024
CHURN_AT_ONCE = 50
"""Of all processes together."""
CHURN_WARM_UP = 500
BYSTANDER_PAUSE_S = 0.002
ALONE_S = 3.0
MB = 1024 * 1024


async def slow_readers(stage: Stage, size: Size) -> Figures:
    """Some stop reading while much is broadcast: memory stays bounded, others notice nothing."""
    opened = await stage.crew.connect(size.connections)
    worker = stage.crew.workers[0]
    first = stage.crew.users(SLOW_READERS)
    await worker.ask("add_uncounted", **stage.crew.target, first=first, count=SLOW_READERS)
    before_ms, missing_before, _ = await _timed_broadcasts(stage, size)
    await worker.ask("stop_reading")
    with stage.measure() as used:
        during_ms, missing, grown = await _timed_broadcasts(stage, size)
    # As JSON, as it is in a file.
    closed = r'^.*"event": "connection closed".*"code": 4002\b'
    cut_off = len(re.findall(closed, stage.server.log, re.MULTILINE))
    return {
        "p99_before_ms": before_ms,
        "p99_during_ms": during_ms,
        "grown_mb": grown / MB,
        "offered_mb": size.messages * SLOW_MESSAGE_BYTES * SLOW_READERS / MB,
        "cut_off": cut_off,
        "not_cut_off": SLOW_READERS - cut_off,
        "missing": missing_before + missing,
        "failed": opened["failed"],
        **shares(stage, used),
    }


async def _timed_broadcasts(stage: Stage, size: Size) -> tuple[float | None, int, int]:
    """Their p99 in ms, how many were missing, and by how many bytes the server grew meanwhile."""
    before = largest = stage.server.rss_bytes()
    await stage.crew.ask("expect", messages=size.messages)
    publishing = asyncio.create_task(
        stage.broadcast(size.messages, rate=size.rate, size=SLOW_MESSAGE_BYTES)
    )
    while not publishing.done():
        await asyncio.wait({publishing}, timeout=0.05)
        largest = max(largest, stage.server.rss_bytes())
    await publishing
    answers = await stage.crew.ask("collect", timeout_s=COLLECT_TIMEOUT_S)
    p99_ms = percentile_ms(merged(answers, "micros"), 99)
    return p99_ms, total(answers, "missing"), largest - before


async def churn(stage: Stage, size: Size) -> Figures:
    """Connect and leave, again and again: everything goes back to where it was."""
    await stage.crew.churn(min(CHURN_WARM_UP, size.connections), CHURN_AT_ONCE)
    await asyncio.sleep(SETTLE_S)
    before, tasks_before = stage.server.state(), latest(stage.server.folder)
    with stage.measure() as used:
        went = await stage.crew.churn(size.connections, CHURN_AT_ONCE)
    await asyncio.sleep(SETTLE_S)
    after, tasks_after = stage.server.state(), latest(stage.server.folder)
    return {
        "cycles_per_s": size.connections / went["seconds"],
        "cycles_per_cpu_s": size.connections / used.server_s if used.server_s else None,
        "descriptors_before": before.descriptors,
        "descriptors_after": after.descriptors,
        "threads_before": before.threads,
        "threads_after": after.threads,
        "tasks_before": tasks_before,
        "tasks_after": tasks_after,
        "rss_before_mb": before.rss_bytes / MB,
        "rss_after_mb": after.rss_bytes / MB,
        "failed": went["failed"],
        **shares(stage, used),
    }


async def many(stage: Stage, size: Size) -> Figures:
    """As many connections as there may be: broadcasts to all, and a bystander that pings."""
    before = stage.server.rss_bytes()
    times = [time.monotonic()]
    opened = await stage.crew.connect(size.connections)
    times.append(time.monotonic())
    async with stage.crew.one_more(stage.client_cores) as bystander:
        first = stage.crew.users(1)
        await bystander.ask("connect", **stage.crew.target, first=first, count=1, timed_every=1)
        await asyncio.sleep(SETTLE_S)
        weight = stage.server.rss_bytes() - before
        alone = await bystander.ask("echo", seconds=ALONE_S, pause_s=BYSTANDER_PAUSE_S)
        with stage.measure() as used:
            await asyncio.sleep(size.seconds)
        times.append(time.monotonic())
        await stage.crew.ask("expect", messages=size.messages)
        rate = size.rate or 1.0
        echoing = asyncio.create_task(
            bystander.ask("echo", seconds=size.messages / rate + 1, pause_s=BYSTANDER_PAUSE_S)
        )
        await stage.broadcast(size.messages, rate=rate)
        answers = await stage.crew.ask("collect", timeout_s=COLLECT_TIMEOUT_S)
        beside = await echoing
    times.append(time.monotonic())
    parts = [read(stage.server.folder, *stretch) for stretch in pairwise(times)]
    pauses_connecting, pauses_idle, pauses_broadcast = parts
    pauses = [pause for part in parts for pause in part]
    micros = merged(answers, "micros")
    connected = size.connections - opened["failed"]
    return {
        "connected": connected,
        "failed": opened["failed"],
        "lost": total(answers, "lost"),
        "missing": total(answers, "missing"),
        "connects_per_s": connected / opened["seconds"],
        "kb_each": weight / 1024 / max(1, connected),
        "idle_cpu": used.server_s / used.wall_s,
        "p50_ms": percentile_ms(micros, 50),
        "p99_ms": percentile_ms(micros, 99),
        "max_ms": percentile_ms(micros, 100),
        "bystander_alone_p99_ms": percentile_ms(alone["micros"], 99),
        "bystander_p99_ms": percentile_ms(beside["micros"], 99),
        "bystander_max_ms": percentile_ms(beside["micros"], 100),
        "pause_connecting_ms": longest_ms(pauses_connecting, "loop"),
        "pause_idle_ms": longest_ms(pauses_idle, "loop"),
        "pause_broadcast_ms": longest_ms(pauses_broadcast, "loop"),
        "collections": sum(p.what.startswith("gc") for p in pauses),
        "collection_ms": longest_ms(pauses, "gc"),
    }
