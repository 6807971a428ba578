"""What answers that grow cost: appends that nobody watches, and many answers with watchers."""

from __future__ import annotations

from scripts.benchmark.crew import percentile_ms
from scripts.benchmark.stage import Stage, merged, total
from scripts.benchmark.workloads import Figures, Size, shares

WINDOW = 256
"""Appends of one producer that were sent and not answered yet."""
WATCHERS = 5
"""Of each answer."""


async def appends(stage: Stage, size: Size) -> Figures:
    """Appends over the monitor's socket, back to back; ``connections``: answers."""
    await stage.crew.open_answers(size.connections, watchers=0)
    each = size.messages // size.connections
    with stage.measure() as used:
        answers = await stage.crew.ask("append_all", each=each, window=WINDOW)
    appended = total(answers, "appended")
    await stage.crew.ask("finish_answers")
    return {
        "per_s": appended / max(answer["seconds"] for answer in answers),
        "per_cpu_s": appended / used.server_s if used.server_s else None,
        "cpu_us": used.server_s / appended * 1e6 if appended else None,
        "missing": each * size.connections - appended,
        **shares(stage, used),
    }


async def answers(stage: Stage, size: Size) -> Figures:
    """Answers that grow at ``rate`` words a second, each in front of some watchers."""
    await stage.crew.open_answers(size.connections, watchers=WATCHERS)
    rate = size.rate or 1.0
    each = max(1, int(size.seconds * rate))
    with stage.measure() as used:
        steady = await stage.crew.ask("append_steadily", each=each, rate=rate)
        seen = await stage.crew.ask("finish_answers")
    micros = merged(seen, "micros")
    return {
        "p50_ms": percentile_ms(micros, 50),
        "p99_ms": percentile_ms(micros, 99),
        "missing": each * size.connections * WATCHERS - len(micros),
        **shares(stage, used),
        "server_cpu": used.server_s / max(answer["seconds"] for answer in steady),
    }
