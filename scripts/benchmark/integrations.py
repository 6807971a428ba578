"""What other services cost: callbacks of a messenger beside clients that ping."""

from __future__ import annotations

import asyncio

from scripts.benchmark.callers import ACCOUNT, KEY
from scripts.benchmark.crew import CrewError, percentile_ms
from scripts.benchmark.stage import Stage, merged
from scripts.benchmark.talking import CALM_PAUSE_S
from scripts.benchmark.workloads import SETTLE_S, Figures, Size, shares

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
