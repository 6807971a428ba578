"""What other services cost: callbacks of a messenger, and answers that an AI service streams."""

from __future__ import annotations

import asyncio
import json

from scripts.benchmark import ai_service
from scripts.benchmark.callers import ACCOUNT, KEY
from scripts.benchmark.crew import CrewError, percentile_ms
from scripts.benchmark.stage import Stage, merged, total
from scripts.benchmark.talking import CALM_PAUSE_S, SESSIONS_PATH
from scripts.benchmark.workloads import COLLECT_TIMEOUT_S, SETTLE_S, Figures, Size, shares

_TABLE = f"WSSERVER_ACCOUNTS__{ACCOUNT.upper()}__"
CALLBACK_ENVIRONMENT = {
    "WSSERVER_ALLOW_LOOPBACK_URLS": "true",
    f"{_TABLE}KIND": "webhook",
    f"{_TABLE}URL": "http://127.0.0.1:9/out",  # nobody answers the contacts
    f"{_TABLE}KEY": KEY,
    f"{_TABLE}TOKEN": KEY,
    f"{_TABLE}MEMBERS": "u0",
}
"""One account, whose new sessions have the first client as a member."""


async def callbacks(stage: Stage, size: Size) -> Figures:
    """Callbacks at ``rate``, each a message that is stored, beside ``connections`` that ping."""
    opened = await stage.crew.connect(size.connections)
    await asyncio.sleep(SETTLE_S)
    before = await stage.crew.ask("echo", seconds=size.seconds, pause_s=CALM_PAUSE_S)
    await asyncio.sleep(SETTLE_S)  # the last pings are not to go on in the next stretch
    async with stage.crew.one_more(stage.client_cores) as caller:
        with stage.measure() as used:
            reporting = asyncio.create_task(
                caller.ask(
                    "report",
                    url=stage.crew.target["url"],
                    rate=size.rate,
                    seconds=size.seconds,
                )
            )
            during = await stage.crew.ask("echo", seconds=size.seconds, pause_s=CALM_PAUSE_S)
            reported = await reporting
    if reported["faults"]:
        raise CrewError(f"a callback was refused: {reported['faults'][0]}")
    micros = reported["micros"]
    return {
        "per_s": len(micros) / reported["seconds"],
        "cpu_us": used.server_s / len(micros) * 1e6 if micros else None,
        "p50_ms": percentile_ms(micros, 50),
        "p99_ms": percentile_ms(micros, 99),
        "p99_before_ms": percentile_ms(merged(before, "micros"), 99),
        "p99_during_ms": percentile_ms(merged(during, "micros"), 99),
        "missing": reported["sent"] - len(micros),
        "lost": size.connections - opened["failed"] - sum(each["clients"] for each in during),
        "failed": opened["failed"],
        **shares(stage, used),
    }


async def responders(stage: Stage, size: Size) -> Figures:
    """Answers that a service streams, each to one watcher; then the same beside a dead service."""
    rate = size.rate or 1.0
    words = max(1, int(size.seconds * rate))
    await stage.crew.open_askers(size.connections)
    question = ai_service.question(words, rate)
    asked = {"content": question, "timeout_s": size.seconds + COLLECT_TIMEOUT_S}
    with stage.measure() as used:
        alone = await stage.crew.ask("ask_all", **asked)
    await asyncio.sleep(SETTLE_S)
    async with stage.crew.one_more(stage.client_cores) as unlucky:
        sessions = [f"{ai_service.DEAD}-{number}" for number in range(size.sessions)]
        await unlucky.ask("open_askers", **stage.crew.target, sessions=sessions)
        holder = json.dumps({"holder": {"type": "ai", "id": ai_service.DEAD}}).encode()
        async with stage.client() as client:
            for session_id in sessions:
                await client.post(f"{SESSIONS_PATH}/{session_id}/holder", holder)
        waiting = asyncio.create_task(
            unlucky.ask("ask_all", content=question, timeout_s=size.seconds)
        )
        beside = await stage.crew.ask("ask_all", **asked)
        unanswered = len(sessions) - int((await waiting)["completed"])
    micros, micros_beside = merged(alone, "micros"), merged(beside, "micros")
    p99, p99_beside = percentile_ms(micros, 99), percentile_ms(micros_beside, 99)
    return {
        "p50_ms": percentile_ms(micros, 50),
        "p99_ms": p99,
        "p99_beside_ms": p99_beside,
        "p99_more_ms": None if p99 is None or p99_beside is None else p99_beside - p99,
        "completed": total(alone, "completed") + total(beside, "completed"),
        "unanswered": unanswered,
        "missing": 2 * words * size.connections - len(micros) - len(micros_beside),
        **shares(stage, used),
    }
