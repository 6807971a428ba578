"""Faults of a cluster under load: is all that was acknowledged kept, in order, once?"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from scripts.reliability.cluster_clients import Publisher, Subscriber
from scripts.reliability.cluster_faults import FAULTS
from scripts.reliability.cluster_nodes import HEALTHY_S, Cluster, until
from scripts.reliability.cluster_presence import GUEST, GUESTS, Guest, Lists
from scripts.reliability.cluster_resumes import LIMIT_MS, TIMES, Resumes
from scripts.reliability.cluster_times import Times
from scripts.reliability.journal import Journal, PostgresRows
from scripts.reliability.report import Verdict

ENVIRONMENT = {
    # Nothing may go for its number: everything acknowledged is looked for.
    "WSSERVER_STREAM_LIMIT": "1000000",
    "WSSERVER_QUEUE_LIMIT_BYTES": str(64 * 1024 * 1024),
    "WSSERVER_DRAIN_TIMEOUT_S": "2",
    # Faults are made on purpose; the check of the error rate would look back a minute.
    "WSSERVER_ALERT_ERROR_RATE": "1",
}
CATCH_UP_S = 15.0


@dataclass(frozen=True)
class ClusterSettings:
    """How long the torment lasts."""

    rounds: int = 200
    nodes: int = 3
    publishers: int = 6
    subscribers: int = 6
    faults: tuple[str, ...] = tuple(FAULTS)
    with_sentinels: bool = False
    resumes: int = TIMES


async def torment(
    cluster: Cluster, settings: ClusterSettings, chance: random.Random, say: Callable[[str], None]
) -> Verdict:
    """Run all rounds: one fault each, then everything has to be well again."""
    journal = Journal()
    times = Times()
    names = ["reader", *(f"listener{number}" for number in range(1, settings.subscribers))]

    def own() -> random.Random:
        return random.Random(chance.random())  # noqa: S311 - no secret

    publishers = [
        Publisher(f"publisher{number}", cluster, journal, own(), times)
        for number in range(settings.publishers)
    ]
    subscribers = [Subscriber(name, cluster, journal, own()) for name in names]

    async def absent() -> str:
        said = [await each.misses(set(names)) for each in subscribers]
        return "; ".join(filter(None, said))

    guests = [Guest(cluster, own()) for _ in range(GUESTS)]
    clients: list[Subscriber | Guest] = [*subscribers, *guests]
    lists = Lists(
        cluster,
        [*names, GUEST],
        lambda: {each.connection.connection_id for each in clients if each.connection},
        absent,
    )
    resumes = Resumes(cluster, own())
    await cluster.start()
    publishing = [asyncio.ensure_future(each.run()) for each in publishers]
    following = [asyncio.ensure_future(each.run()) for each in clients]
    misled: list[str] = []
    """What was wrong about who is connected."""
    try:
        for number in range(1, settings.rounds + 1):
            name = chance.choice(settings.faults)
            await asyncio.sleep(chance.uniform(0.1, 0.6))
            times.fault(name)
            await FAULTS[name](cluster, chance)
            unhealthy = await cluster.until_healthy()
            times.well(time.monotonic() - cluster.mended_at)
            if unhealthy:
                journal.findings.other.append(
                    f"round {number}, {name}: not well after {HEALTHY_S:.0f} s: {unhealthy}"
                )
            if differing := await lists.until_right():
                cluster.noted.append(differing)
            times.listed(time.monotonic() - cluster.mended_at)
            cluster.noted += [fault for check in cluster.checks if (fault := await check)]
            cluster.checks.clear()
            if cluster.noted:
                misled += [f"round {number}, {name}: {each}" for each in cluster.noted]
                cluster.noted.clear()
            _raise_failures([*publishing, *following])
            faults = [*journal.findings.all, *misled]
            if number % 10 == 0 or faults:
                say(
                    f"round {number} ({name}): {journal.acknowledged:,} acknowledged,"
                    f" {len(faults)} faults"
                )
            if faults:
                break
        for publisher in publishers:
            publisher.ends = True
        await asyncio.wait(publishing, timeout=60)
        _raise_failures([*publishing, *following])
        rows = PostgresRows(cluster.database_url)
        await asyncio.to_thread(journal.check, rows)
        ends = journal.ends
        with suppress(TimeoutError):
            async with asyncio.timeout(CATCH_UP_S):
                await until(lambda: all(each.is_at(ends) for each in subscribers))
        late = [each for each in subscribers if not each.is_at(ends)]
        for subscriber in subscribers:
            subscriber.check()
        await resumes.measure(journal, settings.resumes)
    finally:
        for task in (*publishing, *following):
            task.cancel()
        await asyncio.gather(*publishing, *following, return_exceptions=True)
    for index in sorted(cluster.running):
        await cluster.stop_node(index)
    findings = journal.findings
    kind = "with Sentinels" if settings.with_sentinels else "one Valkey"
    total = sum(each.times for each in times.by_fault.values())
    verdict = Verdict(f"cluster: {settings.nodes} nodes, {kind}, {total} faults under load")
    verdict.table = times.rows()
    verdict.figure("messages acknowledged", journal.acknowledged)
    verdict.figure("in the database", journal.rows)
    verdict.figure("sent again with the same key", sum(each.retried for each in publishers))
    verdict.figure("connects of subscribers", sum(each.connects for each in subscribers))
    verdict.figure(
        "seen by subscribers", sum(len(seen) for each in subscribers for seen in each.seen.values())
    )
    verdict.limit("acknowledged and lost", len(findings.lost), 0)
    verdict.limit("stored twice, or answered in two ways", len(findings.doubled), 0)
    verdict.limit("never acknowledged in the end", len(journal.unknown()), 0)
    verdict.limit("subscribers that were not brought up to date", len(late), 0)
    verdict.limit("gaps, repetitions and other faults", len(findings.other), 0)
    verdict.limit("false refusals, lists, missing ends", len(misled), 0)
    verdict.limit("resumes at a node with another content", len(resumes.wrong), 0)
    verdict.time("resume of 100 messages, ms, p99", resumes.p99_ms, LIMIT_MS)
    verdict.limit(
        "nodes that did not stop in order", sum(each != 0 for each in cluster.statuses), 0
    )
    verdict.limit("tracebacks in logs", sum("Traceback" in node.log for node in cluster.nodes), 0)
    verdict.notes = [
        *findings.all[:10],
        *misled,
        *resumes.wrong[:10],
        *(each.behind(ends) for each in late),
    ]
    return verdict


def _raise_failures(tasks: list[asyncio.Future[None]]) -> None:
    """A client that has failed otherwise than by the cluster's faults ends the run."""
    for task in tasks:
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            raise error
