"""What is done to a cluster: each fault is begun, lasts for a while, and is ended.

Each calls ``Cluster.mend`` at its end, before it starts again what it has killed.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable

from scripts.reliability.cluster_network import Link
from scripts.reliability.cluster_nodes import FAULTS_OF_CLIENTS, Cluster
from scripts.reliability.cluster_presence import Visit, admission, crowding, new_user

Fault = Callable[[Cluster, random.Random], Awaitable[None]]


def _index(cluster: Cluster, chance: random.Random) -> int:
    return chance.randrange(len(cluster.nodes))


async def kill_node(cluster: Cluster, chance: random.Random) -> None:
    """SIGKILL of a node, which is started again; the others report whom it takes along."""
    index = _index(cluster, chance)
    try:
        visit = await Visit.begin(cluster, index)
    except FAULTS_OF_CLIENTS as error:
        cluster.noted.append(f"nobody could visit n{index + 1}: {error!r}")
        return
    await cluster.kill_node(index)
    cluster.checks.append(visit.ended(time.monotonic()))
    await asyncio.sleep(chance.uniform(0.0, 3.0))
    cluster.mend()
    await cluster.start_node(index)


async def kill_admitting(cluster: Cluster, chance: random.Random) -> None:
    """SIGKILL of a node that admits a crowd of one user, whom the others then have to admit."""
    index = _index(cluster, chance)
    user_id = new_user("crowd")
    async with crowding(cluster.nodes[index].socket_url, user_id):
        await asyncio.sleep(chance.uniform(0.0, 0.15))
        await cluster.kill_node(index)
    if fault := await admission(cluster, chance, user_id):
        cluster.noted.append(fault)
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


def _link(cluster: Cluster, chance: random.Random) -> Link:
    """The network of one node to PostgreSQL or Valkey."""
    return chance.choice(cluster.links[_index(cluster, chance)])


async def delay_network(cluster: Cluster, chance: random.Random) -> None:
    """Everything takes longer between a node and PostgreSQL or Valkey."""
    link = _link(cluster, chance)
    link.delay_s = chance.uniform(0.01, 0.2)
    await asyncio.sleep(chance.uniform(1.0, 4.0))
    cluster.mend()
    link.mend()


async def cut_network(cluster: Cluster, chance: random.Random) -> None:
    """Nothing arrives between a node and PostgreSQL or Valkey, up to beyond its lease."""
    link = _link(cluster, chance)
    link.cut()
    await asyncio.sleep(chance.uniform(0.5, 9.0))
    cluster.mend()
    link.mend()


async def reset_network(cluster: Cluster, chance: random.Random) -> None:
    """RST of all connections between a node and PostgreSQL or Valkey."""
    link = _link(cluster, chance)
    for _ in range(chance.randrange(1, 5)):
        link.reset()
        await asyncio.sleep(chance.uniform(0.0, 0.5))
    cluster.mend()


async def abandon_network(cluster: Cluster, chance: random.Random) -> None:
    """Connections of a node whose other end is gone without its noticing."""
    link = _link(cluster, chance)
    link.abandon()
    await asyncio.sleep(chance.uniform(0.0, 1.0))
    cluster.mend()


async def wrong_clock(cluster: Cluster, chance: random.Random) -> None:
    """A node runs for a while with a clock that is an hour ahead, or behind."""
    index = _index(cluster, chance)
    await cluster.stop_node(index)
    await cluster.start_node(index, wrong_s=chance.choice((-3600.0, 3600.0)))
    await asyncio.sleep(chance.uniform(1.0, 4.0))
    await cluster.stop_node(index)
    cluster.mend()
    await cluster.start_node(index)


FAULTS: dict[str, Fault] = {
    "kill-node": kill_node,
    "kill-admitting": kill_admitting,
    "stop-node": stop_node,
    "stop-killed-node": stop_killed_node,
    "pause-node": pause_node,
    "kill-valkey": kill_valkey,
    "pause-valkey": pause_valkey,
    "empty-valkey": empty_valkey,
    "block-valkey": block_valkey,
    "cut-subscribers": cut_subscribers,
    "restart-postgres": restart_postgres,
    "delay-network": delay_network,
    "cut-network": cut_network,
    "reset-network": reset_network,
    "half-open-network": abandon_network,
    "wrong-clock": wrong_clock,
}
