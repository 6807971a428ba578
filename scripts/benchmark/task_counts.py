"""A plugin for the server that is measured: notes how many tasks its loop has.

The file ``tasks`` in the working folder has the latest number, a line for each time of looking.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

FILE = "tasks"
EVERY_S = 0.25


def watch(_manager: object) -> None:
    """Begin; goes on for as long as the server runs."""
    file = open(FILE, "w", buffering=1, encoding="ascii")  # noqa: SIM115 - open to the end
    loop = asyncio.get_running_loop()

    def look() -> None:
        file.write(f"{len(asyncio.all_tasks(loop))}\n")
        loop.call_later(EVERY_S, look)

    look()


def latest(folder: Path) -> int:
    """How many there were when the plugin looked last."""
    return int((folder / FILE).read_text(encoding="ascii").splitlines()[-1])
