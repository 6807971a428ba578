"""What Linux tells about processes: time used, memory, descriptors, threads."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterable, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_SCHEDULED = 2
"""In the number of another process's clock, as clock_getcpuclockid(3) makes it on Linux."""
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class State:
    """What a process holds."""

    descriptors: int
    threads: int
    rss_bytes: int


def cpu_s(pid: int) -> float:
    """Seconds of processor time that a process has used, in user and in system mode.

    By its CPU clock, in nanoseconds: ``/proc/PID/stat`` counts ticks of 10 ms. Raises ``OSError``
    for a process that has ended.
    """
    return time.clock_gettime(~pid << 3 | _SCHEDULED)


def cpus_s(pids: Iterable[int]) -> float:
    """The same for several processes together."""
    return sum(map(cpu_s, pids))


def tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError):  # one that has just ended
                text = Path(f"/proc/{entry}/stat").read_text(encoding="utf-8")
                children.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(entry))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def busy_s() -> float:
    """Seconds that all processors together were not idle, since the machine started."""
    with open("/proc/stat", encoding="utf-8") as file:
        ticks = [int(field) for field in file.readline().split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) * _TICK_S


def rss_bytes(pid: int) -> int:
    """Memory that a process has in use."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1]) * _PAGE_BYTES


def state(pid: int) -> State:
    """What a process holds now."""
    return State(
        descriptors=len(os.listdir(f"/proc/{pid}/fd")),
        threads=len(os.listdir(f"/proc/{pid}/task")),
        rss_bytes=rss_bytes(pid),
    )


def raise_descriptor_limit() -> int:
    """Allow this process, and those it starts, all that the system lets us; return how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def split_cores(cores: Set[int], processes: int = 1) -> tuple[set[int], set[int]]:
    """A core for each process of the server, and the others for its clients.

    The server has at most half of them; where there is one, both have the same.
    """
    ordered = sorted(cores)
    count = max(1, min(processes, len(ordered) // 2))
    return set(ordered[:count]), set(ordered[count:] or ordered)
