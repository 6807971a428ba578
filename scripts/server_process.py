"""What scripts share that run ``wsserver`` as a process: its environment, and its end."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[1]
STOP_S = 15.0


def environment() -> dict[str, str]:
    """The environment, with this tree's modules and without the settings of another server."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("WSSERVER_")}
    return {**own, "PYTHONPATH": str(ROOT)}


async def stop(process: asyncio.subprocess.Process | None) -> None:
    """SIGTERM, and SIGKILL where that is not enough; None: nothing was started."""
    if process is None or process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_S)
    except TimeoutError:
        process.kill()
        await process.wait()
