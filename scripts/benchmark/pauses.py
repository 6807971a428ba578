"""A plugin for the server that is measured: notes when its loop or its garbage collector paused.

Each line of the file ``pauses`` in the working folder has the time of the end (CLOCK_MONOTONIC, s),
what paused (``loop``, ``gc0``, ``gc1``, ``gc2``), and for how long (s).
"""

from __future__ import annotations

import asyncio
import gc
import time
from pathlib import Path
from typing import Any, NamedTuple

FILE = "pauses"
EVERY_S = 0.005
"""How often the loop has to show that it runs; shorter pauses are not seen."""


class Pause(NamedTuple):
    """A line of the file."""

    ended: float
    what: str
    seconds: float


def watch(_manager: object) -> None:
    """Begin; goes on for as long as the server runs."""
    file = open(FILE, "w", buffering=1, encoding="ascii")  # noqa: SIM115 - open to the end
    loop = asyncio.get_running_loop()
    began = 0.0

    def note(what: str, seconds: float) -> None:
        file.write(f"{time.monotonic():.6f} {what} {seconds:.6f}\n")

    def on_collection(phase: str, info: dict[str, Any]) -> None:
        nonlocal began
        if phase == "start":
            began = time.monotonic()
        else:
            note(f"gc{info['generation']}", time.monotonic() - began)

    def show_up(due: float) -> None:
        late_s = time.monotonic() - due
        if late_s > EVERY_S:
            note("loop", late_s)
        loop.call_later(EVERY_S, show_up, time.monotonic() + EVERY_S)

    gc.callbacks.append(on_collection)
    loop.call_later(EVERY_S, show_up, time.monotonic() + EVERY_S)


def read(folder: Path, since: float, until: float) -> list[Pause]:
    """The pauses that ended in a stretch of time."""
    pauses = []
    for line in (folder / FILE).read_text(encoding="ascii").splitlines():
        ended, what, seconds = line.split()
        pauses.append(Pause(float(ended), what, float(seconds)))
    return [pause for pause in pauses if since <= pause.ended <= until]


def longest_ms(pauses: list[Pause], what: str) -> float:
    """The longest pause of what begins with that name, 0 without any."""
    return 1000 * max((p.seconds for p in pauses if p.what.startswith(what)), default=0.0)
