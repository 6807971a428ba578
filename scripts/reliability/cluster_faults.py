"""What is done to a cluster: each fault is begun, lasts for a while, and is ended.

Each calls ``Cluster.mend`` at its end, before it starts again what it has killed.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable

from scripts.reliability.cluster_nodes import Cluster

Fault = Callable[[Cluster, random.Random], Awaitable[None]]


def _index(cluster: Cluster, chance: random.Random) -> int:
    return chance.randrange(len(cluster.nodes))


async def kill_node(cluster: Cluster, chance: random.Random) -> None:
    """SIGKILL of a node, which is started again."""
    index = _index(cluster, chance)
    await cluster.kill_node(index)
    await asyncio.sleep(chance.uniform(0.0, 3.0))
    cluster.mend()
    await cluster.start_node(index)


async def stop_node(cluster: Cluster, chance: random.Random) -> None:
    """SIGTERM: it drains, and is started again."""
    index = _index(cluster, chance)
    await cluster.stop_node(index)
    cluster.mend()
    await cluster.start_node(index)


async def stop_killed_node(cluster: Cluster, chance: random.Random) -> None:
    """SIGKILL, and SIGTERM as soon as it listens again; then it is started once more."""
    index = _index(cluster, chance)
    await cluster.kill_node(index)
    await cluster.start_node(index)
    await asyncio.sleep(chance.choice((0.0, 0.0, 0.1, 1.0)))
    await cluster.stop_node(index)
    cluster.mend()
    await cluster.start_node(index)


async def pause_node(cluster: Cluster, chance: random.Random) -> None:
    """SIGSTOP of a node, up to beyond the end of its lease."""
    node = cluster.nodes[_index(cluster, chance)]
    node.send_signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(chance.uniform(0.5, 9.0))
    finally:
        cluster.mend()
        node.send_signal(signal.SIGCONT)


async def kill_valkey(cluster: Cluster, chance: random.Random) -> None:
    """SIGKILL of the primary; another server takes over, or it comes back empty."""
    cluster.valkey.primary.kill()
    await asyncio.sleep(chance.uniform(0.0, 4.0))
    cluster.mend()
    await cluster.valkey.recover()


async def pause_valkey(cluster: Cluster, chance: random.Random) -> None:
    """SIGSTOP of that server."""
    primary = cluster.valkey.primary
    primary.pause()
    try:
        await asyncio.sleep(chance.uniform(0.5, 5.0))
    finally:
        cluster.mend()
        primary.resume()


async def empty_valkey(cluster: Cluster, chance: random.Random) -> None:
    """FLUSHALL."""
    await asyncio.to_thread(cluster.valkey.primary.run, "FLUSHALL")
    cluster.mend()


async def block_valkey(cluster: Cluster, chance: random.Random) -> None:
    """CLIENT PAUSE: it accepts, and does not answer."""
    pause_ms = chance.randrange(200, 4000)
    await asyncio.to_thread(cluster.valkey.primary.run, "CLIENT", "PAUSE", str(pause_ms), "ALL")
    await asyncio.sleep(pause_ms / 1000)
    cluster.mend()


async def cut_subscribers(cluster: Cluster, chance: random.Random) -> None:
    """CLIENT KILL of all subscriptions."""
    primary = cluster.valkey.primary
    for _ in range(chance.randrange(1, 4)):
        await asyncio.to_thread(primary.run, "CLIENT", "KILL", "TYPE", "pubsub")
        await asyncio.sleep(chance.uniform(0.0, 0.5))
    cluster.mend()


async def restart_postgres(cluster: Cluster, chance: random.Random) -> None:
    """Stop PostgreSQL, with or without a checkpoint, and start it again."""
    end = cluster.postgres.stop if chance.random() < 0.5 else cluster.postgres.crash
    await asyncio.to_thread(end)
    await asyncio.sleep(chance.uniform(0.0, 2.0))
    cluster.mend()
    await asyncio.to_thread(cluster.postgres.start)


FAULTS: dict[str, Fault] = {
    "kill-node": kill_node,
    "stop-node": stop_node,
    "stop-killed-node": stop_killed_node,
    "pause-node": pause_node,
    "kill-valkey": kill_valkey,
    "pause-valkey": pause_valkey,
    "empty-valkey": empty_valkey,
    "block-valkey": block_valkey,
    "cut-subscribers": cut_subscribers,
    "restart-postgres": restart_postgres,
}
