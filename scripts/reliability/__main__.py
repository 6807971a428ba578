"""The command: torments a server in the ways asked for, and says whether it kept its promises."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

import uvloop

from scripts.benchmark.procfs import raise_descriptor_limit, split_cores
from scripts.reliability import cluster, jitter, kill, reads, resume
from scripts.reliability.cluster_faults import FAULTS
from scripts.reliability.cluster_nodes import Cluster
from scripts.reliability.report import Verdict
from scripts.reliability.server import Server

PROFILES = ("kill", "jitter", "resume", "reads")
"""Those that run by default."""
CLUSTER = "cluster"
BUSY_LOAD = 3
"""Processes a core that want to run, above which those of a cluster are not the only ones."""


def main() -> int:
    """Run; returns 1 if a promise was not kept."""
    arguments = parse(sys.argv[1:])
    if not sys.platform.startswith("linux"):
        print("needs Linux: processes are bound to cores", file=sys.stderr)
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
    parser = argparse.ArgumentParser(
        prog="scripts/torture",
        description="Kill, cut off and crowd a server of its own, and count what was lost;"
        " or kill, pause and cut off the parts of a cluster.",
        epilog="kill: SIGKILL at random moments under load, restart, compare with what was"
        " acknowledged. jitter: every client is cut off again and again. resume: everybody comes"
        " back at once. reads: the largest reads, their memory, and whom they delay."
        f" cluster: nodes on PostgreSQL and Valkey under load, and {', '.join(FAULTS)}.",
    )
    parser.add_argument(
        "profile",
        nargs="*",
        choices=[*PROFILES, CLUSTER, []],
        metavar="|".join([*PROFILES, CLUSTER]),
        help="what to run; all but cluster by default",
    )
    parser.add_argument(
        "--rounds", type=_positive, metavar="N", help="kills (100), or faults of a cluster (200)"
    )
    parser.add_argument("--only", choices=PROFILES, action="append", metavar="|".join(PROFILES))
    parser.add_argument("--nodes", type=_positive, default=3, metavar="N", help="of a cluster (3)")
    parser.add_argument(
        "--sentinel",
        action="store_true",
        help="cluster: a second Valkey and three Sentinels, which fail over",
    )
    parser.add_argument(
        "--fault",
        choices=FAULTS,
        action="append",
        metavar="NAME",
        help="cluster: this fault only; may be repeated",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="small sizes: does it work? Times are told, not judged. 5 kills unless --rounds",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="the same random moments again")
    arguments = parser.parse_args(words)
    arguments.only = [*arguments.profile, *(arguments.only or ())] or list(PROFILES)
    return arguments


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


async def run(arguments: argparse.Namespace) -> int:
    """Torment in each way asked for; print each verdict."""
    cores = split_cores(os.sched_getaffinity(0))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores[1])
    raise_descriptor_limit()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(10**6)
    say(f"--seed {seed}")
    is_good = True
    for name in (*PROFILES, CLUSTER):
        if name in arguments.only:
            if name == CLUSTER:
                verdict = await on_cluster(cores[0], arguments, random.Random(seed))  # noqa: S311
                print(verdict.text(), end="\n\n", flush=True)
                is_good = is_good and verdict.is_good
                continue
            environment = kill.ENVIRONMENT if name == "kill" else {}
            torment = profile(name, arguments, random.Random(seed))  # noqa: S311 - no secret
            verdict = await in_new_folder(
                cores[0], environment, torment, judges_times=not arguments.quick
            )
            print(verdict.text(), end="\n\n", flush=True)
            is_good = is_good and verdict.is_good
    return 0 if is_good else 1


def profile(
    name: str, arguments: argparse.Namespace, chance: random.Random
) -> Callable[[Server], Awaitable[Verdict]]:
    """What is to be done to a server."""
    is_quick = arguments.quick
    if name == "kill":
        kills = kill.KillSettings(
            arguments.rounds or (5 if is_quick else 100), 2 if is_quick else 4
        )
        return lambda server: kill.torment(server, kills, chance, say)
    if name == "jitter":
        bad = jitter.JitterSettings()
        if is_quick:
            bad = jitter.JitterSettings(50, 60, rate=30, every_s=0.8, away_s=0.2)
        return lambda server: jitter.torment(server, bad, chance, say)
    if name == "reads":
        much = reads.ReadSettings(30, 5, seconds=1.0) if is_quick else reads.ReadSettings()
        return lambda server: reads.torment(server, much, say)
    crowd = resume.ResumeSettings(50, 200) if is_quick else resume.ResumeSettings()
    return lambda server: resume.torment(server, crowd, say)


async def on_cluster(
    cores: set[int], arguments: argparse.Namespace, chance: random.Random
) -> Verdict:
    """Torment a new cluster; the folder of one that failed is left, and named."""
    settings = cluster.ClusterSettings(
        arguments.rounds or (6 if arguments.quick else 200),
        nodes=arguments.nodes,
        with_sentinels=arguments.sentinel,
        faults=tuple(arguments.fault or FAULTS),
        **({"resumes": 20} if arguments.quick else {}),
    )
    folder = Path(tempfile.mkdtemp(prefix="wsserver-torture-"))
    servers = Cluster(
        folder, cores, settings.nodes, with_sentinels=arguments.sentinel, **cluster.ENVIRONMENT
    )
    try:
        verdict = await cluster.torment(servers, settings, chance, say)
    finally:
        await servers.stop()
    verdict.judges_times = not arguments.quick
    load = os.getloadavg()[0]
    if load > BUSY_LOAD * (os.cpu_count() or 1):
        verdict.judges_times = False
        verdict.notes.append(f"other programs are busy (load {load:.0f}): times are not judged")
    if verdict.is_good:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        verdict.notes.append(f"the nodes' folders are in {folder}")
    return verdict


async def in_new_folder(
    cores: set[int],
    environment: dict[str, str],
    torment: Callable[[Server], Awaitable[Verdict]],
    *,
    judges_times: bool,
) -> Verdict:
    """Torment a server that has never run; the folder of one that failed is left, and named."""
    folder = Path(tempfile.mkdtemp(prefix="wsserver-torture-"))
    server = Server(folder, cores, **environment)
    is_good = False
    try:
        verdict = await torment(server)
        verdict.judges_times = judges_times
        is_good = verdict.is_good
        if not is_good:
            verdict.notes.append(f"the server's folder is {folder}")
        return verdict
    finally:
        with suppress(ProcessLookupError):
            await server.kill()
        if is_good:
            shutil.rmtree(folder, ignore_errors=True)


def say(text: str) -> None:
    """To people, not into the report."""
    print(f"scripts/torture: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
