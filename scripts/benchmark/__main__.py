"""The command: reads its arguments, runs what they ask for, prints and stores what was found."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import uvloop

from scripts.benchmark.catalogue import WORKLOADS, Workload
from scripts.benchmark.procfs import raise_descriptor_limit, split_cores
from scripts.benchmark.report import medians, table
from scripts.benchmark.servers import DEFAULT, KINDS, Kind
from scripts.benchmark.stage import Stage
from scripts.benchmark.workloads import Figures, Size

TIMEOUT_S = 240.0
"""For one workload on one server, whatever happens."""
SPARE_DESCRIPTORS = 128
"""What a server needs beside its connections: 64 are kept back, and it has files of its own."""
PACKAGES = ("tornado", "fastapi", "uvicorn", "uvloop", "picows")


def main() -> int:
    """Run; returns 1 if something was not measured, or not all messages arrived."""
    arguments = parse(sys.argv[1:])
    if not sys.platform.startswith("linux"):
        print("needs Linux: the figures of processes are read from /proc", file=sys.stderr)
        return 1
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(run_until_told(arguments))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130


async def run_until_told(arguments: argparse.Namespace) -> int:
    """Run; SIGTERM ends it as Ctrl-C does, with all that was started."""
    task = asyncio.ensure_future(run(arguments))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    names = ", ".join(workload.name for workload in WORKLOADS)
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure the server beside others that do the same work.",
        epilog=f"Workloads: {names}. Servers: "
        + "; ".join(f"{kind.name}: {kind.about}" for kind in KINDS.values())
        + ". Compare figures of one run only; another machine, or this one while it is busy, gives"
        " others.",
    )
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, one round: does it work?"
    )
    parser.add_argument("--only", type=_known({each.name for each in WORKLOADS}), metavar="W1a,…")
    parser.add_argument(
        "--servers", type=_known(set(KINDS)), default=list(DEFAULT), metavar="NAME,…"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="3; with --quick 1")
    parser.add_argument("--clients", type=int, metavar="N", help="client processes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="store every round's figures")
    return parser.parse_args(words)


def _known(names: set[str]) -> Any:
    def read(text: str) -> list[str]:
        wanted = text.split(",")
        unknown = [name for name in wanted if name not in names]
        if unknown:
            raise argparse.ArgumentTypeError(f"no such name: {', '.join(unknown)}")
        return wanted

    return read


async def run(arguments: argparse.Namespace) -> int:
    """Measure, round after round; print each workload's table at the end."""
    available = os.sched_getaffinity(0)
    cores = split_cores(available)
    os.sched_setaffinity(0, cores[1])
    limit = raise_descriptor_limit()
    processes = arguments.clients or min(8, max(2, len(cores[1])))
    rounds = arguments.rounds or (1 if arguments.quick else 3)
    workloads = [each for each in WORKLOADS if each.name in (arguments.only or [each.name])]
    results: dict[str, dict[str, list[Figures]]] = {each.name: {} for each in workloads}
    faults: list[str] = []
    began = time.monotonic()
    for number in range(1, rounds + 1):
        for workload in workloads:
            size = workload.quick if arguments.quick else workload.full
            if lacking := descriptors_lacking(workload, size, limit):
                faults.append(f"{workload.name} left out: {lacking}")
                continue
            for kind in servers_for(workload, arguments.servers):
                say(f"round {number} of {rounds}: {workload.name} {kind.name}")
                environment = dict(workload.environment)
                if arguments.quick:
                    environment |= workload.quick_environment
                try:
                    async with (
                        asyncio.timeout(TIMEOUT_S),
                        Stage.open(
                            kind,
                            processes,
                            split_cores(available, kind.processes),
                            environment,
                            workload.companion,
                        ) as stage,
                    ):
                        figures = await workload.run(stage, size)
                except Exception as error:  # noqa: BLE001 - told, and the others are measured
                    faults.append(f"{workload.name} {kind.name}: {describe(error)}")
                    continue
                results[workload.name].setdefault(kind.name, []).append(figures)
    about = machine(processes, rounds, cores, time.monotonic() - began)
    print(show(workloads, results, about, is_quick=arguments.quick))
    faults += shortfalls(results)
    if not arguments.quick:
        faults += beyond_limits(workloads, results)
    for fault in dict.fromkeys(faults):
        say(fault)
    if arguments.json is not None:
        sizes = {
            each.name: asdict(each.quick if arguments.quick else each.full) for each in workloads
        }
        found = {"about": about, "sizes": sizes, "results": results, "faults": faults}
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 1 if faults else 0


def servers_for(workload: Workload, names: Sequence[str]) -> list[Kind]:
    """Those that were asked for and that the workload is for."""
    kinds = [KINDS[name] for name in names]
    if not workload.is_for_clusters:
        kinds = [kind for kind in kinds if kind.is_plain]
    return kinds if workload.is_for_peers else [kind for kind in kinds if kind.has_tokens]


def descriptors_lacking(workload: Workload, size: Size, limit: int) -> str:
    """What to say where ``ulimit -n`` does not suffice; nothing where it does."""
    together = min(size.connections, workload.at_once or size.connections)
    needed = together + workload.extra_connections + SPARE_DESCRIPTORS
    if needed <= limit:
        return ""
    return (
        f"it needs {needed} file descriptors, and this shell allows {limit} (ulimit -Hn {needed})"
    )


def shortfalls(results: dict[str, dict[str, list[Figures]]]) -> list[str]:
    """What went wrong: connections that failed, messages that did not arrive, and the like."""
    return [
        f"{workload} {server}: {key.replace('_', ' ')}: {value:,.0f}"
        for workload, servers in results.items()
        for server, rounds in servers.items()
        for figures in rounds
        for key in ("failed", "missing", "lost", "not_cut_off", "unstored")
        if (value := figures.get(key))
    ]


def beyond_limits(
    workloads: Sequence[Workload], results: dict[str, dict[str, list[Figures]]]
) -> list[str]:
    """Medians of the server above, or below, what their figure may be; peers have no limits."""
    return [
        f"{workload.name} {server}: {figure.label}: {figure.form.format(value * figure.scale)}"
        for workload in workloads
        for server, rounds in results[workload.name].items()
        if KINDS[server].has_tokens
        for figure in workload.figures
        if (value := medians(rounds).get(figure.key)) is not None
        and (
            (figure.limit is not None and value > figure.limit)
            or (figure.least is not None and value < figure.least)
        )
    ]


def machine(
    processes: int, rounds: int, cores: tuple[set[int], set[int]], seconds: float
) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": processor(),
        "cores": f"server on {listed(cores[0])}; {processes} clients on {listed(cores[1])}",
        "python": platform.python_version(),
        "packages": ", ".join(f"{name} {version_of(name)}" for name in PACKAGES),
        "rounds": rounds,
        "minutes": round(seconds / 60, 1),
    }


def listed(cores: set[int]) -> str:
    """Numbers of cores, as people write them."""
    return ", ".join(map(str, sorted(cores)))


def version_of(package: str) -> str:
    """The version of an installed package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def processor() -> str:
    """The processor's name, where the system tells it."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return f"{os.cpu_count()} x {value.strip()}"
    return f"{os.cpu_count()} x {platform.machine()}"


def show(
    workloads: Sequence[Workload],
    results: dict[str, dict[str, list[Figures]]],
    about: dict[str, Any],
    *,
    is_quick: bool,
) -> str:
    """The whole report."""
    parts = ["\n".join(f"{name:<10} {value}" for name, value in about.items())]
    if is_quick:
        parts.append("Sizes are small (--quick): these figures compare nothing.")
    parts += [
        table(workload, workload.quick if is_quick else workload.full, results[workload.name])
        for workload in workloads
        if results[workload.name]
    ]
    return "\n\n".join(parts)


def describe(error: BaseException) -> str:
    """An error in a line; of a group, its first one."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def say(text: str) -> None:
    """To people, not into the report."""
    print(f"scripts/bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
