"""What clients that talk cost: messages that are kept, and one that floods."""

from __future__ import annotations

import asyncio
import json
import time

from scripts.benchmark.crew import percentile_ms
from scripts.benchmark.stage import Stage, merged, total
from scripts.benchmark.talkers import CONTENT, session_of
from scripts.benchmark.workloads import COLLECT_TIMEOUT_S, SETTLE_S, Figures, Size, shares

BATCH_PATH = "/api/v1/websocket/messages/batch"
SESSIONS_PATH = "/api/v1/websocket/sessions"
SETTING_UP = 8
"""Requests at the same time that make conversations."""
BATCH = 1000
WINDOW = 100
"""Messages of one connection that are sent and not acknowledged yet."""
STARTED_S = 4.0
"""Several processes that have just started count every message over all of them, and send each
other all events, until each knows of the others' monitors."""
CALM_PAUSE_S = 0.1
FLOOD_NICENESS = 19
"""The flooding client yields the clients' cores to the calm ones: their delay is the server's."""


async def kept(stage: Stage, size: Size) -> Figures:
    """Messages that are stored before anybody gets them: one by one with acks, then in batches."""
    users = await stage.crew.open_senders(size.connections)
    if stage.server.kind.processes > 1:
        await asyncio.sleep(STARTED_S)
    each = size.messages // size.connections
    began_ns = time.monotonic_ns()
    with stage.measure() as used:
        answers = await stage.crew.ask(
            "send_kept", messages=each, window=WINDOW, timeout_s=COLLECT_TIMEOUT_S
        )
    wall_s = (max(answer["completed_ns"] for answer in answers) - began_ns) / 1e9
    micros = merged(answers, "micros")
    sent = each * size.connections
    bodies = batches(users, sent)
    with stage.measure() as used_batches:
        stored = await _post(stage, bodies)
    pushed = await stage.crew.ask("pushed", each=2 * each, timeout_s=COLLECT_TIMEOUT_S)
    return {
        "per_s": len(micros) / wall_s,
        "per_cpu_s": len(micros) / used.server_s if used.server_s else None,
        "cpu_us": used.server_s / len(micros) * 1e6 if micros else None,
        "p50_ms": percentile_ms(micros, 50),
        "p99_ms": percentile_ms(micros, 99),
        "batched_per_s": stored / used_batches.wall_s,
        "batched_per_cpu_s": stored / used_batches.server_s if used_batches.server_s else None,
        "unstored": 2 * sent - len(micros) - stored,
        "missing": 2 * sent - total(pushed, "pushed"),
        **shares(stage, used),
    }


async def mark_read(stage: Stage, size: Size) -> Figures:
    """Everyone reads a session, message by message, and says so."""
    await stage.crew.open_senders(size.connections)
    each = size.messages // size.connections
    await stage.crew.ask("send_kept", messages=each, window=WINDOW, timeout_s=COLLECT_TIMEOUT_S)
    return await _commands(stage, "mark_read", each, WINDOW, size)


async def conversations(stage: Stage, size: Size) -> Figures:
    """Lists of conversations, again and again: first by one user alone, then by all at once."""
    users = await stage.crew.open_senders(size.connections)
    members = json.dumps({"user_ids": users}).encode()
    message = json.dumps({"type": "new_message", "content": CONTENT}).encode()
    numbers = iter(range(size.sessions))

    async def make() -> None:
        async with stage.client() as client:
            for number in numbers:
                path = f"{SESSIONS_PATH}/conversation-{number}"
                await client.put(f"{path}/members", members)
                await client.post(f"{path}/messages", message)

    await asyncio.gather(*(make() for _ in range(SETTING_UP)))
    each = size.messages // size.connections
    alone = await stage.crew.workers[0].ask(
        "send_commands",
        command="conversations",
        count=each,
        window=1,
        timeout_s=COLLECT_TIMEOUT_S,
        senders=1,
    )
    return {
        "alone_p50_ms": percentile_ms(alone["micros"], 50),
        "alone_p99_ms": percentile_ms(alone["micros"], 99),
        **await _commands(stage, "conversations", each, 1, size),
    }


async def _commands(stage: Stage, command: str, each: int, window: int, size: Size) -> Figures:
    """Send so many commands on each connection, ``window`` at a time."""
    began_ns = time.monotonic_ns()
    with stage.measure() as used:
        answers = await stage.crew.ask(
            "send_commands", command=command, count=each, window=window, timeout_s=COLLECT_TIMEOUT_S
        )
    wall_s = (max(answer["completed_ns"] for answer in answers) - began_ns) / 1e9
    micros = merged(answers, "micros")
    return {
        "per_s": len(micros) / wall_s,
        "per_cpu_s": len(micros) / used.server_s if used.server_s else None,
        "cpu_us": used.server_s / len(micros) * 1e6 if micros else None,
        "p50_ms": percentile_ms(micros, 50),
        "p99_ms": percentile_ms(micros, 99),
        "missing": each * size.connections - len(micros),
        **shares(stage, used),
    }


def batches(users: list[str], messages: int) -> list[bytes]:
    """The bodies that send so many messages, to the sessions of these users in turn."""
    entries = [
        {
            "target": {"type": "session", "id": session_of(users[number % len(users)])},
            "type": "new_message",
            "content": CONTENT,
        }
        for number in range(messages)
    ]
    return [
        json.dumps({"messages": entries[start : start + BATCH]}).encode()
        for start in range(0, messages, BATCH)
    ]


async def _post(stage: Stage, bodies: list[bytes]) -> int:
    """Post one after the other; return how many messages were stored."""
    stored = 0
    async with stage.client() as client:
        for body in bodies:
            answer = await client.post(BATCH_PATH, body)
            stored += sum(result["status"] == 200 for result in answer["results"])
    return stored


async def flood(stage: Stage, size: Size) -> Figures:
    """One client sends as fast as it can and comes back whenever it is closed; others ping."""
    opened = await stage.crew.connect(size.connections)
    await asyncio.sleep(SETTLE_S)
    before = await stage.crew.ask("echo", seconds=size.seconds, pause_s=CALM_PAUSE_S)
    await asyncio.sleep(SETTLE_S)  # the last pings are not to go on in the next stretch
    async with stage.crew.one_more(stage.client_cores, FLOOD_NICENESS) as flooder:
        first = stage.crew.users(1)
        with stage.measure() as used:
            flooding = asyncio.create_task(
                flooder.ask("flood", **stage.crew.target, first=first, seconds=size.seconds)
            )
            during = await stage.crew.ask("echo", seconds=size.seconds, pause_s=CALM_PAUSE_S)
            flooded = await flooding
    lost = size.connections - opened["failed"] - sum(answer["clients"] for answer in during)
    p99_before = percentile_ms(merged(before, "micros"), 99)
    p99_during = percentile_ms(merged(during, "micros"), 99)
    more = None if p99_before is None or p99_during is None else p99_during - p99_before
    share = shares(stage, used)
    return {
        "frames_per_s": flooded["frames"] / size.seconds,
        "cut_off": flooded["cut_off"],
        "other_endings": sum(flooded["other_endings"].values()),
        "p99_before_ms": p99_before,
        "p99_during_ms": p99_during,
        "p99_more_ms": more,
        "pongs_before": total(before, "pongs"),
        "pongs_during": total(during, "pongs"),
        "lost": lost,
        "failed": opened["failed"],
        "server_cpu": share["server_cpu"],
        "other_cpu": share["other_cpu"],
    }
